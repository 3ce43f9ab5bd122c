"""Methods that change rows of the vocabulary, as arms of a run: their budget, resuming, and plain checkpoints."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

import toy_experiment
from prealign.files import read_json
from prealign.recipe.arms import with_settings
from prealign.report.results import Results
from prealign.report.tables.budget import initial_rows
from prealign.run.folder import STAGE_FILE
from prealign.run.plan import plan_recipe, use_devices
from prealign.run.stages import ArmRun
from prealign.training.models import build_model

ARMS = ("copy_rows", "tied_ids", "graph", "lexical", "lexical_held")
ONE_DEVICE = use_devices("cpu", 1, 0.5, 1e9)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("rows")
    settings: dict[str, Any] = {
        "arms": ["joint", *ARMS],
        "pretrain__steps": 20,
        "checkpoint__every": 2,
        "methods": {"lexical": {"rounds": 1, "candidates": 50, "window": 2, "minimum_count": 2}},
        "variants": {"lexical_held": {"extends": "lexical", "set": {"methods.lexical.hold": 0.1}}},
    }
    recipe = toy_experiment.recipe(folder, **settings)
    return recipe, *toy_experiment.prepared(recipe, folder / "run")


def arm(run: Any, name: str) -> ArmRun:
    return ArmRun(name, 0, *run, lambda _: None)


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_that_goes_on_is_the_uninterrupted_one(run: Any, name: str) -> None:
    own, notes = arm(run, name), list[str]()
    folder = own.folder("pretrain")
    own.execute(last="pretrain")
    whole = (folder / "model.safetensors").read_bytes()
    shutil.rmtree(folder)
    with pytest.raises(KeyboardInterrupt):
        toy_experiment.Interrupted(name, 0, *run, lambda _: None).execute(last="pretrain")
    ArmRun(name, 0, *run, lambda told: notes.extend([told.note] if told.note else [])).execute(last="pretrain")
    assert notes == ["goes on from the checkpoint of step 2"]
    assert (folder / "model.safetensors").read_bytes() == whole
    joint = arm(run, "joint")
    plain = joint.model_before(joint.main_phase, None)
    assert weights(own.load(folder)) == weights(plain), "a checkpoint of the model's class"


def weights(model: Any) -> dict[str, Any]:
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def test_arms_spend_the_flops_of_joint_training_to_a_step(run: Any) -> None:
    plans = {plan.arm: plan for plan in plan_recipe(run[0], ONE_DEVICE, run[2].root)[0]}
    joint = plans["joint"]
    model = arm(run, "joint").model_before(arm(run, "joint").main_phase, None)
    for name in ARMS:
        (phase,) = arm(run, name).phases
        assert {"pretrain": phase.steps} == plans[name].steps, "the plan knows it"
        spent = phase.start_cost(model).flops + phase.steps * phase.cost(model).flops
        assert spent == pytest.approx(plans[name].flops)
        assert abs(joint.flops - spent) < phase.cost(model).flops + joint.flops / joint.steps["pretrain"]
        if (folder := arm(run, name).folder("pretrain") / STAGE_FILE).exists():
            assert read_json(folder)["flops"] == pytest.approx(spent)
    steps = {name: plan.steps["pretrain"] for name, plan in plans.items()}
    assert steps["joint"] == steps["copy_rows"] == steps["tied_ids"]
    assert steps["lexical"] == steps["lexical_held"] < steps["joint"] > steps["graph"]


def test_methods_are_given_the_text_that_their_arm_reads(run: Any) -> None:
    prepared, own = run[1], arm(run, "lexical")
    for language in ("en", "en-clone"):
        expected = prepared.tokens(language, "train")["input_ids"]
        assert [ids.tolist() for ids in own.training_ids(language)] == expected
        assert sum(map(len, expected)) + len(expected) == own.training_sizes[language]
    alone = with_settings(
        run[0], {"variants": {"target": {"extends": "lexical", "set": {"mixture.languages": "targets"}}}}
    )
    assert not [*ArmRun("target", 0, alone, *run[1:], lambda _: None).training_ids("en")]


def test_the_record_of_a_stage_and_the_report_say_how_many_rows_were_set(run: Any) -> None:
    sections: dict[str, list[dict[str, Any]]] = {"scores": [], "budget": [], "initialisations": []}
    for name in ARMS:
        own = arm(run, name)
        own.execute(last="pretrain")
        (told,) = read_json(own.folder("pretrain") / STAGE_FILE)["initialisations"]
        model = arm(run, "joint").model_before(own.main_phase, None)
        plain = model.get_input_embeddings().weight.detach()
        start = build_model(run[0].model, seed=0, **own._model_needs).get_input_embeddings().weight.detach()
        if name in ("copy_rows", "lexical"):
            assert told["rows"] == int((plain != start).any(1).sum()), name
        assert 0 < told["rows"] < len(start)
        sections["initialisations"].append({"arm": name, "seed": 0, "stage": "pretrain"} | told)
        lm = {
            "task": "lm",
            "language": "en",
            "metric": "perplexity",
            "value": 9.0,
            "stage": "pretrain",
            "split": "test",
        }
        sections["scores"].append({"arm": name, "seed": 0, **lm})
    results = Results({"recipe": run[0].model_dump(), "comparisons": [], **sections})
    (table,) = initial_rows(results)
    assert [row[1] for row in table.rows] == ["copied rows", "tied ids", "graph", "lexical", "lexical"]
