# make env    a virtual environment in .venv, with everything below (idempotent)
# make demo   the whole method on real text: two arms, about five minutes on two cores
# make test   linters, types, layers and the whole test suite
# make bench  the figures of docs/performance.md
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env demo test bench lint clean

env: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: env
	$(BIN)/prealign run recipes/demo.yaml

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n 2

bench: env
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv runs build dist
