"""Parallel text as documents of a share of the steps: which steps, which blocks, and an arm of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import toy_experiment
from prealign.errors import RecipeError
from prealign.files import read_json
from prealign.methods.phase import BitextShare, Inputs, Method, Phase, main_phase
from prealign.recipe.arms import with_settings
from prealign.recipe.registry import METHODS
from prealign.recipe.section import Section
from prealign.recipe.sections import PretrainSection, Recipe
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.run.planned import planned_phases
from prealign.run.stages import ArmRun
from prealign.text.arrow import load_arrow
from prealign.text.bitext import write_documents
from prealign.text.clone import clone_language
from prealign.text.ragged import Ragged

PLACES = ("first", "spread", "last")


def test_which_blocks_are_parallel_text_worked_by_hand() -> None:
    found = {place: BitextShare(0.25, place).positions(4, 2).tolist() for place in PLACES}  # type: ignore[arg-type]
    assert found == {"first": [0, 1], "spread": [2, 6], "last": [6, 7]}
    assert BitextShare().positions(3, 2).tolist() == [0, 1, 2, 3, 4, 5]
    assert BitextShare(0.01, "last").positions(3, 1).tolist() == [2], "at least a step"


@given(st.floats(0.001, 1), st.integers(1, 60), st.integers(1, 5), st.sampled_from(PLACES))
def test_positions_are_different_blocks_of_whole_steps_and_spread_ones_are_even(
    share: float, steps: int, per_step: int, place: Any
) -> None:
    found, total = BitextShare(share, place).positions(steps, per_step), steps * per_step
    taken = min(steps, max(1, round(share * steps))) * per_step
    assert len(found) == len(set(found.tolist())) == taken
    assert found.min() >= 0 and found.max() < total and (np.diff(found) > 0).all()
    before = np.searchsorted(found, np.arange(total + 1))
    ideal = np.arange(total + 1) * taken / total
    if place == "spread":
        assert (np.abs(before - ideal) <= 1).all()
    elif place == "first":
        assert (before >= ideal - 1e-9).all()
    else:
        assert (before <= ideal + 1e-9).all()


@given(st.lists(st.tuples(*[st.lists(st.integers(0, 9), min_size=1, max_size=4)] * 2), min_size=1, max_size=6))
def test_documents_alternate_in_which_language_is_first(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[list[int], list[int]]]
) -> None:
    sides = (Ragged.of([one for one, _ in pairs]), Ragged.of([other for _, other in pairs]))
    separators = (np.array([90]), np.array([91, 92]))
    made = write_documents(sides, separators, tmp_path_factory.mktemp("documents"))
    expected = [
        [*one, 90, *other] if row % 2 == 0 else [*other, 91, 92, *one] for row, (one, other) in enumerate(pairs)
    ]
    assert made["input_ids"][:] == expected


def recipe(folder: Path, **settings: Any) -> Recipe:
    made = toy_experiment.recipe(folder, arms=["joint", "parallel_text", "pt_first", "pt_spread", "pt_all"])
    variants = {
        "pt_first": {"methods.parallel_text.place": "first"},
        "pt_spread": {"methods.parallel_text.place": "spread"},
        "pt_all": {"methods.parallel_text.share": 1.0},
    }
    return with_settings(
        made,
        {
            "bitext": {},
            "methods": {"parallel_text": {"share": 0.3}},
            "variants": {name: {"extends": "parallel_text", "set": own} for name, own in variants.items()},
            **settings,
        },
    )


def blocks_of(arm: ArmRun) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    arm.execute(only={"blocks"})
    rows = load_arrow(arm.folder("blocks"))
    return [(tuple(row["input_ids"]), tuple(row["labels"])) for row in rows]


def test_places_read_the_same_blocks_in_another_order(tmp_path: Path) -> None:
    made = recipe(tmp_path / "text")
    arms = {name: toy_experiment.arm(made, name, tmp_path / "run") for name in made.arms}
    blocks = {name: blocks_of(arm) for name, arm in arms.items()}
    main = {name: arm.main_phase for name, arm in arms.items()}
    assert len({phase.steps for phase in main.values()}) == 1, "a step of parallel text costs the same"
    places = {"parallel_text": "last", "pt_first": "first", "pt_spread": "spread"}
    assert len({frozenset(Counter(blocks[name]).items()) for name in places}) == 1
    steps, size = main["joint"].steps, main["joint"].batch_size
    assert steps is not None
    parallel: dict[str, list[Any]] = {}
    for name, place in places.items():
        positions = BitextShare(0.3, place).positions(steps, size)  # type: ignore[arg-type]
        parallel[name] = [blocks[name][i] for i in positions]
        rest = [block for i, block in enumerate(blocks[name]) if i not in set(positions.tolist())]
        # Fewer blocks of the same text in the same order, but for the shuffle of the only stretch.
        assert len(rest) + len(positions) == len(blocks["joint"])
    assert parallel["parallel_text"] == parallel["pt_first"] == parallel["pt_spread"]
    again = toy_experiment.arm(made, "parallel_text", tmp_path / "again")
    assert blocks_of(again) == blocks["parallel_text"]
    assert len({arm.marks()["blocks"] for arm in arms.values()}) == len(arms)


def test_blocks_of_parallel_text_are_the_sentences_with_their_translations(tmp_path: Path) -> None:
    made = recipe(tmp_path / "text", **{"pretrain.context": 64})
    arm = toy_experiment.arm(made, "pt_all", tmp_path / "run")
    tokens = [token for ids, labels in blocks_of(arm) for token in ids if ids == labels]
    prepared = arm.prepared
    clone, eos = clone_language(prepared.tokenizer), prepared.eos
    newline = prepared.tokenizer.encode("\n")
    known = {tuple(ids.tolist()) for ids in prepared.bitext["en-clone"][0]}
    documents = [list(map(int, part.split())) for part in " ".join(map(str, tokens)).split(f" {eos} ")]
    expected = set()
    for one in known:
        twin = clone.map(one).tolist()
        expected |= {(*one, *newline, *twin), (*twin, *clone.map(newline).tolist(), *one)}
    # Blocks are shuffled, so a document that goes over the end of a block is not found.
    assert sum(tuple(document) in expected for document in documents) > len(documents) / 4
    record = toy_experiment.record(arm, "blocks")["bitext"]
    assert record["blocks"] == len(load_arrow(arm.folder("blocks"))) and record["share"] == 1.0


def test_it_runs_as_an_arm_in_the_budget_of_all(tmp_path: Path) -> None:
    made = recipe(tmp_path / "text", arms=["joint", "parallel_text"])
    run_experiment(made, RunFolder(tmp_path / "run"), lambda _: None, command="test")
    results = read_json(tmp_path / "run" / "results.json")
    assert results["arms"]["parallel_text"]["label"] == "Parallel text"
    assert results["arms"]["parallel_text"]["phases"][0]["bitext"] == {"share": 0.3, "place": "last"}
    spent = {arm: sum(row["flops"] for row in results["budget"] if row["arm"] == arm) for arm in made.arms}
    assert spent["joint"] == spent["parallel_text"]


class BitextFirst(Method):
    """A phase of parallel text alone, before the main one."""

    label = description = citation = "toy"

    class Settings(Section):
        pretrain: PretrainSection

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        section = settings.pretrain
        own = {"name": "before", "steps": 2, "bitext": BitextShare()}
        return [replace(main_phase(section), **own), main_phase(section)]  # type: ignore[arg-type]


def test_a_phase_before_the_main_one_reads_parallel_text_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "bitext_first", f"{__name__}:BitextFirst")
    made = recipe(tmp_path / "text", arms=["joint", "bitext_first"])
    joint, arm = (toy_experiment.arm(made, name, tmp_path / "run") for name in made.arms)
    assert [phase.name for phase in arm.phases] == ["before", "pretrain"]
    assert sum(phase.steps or 0 for phase in arm.phases) == joint.phases[0].steps
    blocks = arm._blocks_of(arm.phases[0], tmp_path / "scratch")
    assert len(blocks) == 2 * made.pretrain.batch_size and blocks["input_ids"][:] == blocks["labels"][:]
    tokens = [token for ids in blocks["input_ids"] for token in ids]
    source, target = arm.prepared.bitext["en-clone"]
    newline = arm.prepared.tokenizer.encode("\n")
    twin = clone_language(arm.prepared.tokenizer).map(newline).tolist()
    assert set(tokens) <= {*source.values.tolist(), *target.values.tolist(), *newline, *twin, arm.prepared.eos}
    assert 0.4 < np.mean(np.isin(tokens, target.values)) < 0.6, "half of it is the clone"
    arm.execute(last="pretrain")
    assert toy_experiment.record(arm, "before")["steps"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bitext": None}, "parallel_text trains on parallel text, and the recipe has none"),
        ({"mixture.clone_ids": "merged"}, r"mixture\.clone_ids: 'merged' gives the clone the source's ids"),
    ],
)
def test_what_it_cannot_train_on_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    made = with_settings(recipe(tmp_path / "text"), {"method": "parallel_text", **settings})
    with pytest.raises(RecipeError, match=message):
        planned_phases(made)
