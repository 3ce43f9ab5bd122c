"""Made-up facts from recipe to results, on a corpus and a model that take seconds."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

import toy_experiment
from prealign.errors import RecipeError
from prealign.files import read_json
from prealign.methods.switching.switch import CodeSwitcher
from prealign.recipe.arms import with_settings
from prealign.recipe.file import load_recipe
from prealign.recipe.sections import Recipe
from prealign.recipe.templates import read_templates
from prealign.run.data import Prepared
from prealign.run.experiment import run_experiment
from prealign.run.folder import STAGE_FILE, RunFolder
from prealign.run.preparation.prepare import data_marks, prepare
from prealign.run.stages import ArmRun
from prealign.text.clone import clone_language
from prealign.text.encode import encode_words
from prealign.text.facts.corpus import FACTS, split_names
from prealign.text.facts.facts import make_world

TEMPLATES = (
    toy_experiment.TEMPLATES
    + """\
  lies:
    subject: city
    object: land
    teach: {en: ["{subject} in {object}.", "{subject} by {object}."]}
    ask: {en: "a {subject} is {object}"}
    through: {born: {en: "but {subject} is {object}"}}
"""
)
KNOWLEDGE = {"exposures": [1, 3], "facts": 8, "objects": 2, "candidates": 2, "two_hop": 2}
ARMS = ("joint", "prealign", "merged_ids", "target_only")
LEVELS = ("k=1", "k=3", "control", "two_hop")
CONDITIONS = {f"{level}|names={half}" for level in LEVELS for half in ("lexicon", "outside")}


def toy_recipe(folder: Path, **settings: Any) -> Recipe:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.yaml").write_text(TEMPLATES)
    knowledge = {**KNOWLEDGE, "templates": str(folder / "own.yaml")}
    return toy_experiment.recipe(folder, **{"knowledge": knowledge, "arms": list(ARMS), **settings})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunFolder, dict[str, Any]]:
    """A whole run, and its results."""
    folder = tmp_path_factory.mktemp("knowledge")
    recipe, run = toy_recipe(folder), RunFolder(folder / "run")
    return recipe, run, run_experiment(recipe, run, lambda _: None, command="test")


@pytest.fixture(scope="module")
def data(made: tuple[Recipe, RunFolder, dict[str, Any]]) -> Prepared:
    return toy_experiment.prepared(made[0], made[1].root)[0]


def names(data: Prepared) -> dict[str, set[str]]:
    """Names asked about, by half."""
    found: dict[str, set[str]] = {"lexicon": set(), "outside": set()}
    for question in data.questions:
        found[question.condition.rpartition("=")[2]] |= {question.subject, *question.candidates}
    return found


def texts(data: Prepared, language: str, split: str) -> list[str]:
    return [data.tokenizer.decode(ids) for ids in data.tokens(language, split, source_ids=True)["input_ids"]]


# Preparation


def test_everything_but_the_facts_is_as_without_them(data: Prepared, tmp_path: Path) -> None:
    plain, _ = toy_experiment.prepared(toy_experiment.recipe(tmp_path), tmp_path / "run")
    assert plain.tokenizer.get_vocab() == data.tokenizer.get_vocab()
    assert plain.record["corpus"] == data.record["corpus"]
    for language in data.languages:
        for split in ("train", "validation", "test"):
            assert plain.tokens(language, split)["input_ids"] == data.tokens(language, split)["input_ids"]
    assert plain.words == data.words
    assert plain.lexicon == split_names(data.lexicon)[0]
    assert plain.record["lexicon"] == data.record["lexicon"]
    assert "knowledge" not in plain.record and not (plain.folder / "facts").exists()


def test_the_data_are_those_of_a_single_stage(data: Prepared) -> None:
    """Digests of what preparation made before it had stages: lexicon, words, questions and tokens."""

    def digest(*parts: bytes) -> str:
        return xxhash.xxh3_64_hexdigest(b"".join(parts))

    def tokens(language: str) -> str:
        splits = ("train", "validation", "test", FACTS)
        rows = [
            data.tokens(language, split, source_ids=source_ids)[:] for split in splits for source_ids in (False, True)
        ]
        return digest(*(json.dumps([r[c] for c in ("document", "input_ids", "bytes")]).encode() for r in rows))

    assert digest(data.lexicon_file.read_bytes()) == "aae89355eb5fcc47"
    assert digest((data.folder / "tokens" / "words.json").read_bytes()) == "fa94681ba50fd99b"
    assert digest((data.folder / "facts" / "questions.jsonl").read_bytes()) == "ea4ddbf8efb0a5f4"
    assert {language: tokens(language) for language in data.languages} == {
        "en": "0b66cfa3c29cd80d",
        "en-clone": "7ee5c9eb0e3ee3a0",
    }


@pytest.mark.parametrize(
    ("change", "made"),
    [
        ({"lexicon.minimum_count": 3}, {"lexicon", "facts"}),
        ({"knowledge.seed": 1}, {"facts"}),
        ({"own.yaml": TEMPLATES.replace("oh {subject}", "ah {subject}")}, {"facts"}),
        ({"knowledge": None}, set()),
        ({"split.test": 7}, {"tokens", "lexicon", "facts"}),
    ],
    ids=["lexicon", "seed", "templates", "no-facts", "split"],
)
def test_a_change_makes_the_stages_that_read_it_anew(tmp_path: Path, change: dict[str, Any], made: set[str]) -> None:
    recipe, run = toy_recipe(tmp_path), RunFolder(tmp_path / "run")
    before, first = prepare(recipe, run, lambda _: None)
    assert first == {"tokens": True, "lexicon": True, "facts": True}
    for name in {"own.yaml"} & change.keys():
        (tmp_path / name).write_text(change[name])
    other = with_settings(recipe, {key: value for key, value in change.items() if key != "own.yaml"})
    data, new = prepare(other, run, lambda _: None)
    assert {stage for stage, now in new.items() if now} == made
    assert before.is_current() == (not made) and data.is_current()
    assert ("knowledge" in data.record) == (other.knowledge is not None)
    assert len(split_names(data.lexicon)[1]) == (data.record["knowledge"]["names"] if other.knowledge else 0)


def test_the_corpus_has_no_name(data: Prepared) -> None:
    made_up = {name.lower() for half in names(data).values() for name in half}
    for language in data.languages:
        for split in ("train", "validation", "test"):
            words = {word.lower() for text in texts(data, language, split) for word in re.findall(r"\w+", text)}
            assert words and not words & made_up


def test_source_text_has_the_facts_and_target_text_the_second_ones(
    made: tuple[Recipe, RunFolder, dict[str, Any]], data: Prepared
) -> None:
    section = made[0].knowledge
    assert section is not None
    templates = read_templates(section.templates, data.languages, two_hop=True)
    world = make_world(
        templates,
        section,
        data.words,
        lambda names: encode_words(data.tokenizer, names, "en").lengths,
    )
    for language, facts in (("en", world.facts), ("en-clone", world.second)):
        seen = Counter(word for text in texts(data, language, "facts") for word in re.findall(r"[A-Z]\w+", text))
        wanted: Counter[str] = Counter()
        for fact in facts:
            wanted[fact.subject] += fact.exposures
            wanted[fact.object] += fact.exposures * fact.taught
        assert seen == +wanted
    twins = [ids for row in data.tokens("en-clone", "facts")["input_ids"] for ids in row]
    assert min(twins) >= clone_language(data.tokenizer).size
    size = {split: len(data.tokens("en", split)) for split in ("train", "facts")}
    assert len(data.training_tokens("en")) == size["train"] + size["facts"]
    assert data.token_counts("en-clone")[twins].min() > 0


def test_what_was_written_is_recorded(data: Prepared, made: tuple[Recipe, RunFolder, dict[str, Any]]) -> None:
    record = data.record["knowledge"]
    assert record["facts"] == {c: 8 for c in CONDITIONS if not c.startswith("two_hop")}
    assert record["languages"] == ["en", "en-clone"]
    assert record["text"]["en"]["sentences"] == 16 * (1 + 3) + 16 * 2
    assert record["text"]["en-clone"]["sentences"] == 2 * 2 * 2
    for language, sizes in record["text"].items():
        rows = data.tokens(language, "facts")["input_ids"]
        assert (sizes["documents"], sizes["tokens"]) == (len(rows), sum(map(len, rows)))
    assert record["names"] == len(split_names(data.lexicon)[1])
    assert made[2]["knowledge"] == record


# Lexicon and switching


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_names_are_in_the_lexicon_or_outside_whatever_is_drawn(
    made: tuple[Recipe, RunFolder, dict[str, Any]], data: Prepared, seed: int
) -> None:
    section = made[0].lexicon.model_copy(update={"held_out": 0.5, "coverage": 0.3})
    training, held_out = data.training_lexicon(made[0].model_copy(update={"lexicon": section}), seed)
    found = names(data)
    assert not found["lexicon"] & found["outside"]
    assert found["lexicon"] <= {group.word for group in training}
    assert not {group.word for group in held_out} & (found["lexicon"] | found["outside"])
    assert not {group.word for group in data.lexicon} & found["outside"]
    for group in split_names(training)[1]:
        assert dict(group.translations) == {"en-clone": (group.word,)}


def test_only_names_in_the_lexicon_are_switched(made: tuple[Recipe, RunFolder, dict[str, Any]], data: Prepared) -> None:
    switcher = CodeSwitcher(data.tokenizer, data.training_lexicon(made[0], 0)[0], ratio=1.0, seed=0)
    clone, found = clone_language(data.tokenizer), names(data)
    switched, kept = set(), set()
    for number, row in enumerate(data.tokens("en", "facts").with_format("numpy")):
        ids = switcher.switch(row["input_ids"], document=number).input_ids
        words = np.split(ids, np.flatnonzero(np.diff(ids >= clone.size)) + 1)
        for part in words:
            text = data.tokenizer.decode(clone.unmap(part))
            (switched if part[0] >= clone.size else kept).update(re.findall(r"[A-Z]\w+", text))
    assert switched & found["outside"] == set() and found["outside"] <= kept
    assert found["lexicon"] <= switched and not found["lexicon"] & kept


# Stage and results


def scores(results: dict[str, Any], **wanted: Any) -> dict[str, dict[str, Any]]:
    chosen = [s for s in results["scores"] if s["task"] == "knowledge"]
    return {s["condition"]: s for s in chosen if all(s[key] == value for key, value in wanted.items())}


def test_every_arm_is_asked_in_every_language(made: tuple[Recipe, RunFolder, dict[str, Any]]) -> None:
    for arm in ARMS:
        for language in ("en", "en-clone"):
            found = scores(made[2], arm=arm, language=language)
            assert set(found) == CONDITIONS
            assert all(s["chance"] == 1 / 2 and 0 <= s["low"] <= s["value"] <= s["high"] <= 1 for s in found.values())
            assert {c: s["n"] for c, s in found.items()} == {c: 4 if "two" in c else 8 for c in CONDITIONS}
    compared = {c["condition"] for c in made[2]["comparisons"] if c["task"] == "knowledge"}
    assert compared == CONDITIONS


def test_merged_ids_answer_alike_in_both_languages(made: tuple[Recipe, RunFolder, dict[str, Any]]) -> None:
    source, target = (scores(made[2], arm="merged_ids", language=language) for language in ("en", "en-clone"))
    assert {c: s["value"] for c, s in source.items()} == {c: s["value"] for c, s in target.items()}
    items = read_json(made[1].stage("merged_ids", 0, "knowledge") / "knowledge.json")
    assert all(by_language["en"] == by_language["en-clone"] for by_language in items.values())


def test_items_say_what_the_scores_say(made: tuple[Recipe, RunFolder, dict[str, Any]]) -> None:
    items = read_json(made[1].stage("prealign", 0, "knowledge") / "knowledge.json")
    for condition, score in scores(made[2], arm="prealign", language="en-clone").items():
        kept = items[condition]["en-clone"]
        assert score["value"] == pytest.approx(np.mean(kept["correct"]))
        assert np.array(kept["log_probs"]).shape == (score["n"], 2) and len(kept["questions"]) == score["n"]


def test_the_stage_comes_after_evaluation_and_is_kept_while_nothing_changed(
    made: tuple[Recipe, RunFolder, dict[str, Any]], data: Prepared
) -> None:
    recipe, run, _ = made
    arm = ArmRun("prealign", 0, recipe, data, run, lambda _: None)
    assert list(arm.marks()) == ["blocks", "align", "pretrain", "evaluate", "knowledge"]
    assert set(arm.execute().values()) == {False}
    assert (arm.folder("knowledge") / STAGE_FILE).exists()
    retrieved = read_json(arm.folder("evaluate") / STAGE_FILE)["scores"]
    seen = [s for s in retrieved if s["metric"] == "p_at_1_forward" and s["split"] == "seen" and not s["condition"]]
    assert {s["n"] for s in seen} == {20}


def test_the_data_depend_on_the_section_and_its_templates(tmp_path: Path) -> None:
    recipe = toy_recipe(tmp_path)
    mark = data_marks(recipe)
    assert recipe.knowledge is not None
    other = recipe.model_copy(update={"knowledge": recipe.knowledge.model_copy(update={"seed": 1})})
    assert data_marks(other) != mark != data_marks(recipe.model_copy(update={"knowledge": None}))
    (tmp_path / "own.yaml").write_text(TEMPLATES + "\n")
    assert data_marks(recipe) != mark


def test_a_mistake_in_the_templates_stops_before_any_work(tmp_path: Path) -> None:
    recipe = toy_recipe(tmp_path)
    (tmp_path / "own.yaml").write_text(TEMPLATES.replace("{subject} by {object}.", "by {object}."))
    with pytest.raises(
        RecipeError, match=r"own\.yaml:12: relations\.lies\.teach\.en\.1: .* 0 times the slot {subject}"
    ):
        toy_experiment.prepared(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "data").exists()


# The recipe

BASE: dict[str, Any] = {"name": "x", "source": {"text": ["-"]}, "targets": [{"language": "en-clone"}]}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"exposures": []}, r"knowledge\.exposures: is an empty list"),
        ({"exposures": [1, 4, 1]}, r"knowledge\.exposures: \[1, 4, 1\] names a number twice"),
        ({"exposures": [-1]}, r"knowledge\.exposures\.0: -1 is not at least 1"),
        ({"candidates": 12}, r"knowledge\.candidates: 12 is above the 10 objects of a type: raise knowledge\.objects"),
        (
            {"facts": 12},
            r"knowledge\.facts: 12 makes 6 facts with names in the lexicon, not a multiple of knowledge\.obj",
        ),
        ({"fact": 12}, r"knowledge\.fact: unknown key; did you mean 'facts'\?"),
    ],
)
def test_mistakes_in_the_section_are_named(tmp_path: Path, section: dict[str, Any], message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({**BASE, "knowledge": section}, indent=1))
    with pytest.raises(RecipeError, match=rf"recipe\.yaml:\d+: {message}"):
        load_recipe(path)


def test_facts_need_a_language_to_be_asked_in(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    german = {
        "targets": [{"language": "de", "text": ["-"]}],
        "lexicon": {"files": [{"path": "d.tsv", "target": "de"}]},
    }
    path.write_text(json.dumps({**BASE, **german, "knowledge": {}}))
    with pytest.raises(
        RecipeError, match=r"knowledge: the built-in templates are English, .*add the target 'en-clone'"
    ):
        load_recipe(path)
    path.write_text(json.dumps({**BASE, **german, "knowledge": {"templates": "own.yaml"}}))
    assert load_recipe(path).knowledge is not None
    french = {"source": {"language": "fr", "text": ["-"]}, "targets": [{"language": "fr-clone"}], "knowledge": {}}
    path.write_text(json.dumps({**BASE, **french}))
    with pytest.raises(RecipeError, match=r"set knowledge\.templates for 'fr'"):
        load_recipe(path)


def test_arms_share_the_facts(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    variant = {"other": {"extends": "prealign", "set": {"knowledge.two_hop": 3}}}
    path.write_text(json.dumps({**BASE, "knowledge": {}, "variants": variant}))
    with pytest.raises(RecipeError, match="all arms share `knowledge`"):
        load_recipe(path)
