"""What `prealign init` finds in a user's files, and the recipe it writes of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from prealign.cli.main import app
from prealign.errors import LexiconError
from prealign.recipe.effects import ineffective
from prealign.recipe.file import load_recipe
from prealign.recipe.packaged import packaged_path
from prealign.run.starter import RECOMMENDED, guess, problems, recipe_text
from prealign.run.survey import LexiconSurvey, TextSurvey, mixed, survey_lexicon, survey_text

WORDS = 60


def lines(stem: str, number: int, seed: int) -> list[str]:
    """Sentences of made-up words of one language: the n-th word of either language translates that of the other."""
    generator = np.random.default_rng(seed)
    return [
        " ".join(f"{stem}{chr(97 + n // 8)}{chr(97 + n % 8)}" for n in generator.integers(0, WORDS, 12))
        for _ in range(number)
    ]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """English and German lines, and a dictionary, in the working directory."""
    (tmp_path / "en.txt").write_text("\n".join(lines("house", 300, 0)), encoding="utf-8")
    (tmp_path / "de.txt").write_text("\n".join(lines("Haus", 120, 1)), encoding="utf-8")
    pairs = [f"house{chr(97 + n // 8)}{chr(97 + n % 8)}\thaus{chr(97 + n // 8)}{chr(97 + n % 8)}" for n in range(WORDS)]
    (tmp_path / "en-de.tsv").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prealign(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


FILES = ("--target", "de", "--lexicon", "en-de.tsv", "--text-source", "en.txt", "--text-target", "de.txt")


def test_a_survey_counts_what_a_loop_counts(files: Path) -> None:
    told: list[str] = []
    source, target = (survey_text([f"{tag}.txt"], tag, told.append) for tag in ("en", "de"))
    text = (files / "en.txt").read_text(encoding="utf-8")
    assert (source.files, source.lines, source.size) == (1, 300, len(text.encode()))
    assert source.words == Counter(text.split())
    assert (source.documents, source.number) == ("line", 300)
    found = survey_lexicon([files / "en-de.tsv"], source, target)
    assert (found.words, found.usable, found.coverage) == (WORDS, WORDS, 1.0)
    assert found.other_case  # haus, and Haus in the text
    assert mixed(source, target).share == 0


def test_half_a_text_in_the_other_language_is_found(files: Path) -> None:
    """Of 120 German lines 120 others are English: half of the words, and some of the lines are repeated."""
    english = lines("house", 300, 0)
    both = [*lines("Haus", 120, 1), *lines("house", 100, 7), *english[:20]]
    (files / "de.txt").write_text("\n".join(both), encoding="utf-8")
    source, target = (survey_text([f"{tag}.txt"], tag, print) for tag in ("en", "de"))
    found = mixed(source, target)
    assert found.share == pytest.approx(0.5, abs=0.01)
    assert found.repeated == pytest.approx(20 / 240)
    assert found.example.startswith("house")
    said = "\n".join(
        problems(source, target, LexiconSurvey(("d",), 9000, 9000, 0.9, 0.0, False), found, guess(source, target))
    )
    assert "50% of the words of the German text stand in lines that look English" in said
    assert "repeated text: 8%" in said


def survey(language: str, lines: int, size: int) -> TextSurvey:
    return TextSurvey(language, ("text",), 1, lines, size, Counter(a=9), ())


@pytest.mark.parametrize(("source", "target"), [(10**6, 10**5), (10**7, 10**5), (10**8, 10**8), (4 * 10**5, 10**4)])
def test_guessed_sizes_keep_their_bounds(source: int, target: int) -> None:
    texts = survey("en", source // 100, source), survey("de", target // 100, target)
    sizes = guess(*texts)
    assert sizes.validation + sizes.test < min(text.number for text in texts) // 4
    assert 800 <= sizes.steps <= 4000 and 100 <= sizes.align_steps <= 500
    budget = sizes.steps * 4 * 128
    assert sizes.passes[1] == pytest.approx(budget * sizes.share / texts[1].tokens)
    assert sizes.share <= 0.3 or sizes.share == pytest.approx(0.5)
    assert sizes.passes[1] < 10 or sizes.share == 0.01


def test_faults_are_named(files: Path) -> None:
    texts = survey("en", 400, 40_000), survey("de", 100, 7_000)
    words = LexiconSurvey(("d",), 100, 50, 0.2, 0.6, False)
    said = "\n".join(problems(*texts, words, mixed(*texts), guess(*texts)))
    for part in ("little text", "a small test", "few words to align", "low coverage: ", "definitions: 60%"):
        assert part in said
    rich = replace(texts[0], size=10**7, lines=10**5), replace(texts[1], size=10**6, lines=10**4)
    fine = LexiconSurvey(("d",), 9000, 5000, 0.8, 0.0, False)
    assert not list(problems(*rich, fine, mixed(*rich), guess(*rich)))
    with pytest.raises(LexiconError, match="no word of the dictionary is 5 times in the en text"):
        survey_lexicon([files / "en-de.tsv"], survey("en", 9, 9), survey("de", 9, 9))


@pytest.mark.parametrize("other_case", [True, False])
def test_the_recipe_is_valid_without_a_warning_and_explains_its_lines(tmp_path: Path, other_case: bool) -> None:
    texts = survey("en", 10**5, 10**7), survey("zh", 10**4, 10**6)
    words, path = LexiconSurvey(('a "b".txt', "ü.txt"), 9000, 5000, 0.8, 0.0, other_case), tmp_path / "r.yaml"
    path.write_text(recipe_text("en-zh", path, *texts, words, guess(*texts)), encoding="utf-8")
    recipe = load_recipe(path)
    assert not ineffective(recipe)
    assert [file.path for file in recipe.lexicon.files] == ['a "b".txt', "ü.txt"]
    assert recipe.arms == ["joint", *RECOMMENDED]
    assert recipe.lexicon.case == ("text" if other_case else "file")
    settings = [line for line in path.read_text(encoding="utf-8").splitlines() if ": " in line and line[0] == " "]
    unexplained = [line for line in settings if " # " not in line and "#   " not in line]
    assert len(unexplained) <= 8, unexplained


def test_init_writes_a_recipe_that_runs(files: Path) -> None:
    made = prealign("init", *FILES)
    assert made.exit_code == 0, made.output
    for part in (
        "text en: 300 documents",
        "60 words, 60 of them in the text",
        "little text",
        "Next: prealign run en-de.yaml",
    ):
        assert part in made.output
    tiny = [
        "pretrain.steps=3",
        "align.steps=2",
        "align.pairs_per_batch=8",
        "pretrain.context=16",
        "tokenizer.vocab_size=300",
    ]
    run = prealign("run", "en-de.yaml", "jobs=1", "pretrain.validations=1", "evaluate.retrieval_words=20", *tiny)
    assert run.exit_code == 0, run.output
    assert "Anchored vocabulary" in run.output and (files / "runs/en-de/report.html").exists()
    again = prealign("init", *FILES)
    assert again.exit_code == 2 and "en-de.yaml exists already" in again.stderr


def test_init_copies_a_packaged_recipe(files: Path) -> None:
    assert prealign("init", "demo").exit_code == 0
    assert (files / "demo.yaml").read_text(encoding="utf-8") == packaged_path("demo").read_text(encoding="utf-8")
    assert "did you mean 'demo'" in prealign("init", "dem").stderr
    for half in ([], ["--target", "de"], ["demo", *FILES]):
        assert "give either the name" in prealign("init", *half, "--out", "new.yaml").stderr
