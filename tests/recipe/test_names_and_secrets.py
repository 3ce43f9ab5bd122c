"""Names and tags become parts of paths; a recipe is copied to where others read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from prealign.errors import RecipeError
from prealign.languages import is_tag
from prealign.recipe.file import load_recipe
from prealign.recipe.section import LONGEST_NAME

RECIPE = """\
name: demo
source:
  text: [en.txt]
targets:
  - language: de
    text: [de.txt]
lexicon: {files: [{path: de.tsv, target: de}]}
"""


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    (tmp_path / "demo.yaml").write_text(RECIPE)
    return tmp_path / "demo.yaml"


def refusal(demo: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(demo, overrides)
    return str(caught.value)


PATHS = ["../../x", "/tmp/x", ".", "..", "a/b", "de\n", "de ", "-de", "", "d$e$", "de\0", "x" * 300, "ｄｅ"]


@pytest.mark.parametrize("tag", [*PATHS, "german", "de..", "d", "1de", "de-", "de--at", "de-abcdefghi"])
def test_what_is_no_language_tag_is_refused_everywhere(demo: Path, tag: str) -> None:
    assert not is_tag(tag)
    quoted = '"' + tag.replace("\0", "\\0").replace("\n", "\\n") + '"'
    for key in ("source.language", "targets.0.language"):
        assert "is not a language tag" in refusal(demo, f"{key}={quoted}")
    for override in (
        f"lexicon.files.0.target={quoted}",
        f"mixture.weights={{{quoted}: 1}}",
        f"switch={{targets: {{{quoted}: 1}}}}",
    ):
        assert refusal(demo, override)


@pytest.mark.parametrize("tag", ["fr", "deu_Latn", "sr-Latn-RS", "en-AU", "no", "nan"])
def test_language_tags_are_tags(demo: Path, tag: str) -> None:
    assert load_recipe(demo, [f"source.language='{tag}'"]).source.language == tag and is_tag(tag)


def test_the_name_of_a_language_suggests_its_tag(demo: Path) -> None:
    assert "'german' is not a language tag; did you mean 'de'?" in refusal(demo, "targets.0.language=german")


@pytest.mark.parametrize("name", [*PATHS, "a b", "x" * (LONGEST_NAME + 1), "name\n"])
def test_what_is_no_name_is_refused_everywhere(demo: Path, name: str) -> None:
    quoted = '"' + name.replace("\0", "\\0").replace("\n", "\\n") + '"'
    for override in (
        f"name={quoted}",
        f"arms=[{quoted}]",
        f"baseline={quoted}",
        f"method={quoted}",
        f"variants={{{quoted}: {{extends: joint, set: {{}}}}}}",
        f"evaluate.sentences=[{{name: {quoted}, files: {{en: a, de: b}}}}]",
        f"transfer=[{{name: {quoted}, train: a, tests: {{en: b}}}}]",
    ):
        assert refusal(demo, override), override


@pytest.mark.parametrize("name", ["demo", "1.0", "a_b-c.d", "_x", "x" * LONGEST_NAME])
def test_names_are_names(demo: Path, name: str) -> None:
    assert load_recipe(demo, [f"name='{name}'"]).name == name


@pytest.mark.parametrize(
    "override",
    [
        "trainer.hub_token=hf_geheim",
        "trainer={hub_token: hf_geheim}",
        "trainer.deepspeed={comet: {api_key: hf_geheim}}",
        "trainer.deepspeed.json",
        "variants={a: {extends: joint, set: {trainer.hub_token: hf_geheim}}}",
    ],
)
def test_secrets_are_refused_and_not_repeated(demo: Path, override: str) -> None:
    if override.endswith(".json"):
        (demo.parent / "ds.json").write_text('{"wandb": {"password": "hf_geheim"}}')
        override = f"trainer.deepspeed={demo.parent / 'ds.json'}"
    told = refusal(demo, override)
    assert "is a secret" in told and "HF_TOKEN" in told
    assert "geheim" not in told
