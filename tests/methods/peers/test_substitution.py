"""Dictionary substitution: a part of the text is switched by the rules of code-switching, the rest is untouched."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

import tokenizers_in_memory as memory
import toy_experiment
from prealign.files import read_json
from prealign.lexicon import Group, Lexicon
from prealign.methods.peers.substitution import Substituter
from prealign.methods.switching.switch import CodeSwitcher
from prealign.recipe.arms import with_settings
from prealign.recipe.checks import contradictions
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.text.words import word_starts

LEXICON = Lexicon(
    [
        Group("house", {"de": ("Haus", "Gebäude")}),
        Group("the", {"de": ("der", "die")}),
        Group("river", {"de": ("Fluß",)}),
    ],
    source="en",
)


def encode(text: str) -> np.ndarray:
    return np.array(memory.load("byte_bpe").encode(text, add_special_tokens=False), dtype=np.int64)


def substituter(**settings: Any) -> Substituter:
    return Substituter(memory.load("byte_bpe"), LEXICON, **{"share": 0.5, "ratio": 0.7, "mode": "vanilla"} | settings)


def sentences(text: str) -> list[str]:
    """Split after each of ".!?" and line break, with the quotation marks and brackets that follow."""
    parts = [""]
    for i, char in enumerate(text):
        parts[-1] += char
        rest = text[i + 1 :].lstrip("\"')]")
        if parts[-1].rstrip("\"')]").endswith((".", "!", "?", "\n")) and text[i + 1 :] == rest:
            parts.append("")
    return [part for part in parts if part]


TEXT = 'The river. See the house! "Whose house?" He asked the river (the house.) And the rest of the house\nThe river'


def test_the_end_of_a_sentence_is_that_of_its_text() -> None:
    ids = encode(TEXT)
    number = substituter()._sentences(ids)
    found = [memory.load("byte_bpe").decode(ids[number == n].tolist()) for n in range(number[-1] + 1)]
    assert found == sentences(TEXT) and len(found) == 6


@given(st.integers(0, 5), st.integers(0, 50), st.sampled_from(["documents", "sentences"]), st.sampled_from([0.2, 1.0]))
@settings(max_examples=60, database=None)
def test_a_unit_is_either_switched_as_by_code_switching_or_untouched(
    epoch: int, document: int, unit: Any, ratio: float
) -> None:
    """The oracle: code-switching of the same seed, sentence by sentence."""
    ids, tokenizer = encode(TEXT), memory.load("byte_bpe")
    made = substituter(unit=unit, ratio=ratio)
    found = made.switch(ids, epoch=epoch, document=document).switches.start.tolist()
    plain = CodeSwitcher(tokenizer, LEXICON, ratio=ratio, mode="vanilla")
    switches = plain.switch(ids, epoch=epoch, document=document).switches.start.tolist()
    lengths = [len(ids)] if unit == "documents" else [len(encode(part)) for part in sentences(TEXT)]
    assert sum(lengths) == len(ids)
    for first, end in zip(np.cumsum([0, *lengths]), np.cumsum(lengths), strict=False):
        own = [start for start in found if first <= start < end]
        assert own in ([], [start for start in switches if first <= start < end])


@pytest.mark.parametrize("unit", ["documents", "sentences"])
def test_the_share_of_units_and_the_ratio_within_them(unit: Any) -> None:
    ids, units = encode(TEXT), 1 if unit == "documents" else len(sentences(TEXT))
    whole = substituter(unit=unit, share=0.3, ratio=1)
    numbers = whole._sentences(ids) if unit == "sentences" else np.zeros(len(ids), int)
    touched = sum(
        len(set(numbers[whole.switch(ids, document=document).switches.start].tolist())) for document in range(800)
    )
    assert binomtest(touched, 800 * units, 0.3).pvalue > 1e-4
    part = substituter(unit=unit, share=1, ratio=0.2)
    assert part.independent and not whole.independent
    known = part.known([(ids, None)]).known
    switched = sum(part.switch(ids, document=document).switched_words for document in range(400))
    assert binomtest(switched, 400 * known, 0.2).pvalue > 1e-4


@pytest.mark.parametrize("unit", ["documents", "sentences"])
def test_the_expected_rate_is_that_of_many_draws(unit: Any) -> None:
    made, ids = substituter(unit=unit, share=0.4, ratio=0.5), encode(TEXT)
    assert made.mean_ratio == pytest.approx(0.2)
    done = [made.rewrite(ids, document=document) for document in range(2000)]
    realised = sum(own.switched_words for own in done) / sum(own.words for own in done)
    assert realised == pytest.approx(made.mean_ratio * made.known([(ids, None)]).coverage, rel=0.06)


def test_the_choice_depends_on_seed_epoch_and_document_alone() -> None:
    ids, jobs = encode(TEXT), [(epoch, document) for epoch in range(3) for document in range(20)]
    made = substituter(unit="sentences")
    forward = {job: made.switch(ids, epoch=job[0], document=job[1]).input_ids.tolist() for job in jobs}
    copy = pickle.loads(pickle.dumps(made))
    assert forward == {job: copy.switch(ids, epoch=job[0], document=job[1]).input_ids.tolist() for job in jobs[::-1]}
    assert len({tuple(ids) for ids in forward.values()}) > 40
    other = substituter(unit="sentences", seed=1)
    assert any(other.switch(ids, epoch=e, document=d).input_ids.tolist() != forward[e, d] for e, d in jobs)


def test_a_case_worked_by_hand() -> None:
    """At ratio 1 a drawn document has every known word replaced, labels too; another is as it was."""
    lexicon = Lexicon([Group("house", {"de": ("Haus",)})], source="en")
    made = Substituter(memory.load("byte_bpe"), lexicon, share=0.5, ratio=1, mode="vanilla")
    texts = set()
    for document in range(20):
        done = made.rewrite(encode("a house, a door"), document=document)
        assert np.array_equal(done.input_ids, done.labels) and done.words == 4
        texts.add((memory.load("byte_bpe").decode(done.input_ids.tolist()), done.switched_words))
    assert texts == {("a house, a door", 0), ("a Haus, a door", 1)}
    assert (
        len(word_starts(memory.load("byte_bpe"), encode("a house, a door")))
        and len(made.rewrite(encode("")).labels) == 0
    )


def test_it_runs_as_an_arm(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"arms": ["joint", "substitution"], "evaluate__dynamics": 0}
    settings["methods"] = {"substitution": {"share": 0.5, "ratio": 0.8, "unit": "sentences"}}
    made = toy_experiment.recipe(tmp_path / "text", **settings)
    run_experiment(made, RunFolder(tmp_path / "run"), lambda _: None, command="test")
    results = read_json(tmp_path / "run" / "results.json")
    assert results["arms"]["substitution"]["phases"][0]["rewriting"]["unit"] == "sentences"
    steps = {row["arm"]: row["steps"] for row in results["budget"] if row["stage"] == "pretrain"}
    assert steps["substitution"] == steps["joint"], "nothing but the text differs"
    (row,) = results["switching"]
    assert (row["arm"], row["ratio"], row["mode"], row["independent"]) == ("substitution", 0.4, "vanilla", False)
    assert row["expected"] == pytest.approx(0.4 * row["coverage"])
    assert row["realised"] == pytest.approx(row["expected"], rel=0.3)
    assert row["switched"]["en"]["en-clone"]["expected"] == pytest.approx(row["expected"])


def test_wrong_settings_are_told_with_their_place(tmp_path: Path) -> None:
    made = toy_experiment.recipe(tmp_path)
    wrong = with_settings(made, {"methods": {"substitution": {"share": 0, "ratio": 2, "unit": "words", "rate": 1}}})
    told = {".".join(map(str, key)): text for key, text in contradictions(wrong)}
    assert told.keys() == {f"methods.substitution.{key}" for key in ("share", "ratio", "unit", "rate")}
    assert "documents" in told["methods.substitution.unit"]
