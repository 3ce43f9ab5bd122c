"""Everything that a recipe names is looked for before any work, all at once; small text is told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from prealign.cli.main import app
from prealign.recipe.sections import Recipe
from prealign.run.paths import hub_notes, path_problems
from prealign.run.small_text import small_texts
from prealign.wording import some

RECIPE = """\
name: a
source: {text: [nowhere, "package:absent_package"]}
targets:
  - {language: de, text: [de.txt]}
lexicon:
  files:
    - {path: de.tsv, target: de, reverse: back.tsv}
tokenizer: {path: ./no/tokenizer}
model: {pretrained: some/deep/folder}
evaluate:
  dictionaries: [{path: test.txt, target: de}]
  sentences: [{name: s, files: {en: en.dev, de: de.dev}}]
bitext: {files: [{target: de, source_file: b.en, target_file: b.de}]}
transfer: [{name: t, train: train.tsv, tests: {en: t.en, de: t.de}}]
"""


def prealign(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def recipe(**sections: Any) -> Recipe:
    base = {"name": "a", "source": {"text": ["recipe.yaml"]}, "targets": [{"language": "en-clone"}]}
    return Recipe.model_validate({**base, **sections})


def test_validate_names_all_that_is_not_here_with_its_line() -> None:
    result = prealign("validate", "recipe.yaml")
    assert result.exit_code == 2
    lines = result.stderr.removeprefix("error: ").splitlines()
    keys = [line.split(": ")[1] for line in lines]
    assert keys == [
        *("source.text.0", "source.text.1", "targets.0.text.0", "lexicon.files.0.path", "lexicon.files.0.reverse"),
        *("tokenizer.path", "model.pretrained", "evaluate.dictionaries.0.path"),
        *("evaluate.sentences.0.files.de", "evaluate.sentences.0.files.en"),
        *("bitext.files.0.source_file", "bitext.files.0.target_file"),
        *("transfer.0.tests.de", "transfer.0.tests.en", "transfer.0.train"),
    ]
    assert "pip install" in lines[1] and "there is no folder" in lines[6]
    assert [line.split(":")[1] for line in lines[:3]] == ["2", "2", "4"]


def test_what_is_not_here_is_told_of_beside_other_errors(here: Path) -> None:
    result = prealign("validate", "recipe.yaml", "switch.ratio=2", "arms=[jont]")
    for part in ("2 is not in 0..1", "did you mean 'joint'", "no text at 'nowhere'", "there is no file 'test.txt'"):
        assert part in result.stderr
    assert "no text" not in prealign("plan", "recipe.yaml", "model={}", "tokenizer={}", "bitext=null").stderr
    for verb in (["run"], ["lexicon", "build"], ["evaluate"]):
        assert prealign(*verb, "recipe.yaml").exit_code == 2
    assert not (here / "runs").exists()


def test_a_name_of_the_hub_is_told_of_and_is_no_error(here: Path) -> None:
    named = recipe(tokenizer={"path": "gpt2"}, model={"pretrained": "openai-community/gpt2"})
    assert not list(path_problems(named))
    assert [note.split(":")[0] for note in hub_notes(named)] == ["model.pretrained", "tokenizer.path"]
    (here / "empty").mkdir()
    (problem,) = path_problems(recipe(model={"config": "empty"}))
    assert "has no config.json" in problem[1]
    (problem,) = path_problems(recipe(knowledge={"templates": "x" * 5000}))
    assert problem[0] == ("knowledge", "templates")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("targets.0.language=swedish", "'swedish' is not a language tag; did you mean 'sv'?"),
        ("source.language=English", "'English' is not a language tag; did you mean 'en'?"),
        ("targets.0.language=gibberishish", "'gibberishish' is not a language tag, such as en"),
    ],
)
def test_a_name_in_place_of_a_tag(override: str, message: str) -> None:
    assert message in prealign("validate", "recipe.yaml", override).stderr


def test_arms_and_formats_are_checked_before_any_work(here: Path) -> None:
    (here / "text.txt").write_text("The house is old.\n", encoding="utf-8")
    (here / "b.yaml").write_text(
        "name: b\nsource: {text: [text.txt]}\ntargets: [{language: en-clone}]\n", encoding="utf-8"
    )
    assert "did you mean 'prealign'" in prealign("align", "b.yaml", "--arm", "prelign").stderr
    assert "did you mean 'arrow'" in prealign("switch", "b.yaml", "--out", "x", "--format", "arow").stderr
    assert not (here / "runs").exists()


def test_small_text_is_told_of() -> None:
    large, small = {"documents": 100, "tokens": 60_000}, {"documents": 1, "tokens": 400}
    corpus = {"en": {"train": large, "test": large}, "de": {"train": small, "test": small}}
    told = list(small_texts({**corpus, "en-clone": {"train": small, "test": small}}))
    assert [line.split(";")[0] for line in told] == [
        "German: 400 tokens to train on",
        "German: 400 tokens in 1 test document",
    ]


def test_nouns_follow_their_numbers() -> None:
    assert [some(n, "document") for n in (0, 1, 2551)] == ["0 documents", "1 document", "2,551 documents"]
    assert some(1, "entry", "entries") == "1 entry" and some(2, "entry", "entries") == "2 entries"
