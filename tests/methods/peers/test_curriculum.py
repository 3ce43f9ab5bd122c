"""The curriculum: words switched, then sentences alternated, then text as it is."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

import tokenizers_in_memory as memory
import toy_experiment
import toy_mixture
from prealign.files import read_json
from prealign.lexicon import Group, Lexicon
from prealign.methods.peers.curriculum import Curriculum, CurriculumSwitcher, StagedSwitching
from prealign.methods.schedule import Schedule
from prealign.methods.switching.switch import IGNORE, CodeSwitcher
from prealign.recipe.arms import with_settings
from prealign.recipe.checks import contradictions
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.run.mixture import mixture_record
from prealign.run.planned import PlannedInputs, assumed_words
from prealign.text.blocks import Mixture, write_blocks
from prealign.text.clone import clone_language
from prealign.text.ragged import Ragged

LEXICON = Lexicon([Group("house", {"de": ("Haus",)}), Group("the", {"de": ("der", "die")})], source="en")
PAIRS = [
    ("the house", "das Haus"),
    ("a river", "ein Fluß"),
    ("see Anna!", "sieh Anna!"),
    ("no", "nein"),
    ("12", "zwölf"),
]


def encode(text: str) -> list[int]:
    ids: list[int] = memory.load("byte_bpe").encode(text, add_special_tokens=False)
    return ids


def decode(ids: Any) -> str:
    text: str = memory.load("byte_bpe").decode([token for token in np.asarray(ids).tolist() if token != IGNORE])
    return text


BITEXT = {
    "de": (Ragged.of([encode(one) for one, _ in PAIRS]), Ragged.of([encode(other) for _, other in PAIRS])),
    "ru": (Ragged.of([encode("a house")]), Ragged.of([encode("дом")])),
}


def switcher(bitext: Any = BITEXT, **changes: Any) -> CurriculumSwitcher:
    stages = {"schedule": Schedule.between(0, 0.3), "alternating": Schedule.between(0.3, 0.5)}
    base = {"ratio": 0.5, "sentence_ratio": 1.0, "mode": "vanilla"} | stages
    return CurriculumSwitcher(memory.load("byte_bpe"), LEXICON, bitext=bitext, **base | changes)


TEXT = np.array(encode("See the house by the river. The house stood. " * 3), dtype=np.int64)


@given(st.floats(0, 1), st.integers(0, 3), st.integers(0, 99), st.sampled_from(["vanilla", "input_only"]))
@settings(max_examples=100, database=None)
def test_a_document_is_treated_as_its_place_in_the_phase_asks(
    progress: float, epoch: int, document: int, mode: Any
) -> None:
    done = switcher(mode=mode).rewrite(TEXT, epoch=epoch, document=document, progress=progress)
    ratio = 0.5 if progress < 0.3 else 0.0
    plain = CodeSwitcher(memory.load("byte_bpe"), LEXICON, ratio=ratio, mode=mode)
    expected = plain.rewrite(TEXT, epoch=epoch, document=document)
    counts = ("words", "switched_words", "tokens", "switched_tokens", "into")
    assert [getattr(done, key) for key in counts] == [getattr(expected, key) for key in counts]
    as_it_was = np.array_equal(done.input_ids, expected.input_ids) and np.array_equal(done.labels, expected.labels)
    assert as_it_was != (0.3 <= progress < 0.5)


def lines(ids: Any) -> list[str]:
    text = decode(ids)
    assert text.endswith("\n")
    return text[:-1].split("\n")


@given(st.integers(0, 3), st.integers(0, 500), st.integers(1, 80))
@settings(max_examples=150, database=None)
def test_alternated_text_is_consecutive_pairs_every_other_in_the_target_language(
    epoch: int, document: int, size: int
) -> None:
    """The oracle: lines compared with the pairs, one by one."""
    ids = np.resize(TEXT, size)
    done = switcher().rewrite(ids, epoch=epoch, document=document, progress=0.4)
    assert np.array_equal(done.input_ids, done.labels)
    found = lines(done.input_ids)
    ways = []
    for pairs in (PAIRS, [("a house", "дом")]):
        for first in range(len(pairs)):
            for turn in range(2):
                rows = [pairs[(first + i) % len(pairs)] for i in range(len(found))]
                if found == [row[i % 2 == turn] for i, row in enumerate(rows)]:
                    ways.append(len([token for one, _ in rows for token in [*encode(one), *encode("\n")]]))
                    last = len([*encode(rows[-1][0]), *encode("\n")])
                    assert ways[-1] - last < size <= ways[-1], "the fewest pairs whose source side is as long"
    assert ways


def test_input_only_labels_are_those_of_switching_with_sentences_as_words() -> None:
    """A case worked by hand: source sentences are labels, of a target sentence only the source's first token."""
    one, other = (Ragged.of([encode(text)]) for text in ("the river", "der Fluß"))
    made = switcher({"de": (one, other)}, mode="input_only")
    source, target, end = encode("the river"), encode("der Fluß"), encode("\n")
    switched = [source[0]] + [IGNORE] * (len(target) - 1)
    texts = {
        (*source, *end, *target, *end): (*source, *end, *switched, *end),
        (*target, *end, *source, *end): (*switched, *end, *source, *end),
    }
    size, found = 2 * len(source) + len(end) + 1, set()
    for document in range(20):
        done = made.rewrite(np.resize(TEXT, size), document=document, progress=0.4)
        assert texts[tuple(done.input_ids.tolist())] == tuple(done.labels.tolist())
        found.add(tuple(done.input_ids.tolist()))
    assert found == set(texts), "either side is first"


def test_documents_languages_and_places_are_drawn_by_seed_epoch_and_document_alone() -> None:
    jobs = [(epoch, document) for epoch in range(2) for document in range(300)]
    made = switcher(sentence_ratio=0.4)

    def run(own: CurriculumSwitcher, epoch: int, document: int) -> tuple[int, ...]:
        return tuple(own.rewrite(TEXT, epoch=epoch, document=document, progress=0.4).input_ids.tolist())

    found = {job: run(made, *job) for job in jobs}
    copy = pickle.loads(pickle.dumps(made))
    assert found == {job: run(copy, *job) for job in reversed(jobs)}
    replaced = [lines(ids) for ids in found.values() if ids != tuple(TEXT.tolist())]
    assert binomtest(len(replaced), len(jobs), 0.4).pvalue > 1e-4
    russian = sum("дом" in own for own in replaced)
    assert binomtest(russian, len(replaced), 0.5).pvalue > 1e-4
    assert len({tuple(own) for own in replaced}) == 2 * len(PAIRS) + 2, "every place and turn"
    assert any(run(switcher(sentence_ratio=0.4, seed=1), *job) != found[job] for job in jobs)


def test_the_stages_follow_each_other_in_the_blocks_at_the_expected_rates(tmp_path: Path) -> None:
    """On a clone, whose words are as long as the source's: a place in the blocks is then a place in the phase."""
    tokenizer = memory.load("byte_bpe")
    clone = clone_language(tokenizer)
    sources = [encode(one) for one, _ in PAIRS[1:]]
    bitext = {"en-clone": (Ragged.of(sources), Ragged.of([clone.map(ids) for ids in sources]))}
    stages = {"schedule": Schedule.between(0, 0.3), "alternating": Schedule.between(0.3, 0.5)}
    made = CurriculumSwitcher(
        tokenizer,
        clone.lexicon(["house", "the"]),
        bitext=bitext,
        sentence_ratio=1.0,
        ratio=1.0,
        mode="vanilla",
        **stages,
    )
    rows: dict[str, Dataset] = {"en": toy_mixture.tokens([TEXT.tolist()] * 100)}
    mixture = Mixture(rows, "en", tokenizer.eos_token_id, rewriters={"en": made})
    size = 6 * (len(TEXT) + 1) * 100
    blocks, counts = write_blocks(mixture, tmp_path, blocks=size // 64, context=64, seed=0)
    ids = np.concatenate(blocks["input_ids"])
    stood, twelve = encode(" stood")[-1], encode("12")[0]
    words = np.flatnonzero(np.isin(ids, clone.map(encode(" house")))) / len(ids)
    sentences = np.flatnonzero(np.isin(ids, [twelve, clone.map([twelve])[0]])) / len(ids)
    assert (words.min(), words.max()) == (pytest.approx(0, abs=0.02), pytest.approx(0.3, abs=0.02))
    assert (sentences.min(), sentences.max()) == (pytest.approx(0.3, abs=0.02), pytest.approx(0.5, abs=0.03))
    plain = np.flatnonzero(ids == stood) / len(ids)
    assert not ((plain > 0.33) & (plain < 0.48)).any(), "every document of the stage is replaced"
    assert (ids[int(0.53 * len(ids)) :] < len(tokenizer)).all(), "then text is monolingual"
    known = {"en": made.known([(document, None) for document in rows["en"]["input_ids"]])}
    record = mixture_record(mixture, counts, known, {"en": size})
    assert record["ratio"] == pytest.approx(0.3) and record["independent"] is False
    rates = record["switched"]["en"]["en-clone"]
    assert rates["realised"] == pytest.approx(rates["expected"], rel=0.03)


def test_without_a_bitext_the_stage_is_left_out_and_told() -> None:
    made = switcher({})
    for progress in (0.3, 0.4, 0.6):
        assert np.array_equal(made.rewrite(TEXT, progress=progress).input_ids, TEXT)
    inputs = PlannedInputs(["en", "de"], assumed_words(2), bitext={})
    own = Curriculum.Settings.model_validate({"pretrain": {}})
    told = StagedSwitching(own, inputs).describe()
    assert told["left_out"] == "sentence alternation: there is no bitext" and told["sentences"] == 0
    none = Curriculum.Settings.model_validate({"pretrain": {}, "sentences": 0})
    assert "left_out" not in StagedSwitching(none, inputs).describe()


def test_it_runs_as_an_arm(tmp_path: Path) -> None:
    methods = {"curriculum": {"words": 0.5, "word_ratio": 0.8}}
    made = toy_experiment.recipe(tmp_path / "text", arms=["joint", "curriculum"], methods=methods)
    run_experiment(made, RunFolder(tmp_path / "run"), lambda _: None, command="test")
    results = read_json(tmp_path / "run" / "results.json")
    (phase,) = results["arms"]["curriculum"]["phases"]
    assert phase["rewriting"]["words"] == 0.5 and "left_out" in phase["rewriting"]
    steps = {row["arm"]: row["steps"] for row in results["budget"] if row["stage"] == "pretrain"}
    assert steps["curriculum"] == steps["joint"], "nothing but the text differs"
    (row,) = results["switching"]
    assert (row["ratio"], row["mode"], row["independent"]) == (pytest.approx(0.4), "vanilla", False)
    assert row["expected"] == pytest.approx(row["ratio"] * row["coverage"])
    assert row["switched_words"] > 0


def test_wrong_settings_are_told_with_their_place(tmp_path: Path) -> None:
    made = toy_experiment.recipe(tmp_path)
    wrong = with_settings(made, {"methods": {"curriculum": {"words": 0.7, "sentences": 0.6}}})
    ((key, text),) = contradictions(wrong)
    assert (
        key[:2] == ("methods", "curriculum") and text == "words and sentences are 1.3 of the phase: at most 1 together"
    )
