"""The methods on sentences of parallel text as arms of a run: budget, resuming to the bit, plain checkpoints, reports."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import toy_experiment
from prealign.errors import RecipeError
from prealign.files import read_json
from prealign.recipe.arms import with_settings
from prealign.report.page import write_report
from prealign.report.results import Results
from prealign.report.tables.budget import budget, parallel_text
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.run.plan import plan_recipe, use_devices
from prealign.run.planned import planned_phases
from prealign.run.stages import ArmRun

ARMS = ("infoxlm", "afp", "veco", "weam")
LOSSES = {"infoxlm": ["xlco"], "afp": ["afp"], "veco": ["veco_sentences", "veco_tokens"], "weam": ["weam"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run of all of them."""
    folder = tmp_path_factory.mktemp("sentences")
    settings: dict[str, Any] = {
        "arms": ["joint", *ARMS],
        "bitext": {},
        "pretrain__steps": 12,
        "checkpoint__every": 2,
        "methods": {
            "infoxlm": {"pairs": 4, "queue": 10},
            "afp": {"pairs": 4, "share": 0.5},
            "veco": {"pairs": 4, "layer": 1},
            "weam": {"pairs": 4},
        },
    }
    recipe = toy_experiment.recipe(folder, **settings)
    run_experiment(recipe, RunFolder(folder / "run"), lambda _: None, command="test")
    return recipe, *toy_experiment.prepared(recipe, folder / "run")


def arm(run: Any, name: str) -> ArmRun:
    return ArmRun(name, 0, *run, lambda _: None)


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_that_was_killed_goes_on_to_the_same_weights(run: Any, name: str) -> None:
    own, notes = arm(run, name), list[str]()
    folder = own.final_folder
    whole, record = (folder / "model.safetensors").read_bytes(), toy_experiment.record(own, folder.name)
    shutil.rmtree(folder)
    with pytest.raises(KeyboardInterrupt):
        toy_experiment.Interrupted(name, 0, *run, lambda _: None).execute(last=folder.name)
    ArmRun(name, 0, *run, lambda told: notes.extend([told.note] if told.note else [])).execute(last=folder.name)
    assert notes == ["goes on from the checkpoint of step 2"]
    assert (folder / "model.safetensors").read_bytes() == whole
    again = toy_experiment.record(own, folder.name)
    assert again["history"] == record["history"], "losses too: the queue went on"
    joint = arm(run, "joint")
    plain = joint.model_before(joint.main_phase, None)
    assert [*own.load(folder).state_dict()] == [*plain.state_dict()], "a checkpoint of the model's class"


def test_losses_are_logged_and_all_arms_spend_the_budget(run: Any) -> None:
    results = read_json(run[2].root / "results.json")
    spent = {name: sum(row["flops"] for row in results["budget"] if row["arm"] == name) for name in run[0].arms}
    plans = {plan.arm: plan for plan in plan_recipe(run[0], use_devices("cpu", 1, 0.5, 1e9), run[2].root)[0]}
    model = arm(run, "joint").model_before(arm(run, "joint").main_phase, None)
    for name in ARMS:
        own = arm(run, name)
        assert spent[name] == pytest.approx(plans[name].flops) and plans[name].peak[1].objectives > 0
        assert abs(spent["joint"] - spent[name]) < own.main_phase.cost(model).flops + spent["joint"] / 12, "to a step"
        (history,) = [
            row["points"] for row in results["history"] if (row["arm"], row["stage"]) == (name, own.final_folder.name)
        ]
        term = own.phases[-1].terms[0]
        parts = sum(history[0][f"{loss}_loss"] for loss in LOSSES[name])
        lm = own.phases[-1].lm_weight * history[0]["lm_loss"]
        assert history[0]["loss"] == pytest.approx(lm + term.weight * parts, rel=1e-3)
    assert [phase.name for phase in arm(run, "afp").phases] == ["pretrain", "afp"]
    assert [row["stage"] for row in results["budget"] if row["arm"] == "afp"] == ["pretrain", "afp"]


def test_a_model_that_is_trained_after_the_main_phase_is_compared_as_it_is_in_the_end(run: Any) -> None:
    results = read_json(run[2].root / "results.json")
    kinds = {
        name: {row["stage"] for row in results["scores"] if row["arm"] == name and row["task"] == "retrieval"}
        for name in ("joint", "afp")
    }
    assert kinds == {"joint": {"init", "pretrain"}, "afp": {"init", "pretrain_alone", "pretrain"}}
    assert any(row["arm"] == "afp" and row["task"] == "retrieval" for row in results["comparisons"])
    history = Results(results).history
    afp = history[history["arm"] == "afp"]
    assert afp["tokens"].is_monotonic_increasing and [*afp["stage"].unique()] == ["pretrain", "afp"]


def test_the_report_shows_each_stage(run: Any, tmp_path: Path) -> None:
    results = Results(read_json(run[2].root / "results.json"))
    write_report(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "VECO 2.0" in page and "WEAM, pointer" in page
    (read,) = parallel_text(results)
    assert [row[0] for row in read.rows] == ["InfoXLM", "VECO 2.0", "WEAM, pointer"]
    (table,) = budget(results)
    assert [row[1] for row in table.rows if row[0] == "AFP"] == ["2 · pretrain", "afp", "total"]


@pytest.mark.parametrize("name", ARMS)
def test_a_recipe_without_parallel_text_is_refused(run: Any, name: str) -> None:
    made = with_settings(run[0], {"method": name, "bitext": None})
    with pytest.raises(RecipeError, match=f"{name} trains on parallel text, and the recipe has none: add `bitext"):
        planned_phases(made)


def test_a_layer_that_the_model_lacks_is_refused(run: Any) -> None:
    made = with_settings(run[0], {"methods.veco.layer": 3})
    with pytest.raises(RecipeError, match=r"methods\.veco\.layer is 3, and the model has 2 blocks"):
        ArmRun("veco", 0, made, *run[1:], lambda _: None).marks()
