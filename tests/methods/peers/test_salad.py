"""Word salad: the words and languages of code-switching, with random target words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

import tokenizers_in_memory as memory
import toy_experiment
from prealign.files import read_json
from prealign.lexicon import Group, Lexicon
from prealign.methods.peers.salad import SaladSwitcher
from prealign.methods.switching.switch import IGNORE, CodeSwitcher
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.text.words import word_starts

LEXICON = Lexicon(
    [
        Group("house", {"de": ("Haus", "Gebäude"), "ru": ("дом",), "zh": ("房子",)}),
        Group("building", {"de": ("Gebäude",)}),
        Group("river", {"de": ("fluß",), "ru": ("река",)}),
        Group("water", {"de": ("wasser",), "zh": ("水",)}),
        Group("Anna", {"ru": ("Анна",)}),
    ],
    source="en",
)
WORDS = {"de": ["Haus", "Gebäude", "fluß", "wasser"], "ru": ["дом", "река", "Анна"], "zh": ["房子", "水"]}
CASES: dict[str, Any] = {"house": str, "House": lambda w: w[0].upper() + w[1:], "HOUSE": str.upper}


def encode(text: str, name: str = "byte_bpe") -> np.ndarray:
    return np.array(memory.load(name).encode(text, add_special_tokens=False), dtype=np.int64)


def pieces(made: CodeSwitcher, text: str, document: int = 0) -> list[tuple[str, str]]:
    """(target language, substitute as text) of each replaced word."""
    done = made.switch(encode(text), document=document)
    decode, switches = memory.load("byte_bpe").decode, done.switches
    spans = zip(switches.target, switches.p, switches.m, strict=True)
    return [(made.targets[target], decode(done.input_ids[p : p + m].tolist())) for target, p, m in spans]


@pytest.mark.parametrize("name", memory.IN_MEMORY)
def test_it_replaces_the_words_of_code_switching_by_words_of_the_same_languages(name: str) -> None:
    tokenizer = memory.load(name)
    weights = {"de": 2.0, "ru": 0.5}
    plain, salad = (
        made(tokenizer, LEXICON, ratio=0.6, seed=3, weights=weights) for made in (CodeSwitcher, SaladSwitcher)
    )

    @settings(max_examples=40, database=None)
    @given(st.integers(0, 9), st.integers(0, 99))
    def check(epoch: int, document: int) -> None:
        ids = encode(memory.EN, name)
        one, other = (made.switch(ids, epoch=epoch, document=document) for made in (plain, salad))
        for key in ("word", "start", "n", "target"):
            assert np.array_equal(getattr(one.switches, key), getattr(other.switches, key)), key
        assert (one.switched_words, one.source_words) == (other.switched_words, other.source_words)
        assert np.count_nonzero(other.labels != IGNORE) == len(ids) - int((other.switches.n - 1).sum())
        assert set(other.labels.tolist()) <= {*ids.tolist(), IGNORE}, "no substitute is a label"

    check()
    documents = [(encode(memory.EN, name), None)]
    assert plain.known(documents) == salad.known(documents) and plain.mean_ratio == salad.mean_ratio


@pytest.mark.parametrize("source", CASES)
def test_substitutes_are_uniform_over_the_words_of_a_language(source: str) -> None:
    """Written as the word that they replace: in its case, with a space before it where the script has spaces."""
    salad = SaladSwitcher(memory.load("byte_bpe"), LEXICON, ratio=1)
    drawn: dict[str, Counter[str]] = {target: Counter() for target in WORDS}
    for document in range(8):
        for target, text in pieces(salad, f" {source}" * 300, document):
            drawn[target][text] += 1
    total = sum(sum(own.values()) for own in drawn.values())
    assert total == 2400
    for target, words in WORDS.items():
        space = "" if target == "zh" else " "
        expected = {space + CASES[source](word) for word in words}
        assert set(drawn[target]) == expected
        assert chisquare(list(drawn[target].values())).pvalue > 1e-4
    assert chisquare([sum(own.values()) for own in drawn.values()]).pvalue > 1e-4


def test_the_substitute_tells_nothing_of_the_word() -> None:
    salad = SaladSwitcher(memory.load("byte_bpe"), LEXICON, ratio=1, targets=["de"])
    found = np.zeros((3, 4), dtype=int)
    for row, word in enumerate(("house", "river", "water")):
        for document in range(6):
            for _, text in pieces(salad, f" {word}" * 200, 10 * row + document):
                found[row, WORDS["de"].index(text.strip())] += 1
    assert found.sum() == 3600 and chi2_contingency(found).pvalue > 1e-4


def test_a_case_worked_by_hand() -> None:
    """One other word in the language: half the substitutes are the translation, half the other word."""
    lexicon = Lexicon([Group("house", {"de": ("Haus",)}), Group("river", {"de": ("Fluß",)})], source="en")
    tokenizer = memory.load("byte_bpe")
    texts = Counter[str]()
    for document in range(200):
        done = SaladSwitcher(tokenizer, lexicon, ratio=1, mode="vanilla", seed=1).switch(
            encode("(house)"), document=document
        )
        assert np.array_equal(done.input_ids, done.labels)
        texts[tokenizer.decode(done.input_ids.tolist())] += 1
    assert set(texts) == {"(Haus)", "(Fluß)"} and chisquare([*texts.values()]).pvalue > 1e-4


def test_the_choice_depends_on_seed_epoch_and_document_alone() -> None:
    made, other = (SaladSwitcher(memory.load("byte_bpe"), LEXICON, ratio=0.7, seed=2) for _ in range(2))
    ids, jobs = encode(memory.EN), [(epoch, document) for epoch in range(3) for document in range(10)]
    forward = [made.switch(ids, epoch=e, document=d).input_ids.tolist() for e, d in jobs]
    assert forward == [other.switch(ids, epoch=e, document=d).input_ids.tolist() for e, d in reversed(jobs)][::-1]
    assert len({tuple(own) for own in forward}) == len(jobs)


def test_target_text_is_replaced_by_random_source_words() -> None:
    inverted = LEXICON.inverted("de")
    salad = SaladSwitcher(memory.load("byte_bpe"), inverted, ratio=1, source="de")
    assert {text.strip() for _, text in pieces(salad, " Haus" * 200)} == {"house", "building", "river", "water"}
    assert word_starts(memory.load("byte_bpe"), encode(" Haus")).sum() == 1


def test_it_runs_as_an_arm_beside_code_switching(tmp_path: Path) -> None:
    arms = ["joint", "joint_input_cs", "salad", "salad_vanilla"]
    variants = {"salad_vanilla": {"extends": "salad", "set": {"switch.mode": "vanilla"}}}
    made = toy_experiment.recipe(tmp_path / "text", arms=arms, variants=variants)
    run_experiment(made, RunFolder(tmp_path / "run"), lambda _: None, command="test")
    results = read_json(tmp_path / "run" / "results.json")
    steps = {row["arm"]: row["steps"] for row in results["budget"] if row["stage"] == "pretrain"}
    assert len(set(steps.values())) == 1, "nothing but the text differs"
    rows = {row["arm"]: row for row in results["switching"]}
    assert rows["salad_vanilla"]["mode"] == "vanilla" and rows["salad"]["mode"] == "input_only"
    dose = ("ratio", "coverage", "expected", "independent")
    for arm in ("salad", "salad_vanilla"):
        assert [rows[arm][key] for key in dose] == [rows["joint_input_cs"][key] for key in dose]
        assert rows[arm]["realised"] == pytest.approx(rows["joint_input_cs"]["realised"], rel=0.1)
    assert results["arms"]["salad"]["phases"][0]["rewriting"]["rewriting"] == "word salad"
