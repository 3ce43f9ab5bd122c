# make env        a virtual environment in .venv, with everything below (idempotent)
# make demo       the whole method on real text: two arms, about five minutes on two cores
# make test       linters, types, layers and the whole test suite
# make test-fast  the test suite without the tests that take long, no linters
# make test-exhaustive  many kills, errors of the disk and power losses: about half an hour
# make coverage   the lines of src that no test runs
# make pages      rewrite the pages and drawings of docs that are generated from the code
# make docs       build the documentation site in site/, without a network; warnings are errors
# make bench      the figures of docs/performance.md
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env demo test test-fast test-exhaustive coverage pages docs bench lint clean

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
	$(BIN)/pytest -n 2 -m "not exhaustive"

test-exhaustive: env
	$(BIN)/pytest -n 2 -m exhaustive

test-fast: env
	$(BIN)/pytest -n 2 -m "not slow and not exhaustive"

coverage: env
	$(BIN)/pytest -n 2 -m "not exhaustive" --cov --cov-report=term --cov-fail-under=90

pages: env
	for script in docs/figures/*.py docs/reference/*.py; do $(BIN)/python $$script || exit 1; done

docs: pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: env
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv runs build dist site
