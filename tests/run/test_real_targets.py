"""Two target languages with text, dictionaries and test data of their own, from files to scores, in seconds.

The languages are made: a word of `de` is the English one backwards with a capital, of `nl` the English one after an x.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tokenizers_in_memory as memory
import toy_experiment
import toys
from prealign.errors import DataError, LexiconError
from prealign.files import read_json
from prealign.lexicon import Group, Lexicon
from prealign.lexicon.forms import inflected
from prealign.methods.switching.rewriting import CodeSwitching
from prealign.methods.switching.switch import CodeSwitcher
from prealign.recipe.arms import resolve_arm
from prealign.run.measures.parallel import ParallelTests
from prealign.run.preparation.dictionaries import make_lexicon
from prealign.run.preparation.prepare import data_marks
from prealign.run.results import collect_results
from prealign.run.stages import ArmRun
from prealign.text.clone import clone_language
from prealign.text.words import word_table
from toy_experiment import record
from toy_targets import TESTED, WORDS, german, recipe


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ArmRun]:
    folder = tmp_path_factory.mktemp("real")
    settings = recipe(folder)
    data, run = toy_experiment.prepared(settings, folder / "run")
    made = {name: ArmRun(name, 0, settings, data, run, lambda _: None) for name in ("joint", "prealign")}
    for arm in made.values():
        arm.execute()
    return made


# --- words that are tested --------------------------------------------------------------------------


def switched_words(switcher: CodeSwitcher, arm: ArmRun, language: str) -> Iterator[str]:
    """Every word of a language's training text that is replaced when every known word is."""
    tokenizer = arm.prepared.tokenizer
    for row, ids in enumerate(arm.prepared.training_tokens(language)["input_ids"]):
        found = switcher.switch(ids, document=row).switches
        yield from (tokenizer.decode(ids[a : a + n]).strip().lower() for a, n in zip(found.start, found.n, strict=True))


def test_tested_words_are_in_no_lexicon_of_training_whatever_file_has_them(arms: dict[str, ArmRun]) -> None:
    arm = arms["prealign"]
    training, held_out = arm.lexicons
    known = {group.word.lower() for group in (*training, *held_out)}
    assert len(known) > 30 and not known & set(TESTED)
    for group in (*training, *held_out):
        words = {word for sense in group.translations.get("de", ()) for word in sense.lower().split()}
        assert not words & {*(german(w).lower() for w in TESTED), "ranran"}, "answers leave, whatever word has them"
    kept_out = arm.prepared.record["tests"]["kept_out"]
    assert {reason: tally["count"] for reason, tally in kept_out.items()} == {
        "words of test dictionaries": len(TESTED),  # the text has them in lower case
        "translations that test dictionaries have as answers": 1,
    }
    assert kept_out["translations that test dictionaries have as answers"]["examples"] == ["narnar → ranran"]


def test_answers_stay_where_the_recipe_is_not_strict(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    loose = made.model_copy(update={"evaluate": made.evaluate.model_copy(update={"strict": False})})
    data, _ = toy_experiment.prepared(loose, tmp_path / "run")
    group = data.lexicon.lookup("narnar")
    assert group is not None and dict(group.translations) == {"de": ("Ranran",), "nl": ("xnarnar",)}
    assert data.record["tests"]["kept_out"].keys() == {"words of test dictionaries"}


def test_tested_words_are_never_switched(arms: dict[str, ArmRun]) -> None:
    arm = arms["prealign"]
    lexicon, _ = arm.prepared.switching_lexicon(arm.recipe, arm.lexicons[0])
    switcher = CodeSwitcher(arm.prepared.tokenizer, lexicon, ratio=1)
    switched = set(switched_words(switcher, arm, "en"))
    text = {word.lower() for word in arm.prepared.words}
    assert set(TESTED) <= text, "they could have been"
    assert len(switched) > 30 and not switched & set(TESTED)
    back = CodeSwitcher(arm.prepared.tokenizer, lexicon.inverted("de"), ratio=1, source="de")
    turned = set(switched_words(back, arm, "de"))
    assert len(turned) > 30 and not turned & {german(word).lower() for word in TESTED}


def test_the_test_says_what_is_asked_and_what_is_not(arms: dict[str, ArmRun]) -> None:
    (reading,) = arms["joint"].prepared.record["tests"]["reading"]
    assert "10 lines" in reading["summary"] and "of the source words were found in the corpus" in reading["summary"]
    (found,) = arms["joint"].prepared.record["tests"]["dictionaries"]
    assert (found["target"], found["words"], found["asked"], found["pairs"]) == ("de", 9, 8, 8)
    assert found["dropped"] == {"fewer than 2 times in the en text": 1}
    words = arms["joint"].prepared.tested_words(arms["joint"].recipe)["de"]
    assert found["summary"] == words.summary
    assert 30 <= len(words.targets) <= 30 + len(TESTED)
    assert set(words.targets) <= {german(word) for word in WORDS}, "written as the text has them, not as the dictionary"


def test_translations_are_written_as_in_the_text(arms: dict[str, ArmRun]) -> None:
    lexicon = arms["prealign"].prepared.lexicon
    group, answer = lexicon.lookup("kaka"), lexicon.lookup("narnar")
    assert group is not None and dict(group.translations) == {"de": ("Akak",), "nl": ("xkaka",)}
    assert answer is not None and dict(answer.translations) == {"nl": ("xnarnar",)}, "Ranran is an answer of the test"


PAIRS = st.dictionaries(
    st.sampled_from(["house", "House", "HOUSE", "river", "water", "Water", "the", "market", "houses"]),
    st.lists(st.sampled_from(["Haus", "haus", "Fluß", "Wasser", "Markt"]), min_size=1, max_size=3, unique=True),
    min_size=1,
    max_size=7,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PAIRS, min_size=1, max_size=3), PAIRS, st.booleans(), st.booleans(), st.integers(0, 5))
def test_a_tested_pair_is_never_aligned_nor_switched(
    files: list[dict[str, list[str]]], tested: dict[str, list[str]], as_text: bool, strict: bool, seed: int
) -> None:
    """Whatever the dictionaries and the test hold, in whatever case, with all words of the text switched that can be."""
    tokenizer = memory.load("byte_bpe")

    with tempfile.TemporaryDirectory() as folder:

        def lexicon(pairs: dict[str, list[str]]) -> Lexicon:
            path = Path(folder) / "dictionary.tsv"
            path.write_text("".join(f"{word}\t{sense}\n" for word, senses in pairs.items() for sense in senses))
            return Lexicon.read(path, format="tsv", source="en", target="de")

        dictionaries, tests = [*map(lexicon, files)], lexicon(tested)
    section = {"files": [{"path": f"{i}.tsv", "target": "de"} for i in range(len(files))], "minimum_count": 1}
    made = toys.recipe(
        targets=[{"language": "de", "text": ["de.txt"]}],
        lexicon=section | {"case": "text" if as_text else "file", "inflect": True},
    )
    counts = {"house": 4, "House": 1, "HOUSE": 1, "river": 3, "water": 2, "the": 9, "market": 2, "houses": 1}
    gone = {word.lower() for word in tested}
    answers = {sense.lower() for senses in tested.values() for sense in senses}
    try:
        counted = {"de": {"Haus": 3}}
        sections = (made.lexicon, made.targets, dictionaries, tokenizer, counts, counted, tests)
        whole = make_lexicon(*sections, strict=strict).lexicon
    except LexiconError:
        read = {word for pairs in files for word in pairs if word in counts or word.islower()}
        left = [w for w in read - gone if w.lower() not in gone]
        senses = {sense.lower() for pairs in files for word, own in pairs.items() if word in left for sense in own}
        assert not left or (strict and senses <= answers), "the text has words that could be left"
        return
    if strict:
        assert not {sense.lower() for group in whole for sense in group.translations["de"]} & answers
    training = whole.split(0.2, seed)[0]
    forms = training.merge(inflected(training, whole.merge(tests), counts, 1))
    assert not {group.word.lower() for group in forms} & gone
    if not len(forms):
        return
    text = "the house, House and HOUSE by the river: water, Water, houses and a market"
    ids = np.array(tokenizer.encode(text, add_special_tokens=False))
    switches = CodeSwitcher(tokenizer, forms, ratio=1, seed=seed).switch(ids).switches
    table = word_table(tokenizer)
    for start, n in zip(switches.start, switches.n, strict=True):
        assert table.text(ids[start : start + n]).strip().lower() not in gone


# --- scores -----------------------------------------------------------------------------------------


def test_both_kinds_of_retrieval_are_measured_per_layer_and_stage(arms: dict[str, ArmRun]) -> None:
    for name, stages in (("joint", {"init", "pretrain"}), ("prealign", {"init", "align", "pretrain"})):
        found = record(arms[name], "evaluate")["scores"]
        words = [s for s in found if s["task"] == "retrieval" and s["condition"] == "dictionary"]
        parts = [s for s in found if str(s["condition"]).startswith("dictionary|")]
        sizes = {s["condition"].partition("|")[2]: s["n"] for s in parts}
        strata = arms[name].prepared.record["tests"]["dictionaries"][0]["strata"]
        assert sizes == {stratum: -(-count // 2) for stratum, count in strata.items() if count}
        assert strata["trained"] == 0 and sum(strata.values()) == 16
        assert {(s["language"], s["stage"], s["layer"], s["metric"]) for s in words} == {
            ("de", stage, layer, metric + way)
            for stage in stages
            for layer in range(4)
            for metric in ("p_at_1", "csls_p_at_1")
            for way in ("", "_forward", "_backward")
        }
        candidates = len(arms[name].prepared.tested_words(arms[name].recipe)["de"].targets)
        assert {(s["split"], s["arm"]) for s in words} == {("test", name)}
        assert all(f"asked:8|back:8|candidates:{candidates}|" in s["signature"] for s in words)
        sentences = [s for s in found if s["task"] == "sentence_retrieval"]
        assert {(s["language"], s["stage"], s["layer"]) for s in sentences if s["metric"] == "mexa"} == {
            (language, stage, layer) for language in ("de", "nl") for stage in stages for layer in range(3)
        }
        assert {s["n"] for s in sentences} == {9} and {s["condition"] for s in sentences} == {"nine"}
        items = read_json(arms[name].folder("evaluate") / "parallel.json")
        assert items.keys() == stages
        for score in (s for s in words if s["metric"] == "p_at_1_forward"):
            hits = items[score["stage"]]["dictionary"]["de"]["p_at_1_forward"][score["layer"]]
            assert score["value"] == pytest.approx(np.mean(hits)) and len(hits) == 8


def test_a_clone_has_the_sentences_of_its_source(tmp_path: Path) -> None:
    """Where twins have one embedding both sides are the same to the model: MEXA is 1. Where all differ it is not."""
    made = recipe(tmp_path).evaluate.sentences[0]
    sentences = [made.model_copy(update={"files": {"en": made.files["en"]}}).model_dump()]
    settings = toy_experiment.recipe(tmp_path / "clone", evaluate__sentences=sentences)
    data, _ = toy_experiment.prepared(settings, tmp_path / "run")
    model, clone = toys.llama(rows=data.vocab_size), clone_language(data.tokenizer)
    tests = ParallelTests(data, settings)
    (tmp_path / "en.sentences").unlink()  # read once, for all models

    def mexa() -> list[float]:
        found, items = tests.measure(model, stage="init")
        assert items["dictionary"] == {} and items["sentences"]["nine"].keys() == {"en-clone"}
        assert {score.signature.partition("|pool")[0] for score in found} == {"sentences:9|repeated:0|cut:18"}
        return [score.value for score in found if score.metric == "mexa"]

    assert max(mexa()) < 0.9
    with torch.no_grad():
        weight = model.get_input_embeddings().weight
        weight[clone.twin] = weight[: clone.size].clone()
    assert mexa() == [1.0] * (toys.BLOCKS + 1)
    recipe(tmp_path)
    merged = ParallelTests(data, resolve_arm(settings, "merged_ids"))
    assert merged.measure(model, stage="init")[0] == [], "there both sides are the same tokens"


def test_results_hold_what_was_tested_and_read(arms: dict[str, ArmRun]) -> None:
    arm = arms["joint"]
    marks = {(name, 0): own.marks() for name, own in arms.items()}
    found = json.loads(json.dumps(collect_results(arm.base, arm.prepared, arm.run, marks)))
    assert found["tests"] == arm.prepared.record["tests"]
    assert {(row["arm"], row["language"]) for row in found["mixture"]} == {
        (name, language) for name in arms for language in ("en", "de", "nl")
    }
    (switching,) = found["switching"]
    assert switching["switched"].keys() == {"en", "de", "nl"}


def test_another_sentence_makes_the_scores_anew_and_nothing_else(arms: dict[str, ArmRun], tmp_path: Path) -> None:
    settings = recipe(tmp_path)
    arm = toy_experiment.arm(settings, "prealign", tmp_path / "run")
    before, data = arm.marks(), data_marks(settings)
    (tmp_path / "de.sentences").write_text("Olak\n" * 9)
    assert {stage for stage, mark in arm.marks().items() if mark != before[stage]} == {"evaluate"}
    assert data_marks(settings) == data
    (tmp_path / "test-de.tsv").write_text("kalo\tolak\n")
    assert data_marks(settings) != data, "other words leave the lexicon"


def test_mistakes_in_test_data_show_before_any_training(tmp_path: Path) -> None:
    settings = recipe(tmp_path)
    (tmp_path / "test-de.tsv").write_text("unheard\tundwas\n")
    with pytest.raises(
        LexiconError, match=r"test-de.tsv: no word can be tested: 0 of 1 words .* lexicon.minimum_count"
    ):
        toy_experiment.prepared(settings, tmp_path / "run")
    (tmp_path / "nl.sentences").write_text("xkalo\n")
    with pytest.raises(DataError, match=r"nl.sentences: 1 lines, and .*en.sentences has 9"):
        toy_experiment.prepared(settings, tmp_path / "run")


# --- mixture and switching --------------------------------------------------------------------------


def test_languages_are_read_in_the_shares_of_the_temperature(arms: dict[str, ArmRun]) -> None:
    arm = arms["joint"]
    sizes = {language: arm.prepared.training_size(language) for language in ("en", "de", "nl")}
    for language, size in sizes.items():
        assert size == sum(len(ids) + 1 for ids in arm.prepared.training_tokens(language)["input_ids"])
    roots = {language: size ** (1 / 3) for language, size in sizes.items()}
    found = record(arm, "blocks")["languages"]
    longest = max(len(ids) for ids in arm.prepared.training_tokens("en")["input_ids"]) * 3
    read = sum(own["tokens"] for own in found.values())
    for language, own in found.items():
        assert own["expected"] == pytest.approx(roots[language] / sum(roots.values()))
        assert abs(own["share"] - own["expected"]) < longest / read
        assert own["passes"] == own["documents"] / len(arm.prepared.training_tokens(language))


class WithLexicon(NamedTuple):
    """What code-switching reads of a run."""

    tokenizer: Any
    languages: Sequence[str]
    switching_lexicon: Lexicon
    seed: int = 0


def test_a_word_of_many_source_words_is_switched_into_the_most_frequent_alone(arms: dict[str, ArmRun]) -> None:
    arm, names = arms["prealign"], [word for word in WORDS if word not in TESTED][:9]
    training = Lexicon([Group(w, {"de": ("Ulut",)}, i) for i, w in enumerate(names)], source="en", targets=["de", "nl"])
    tokenizer = arm.prepared.tokenizer
    inputs = WithLexicon(tokenizer, arm.languages, training)
    switchers = CodeSwitching(arm.recipe.switch, inputs, maximum_senses=2).rewriters()  # type: ignore[arg-type]
    ids = tokenizer.encode(" Ulut" * 20, add_special_tokens=False)
    read = " ".join(tokenizer.decode(switchers["de"].switch(ids, epoch=i).input_ids) for i in range(20))
    assert {word.lower() for word in read.split()} == {"ulut", *names[-2:]}


def test_every_language_is_switched_at_its_expected_rate(arms: dict[str, ArmRun]) -> None:
    found = record(arms["prealign"], "blocks")
    assert record(arms["joint"], "blocks")["switched"] == {}, "joint training switches nothing, target text either"
    assert {language: set(rates) for language, rates in found["switched"].items()} == {
        "en": {"de", "nl"}, "de": {"en"}, "nl": {"en"},
    }  # fmt: skip
    into = found["switched"]["en"]
    assert into["de"]["expected"] == pytest.approx(3 * into["nl"]["expected"], rel=0.02), "all words but one have both"
    assert sum(own["expected"] for own in into.values()) == pytest.approx(found["ratio"] * found["coverage"])
    assert sum(own["switched_words"] for own in into.values()) == found["switched_words"]
    for rates in found["switched"].values():
        for rate in rates.values():
            expected, words = rate["expected"], rate["words"]
            assert expected > 0.05
            assert abs(rate["realised"] - expected) < 4.5 * np.sqrt(expected * (1 - expected) / words)
