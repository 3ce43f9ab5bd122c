"""Code blocks of README and docs: Python runs on toy models, YAML is (part of) a valid recipe, commands parse."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

import tokenizers_in_memory as memory
import toys
from prealign.cli.main import app
from prealign.recipe.effects import ineffective
from prealign.recipe.file import load_recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BASES = {
    "docs/tutorial.md": ("recipes/demo.yaml",),
    "docs/is-it-worth-it.md": ("recipes/en-cs.yaml", "targets.0.language=sv", "lexicon.files.0.target=sv"),
}
"""The recipe that a page talks about, with its changes; the others are about the one for German."""
TESTED_ELSEWHERE = {
    ("docs/extending.md", "python"): "tests/test_extending.py",
    ("docs/extending.md", "yaml"): "tests/test_extending.py",
    ("docs/corpora.md", "python"): "tests/run/test_export.py",
}


def blocks(language: str) -> list[Any]:
    """Every block of a language, with its page, as a parameter named after page and line."""
    found = []
    for page in PAGES:
        name, text = page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^ *```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 1
            if (name, language) not in TESTED_ELSEWHERE:
                found.append(pytest.param(name, textwrap.dedent(match.group(1)), id=f"{name}:{line}"))
    assert found
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Python blocks open: a model with its tokenizer, a tokenizer of a run, a dictionary."""
    made, tokenizer = tmp_path_factory.mktemp("blocks"), memory.load("byte_bpe")
    toys.llama(rows=len(tokenizer), initializer_range=0.02, max_position_embeddings=512).save_pretrained(
        made / "path/or/hub-id"
    )
    for place in ("path/or/hub-id", "runs/en-clone-knowledge/harness/tokenizer"):
        tokenizer.save_pretrained(made / place)
    words = ("house Haus", "the das", "is ist", "old alt", "river Fluss", "water Wasser", "market Markt", "two zwei")
    (made / "en-de.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return made


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_runs(page: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(code, page, "exec"), {})


@pytest.mark.parametrize(("page", "code"), blocks("yaml"))
def test_yaml_is_a_recipe_or_can_be_added_to_one(page: str, code: str, tmp_path: Path) -> None:
    """None of its settings is without effect there."""
    data = yaml.safe_load(code)
    if "name" in data and "source" in data:
        (tmp_path / "recipe.yaml").write_text(code, encoding="utf-8")
        recipe, own = load_recipe(tmp_path / "recipe.yaml", ()), set(data)
    else:
        own, (base, *changes) = set(data) - {"arms"}, BASES.get(page, ("recipes/en-de.yaml",))
        recipe = load_recipe(ROOT / base, [*changes, *(f"{key}={json.dumps(value)}" for key, value in data.items())])
    assert not [warning for warning in ineffective(recipe) if re.split(r"[.:]", warning)[0] in own]


def commands() -> list[Any]:
    """Every command of prealign in a bash block, as one line."""
    found = []
    for block in blocks("bash"):
        joined = re.sub(r"\\\n\s*", " ", block.values[1])
        for i, line in enumerate(joined.splitlines()):
            if line.startswith("prealign "):
                found.append(pytest.param(line, id=f"{block.id}+{i}"))
    return found


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line: str) -> None:
    """Verb, arguments and options exist, and a committed recipe takes the settings beside it."""
    words = shlex.split(line, comments=True)[1:]
    group = get_command(app)
    context: Any = group.make_context("prealign", list(words))
    while hasattr(group, "commands"):
        name, group, words = group.resolve_command(context, [*context._protected_args, *context.args])
        context = group.make_context(name, list(words), parent=context)
    recipe = context.params.get("recipe")
    if recipe is not None and str(recipe).startswith("recipes/"):
        load_recipe(ROOT / recipe, context.params["overrides"] or ())
