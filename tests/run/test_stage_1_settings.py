"""Settings that make stage 1 cheaper: what they train, read, cost, and what a resumed run makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toy_experiment
import toys
from prealign.events import Progress
from prealign.methods.alignment.objective import WordFormAlignment
from prealign.methods.flops import training_flops
from prealign.methods.phase import Phase, Term
from prealign.recipe.effects import ineffective
from prealign.run.stages import ArmRun
from prealign.training.trainer import PhaseSteps
from toy_experiment import record

SETTINGS: dict[str, Any] = {
    "align__steps": 5,
    "align__lm_every": 2,
    "align__start": "translations",
    "align__embedding_rate": 0.5,
    "pretrain__embedding_rate": 2.0,
    "pretrain__steps": 5,
    "sustain__one_way": True,
    "sustain__layers": "lower_blocks",
    "anchor__frequency_ratio": 3.0,
    "checkpoint__every": 1,
    "arms": ["joint", "prealign", "prealign_sustained", "joint_twin_adam"],
    "trainer": {"bf16": False, "logging_steps": 1},
}


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ArmRun]:
    folder = tmp_path_factory.mktemp("settings")
    recipe = toy_experiment.recipe(folder, **SETTINGS)
    data, run = toy_experiment.prepared(recipe, folder / "run")
    made = {name: ArmRun(name, 0, recipe, data, run, lambda _: None) for name in recipe.arms}
    for arm in made.values():
        arm.execute(last="pretrain")
    return made


def test_all_arms_have_equal_flops(arms: dict[str, ArmRun]) -> None:
    budget = arms["joint"].budget
    for name, arm in arms.items():
        spent = sum(record(arm, stage)["flops"] for stage in arm.trained_stages)
        step = record(arm, "pretrain")["flops"] / record(arm, "pretrain")["steps"]
        assert budget - step < spent <= budget * (1 + 1e-12), name


def test_stage_1_costs_text_at_every_second_step(arms: dict[str, ArmRun]) -> None:
    arm = arms["prealign"]
    words = WordFormAlignment(arm.words, groups=16).cost(arm._shapes).flops
    assert record(arm, "align")["flops"] == pytest.approx(5 * (training_flops(arm._shapes, 2 * 24, 24) / 2 + words))
    points = record(arm, "align")["history"]
    assert [("lm_loss" in point, "align_loss" in point) for point in points[:5]] == [
        (True, True), (False, True), (True, True), (False, True), (True, True),
    ]  # fmt: skip


def test_target_rows_start_as_means_of_their_translations(arms: dict[str, ArmRun]) -> None:
    arm = arms["prealign"]
    random, started = (arm.model_before(phase, None) for phase in (arm.phase("pretrain"), arm.phase("align")))
    assert [type(one).__name__ for one in arm.phase("align").initialisations] == ["CopiedRows"]
    assert not arm.phase("pretrain").initialisations, "else stage 2 would undo stage 1"
    (copied,) = arm.phase("align").initialisations
    shares = copied.anchors.estimate()[0].toarray()  # type: ignore[attr-defined]
    for one, other in (
        (random.get_input_embeddings(), started.get_input_embeddings()),
        (random.lm_head, started.lm_head),
    ):
        before, after = one.weight.detach().numpy(), other.weight.detach().numpy()
        for row in range(len(shares)):
            sources = np.flatnonzero(shares[row])
            expected = sum(shares[row, s] * before[s] for s in sources) if len(sources) else before[row]
            np.testing.assert_allclose(after[row], expected, atol=1e-6)
    assert (shares.sum(1) > 0).sum() > 20


def test_sustained_alignment_has_its_own_layers_and_way(arms: dict[str, ArmRun]) -> None:
    (term,) = arms["prealign_sustained"].phase("pretrain").describe()["objectives"]
    assert (term["layers"], term["one_way"]) == ("lower_blocks", True)
    (term,) = arms["prealign_sustained"].phase("align").describe()["objectives"]
    assert term["layers"] == "all" and "one_way" not in term


def test_coupled_moments_train_other_weights_than_joint_training(arms: dict[str, ArmRun]) -> None:
    joint, twins = (arms[name].folder("pretrain") / "model.safetensors" for name in ("joint", "joint_twin_adam"))
    assert record(arms["joint"], "pretrain")["steps"] == record(arms["joint_twin_adam"], "pretrain")["steps"], "no cost"
    assert joint.read_bytes() != twins.read_bytes()


class Killed(ArmRun):
    """An arm whose process is killed at the end of step 3 of every stage."""

    def dynamics(self) -> list[Any]:
        from transformers import TrainerCallback

        class Stop(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step == 3:
                    raise KeyboardInterrupt

        return [*super().dynamics(), Stop()]


@pytest.mark.parametrize("name", ["prealign", "joint_twin_adam"])
def test_a_resumed_run_is_the_uninterrupted_one(arms: dict[str, ArmRun], name: str, tmp_path: Path) -> None:
    whole = arms[name]
    data, run = toy_experiment.prepared(whole.base, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        Killed(name, 0, whole.base, data, run, lambda _: None).execute(last="pretrain")
    notes: list[str] = []

    def note(progress: Progress) -> None:
        notes.extend([progress.note] if "goes on" in progress.note else [])

    again = ArmRun(name, 0, whole.base, data, run, note)
    again.execute(last="pretrain")
    assert notes == ["goes on from the checkpoint of step 2"]
    for stage in whole.trained_stages:
        files = [arm.folder(stage) / "model.safetensors" for arm in (again, whole)]
        assert files[0].read_bytes() == files[1].read_bytes(), stage


WORDS = toys.forms([[1], [20]], [[2], [21]], [[3], [22]])


def phase(lm_every: int) -> Phase:
    objective = WordFormAlignment(WORDS, groups=2)
    return toys.phase(Term(objective), steps=5, batch_size=2, lm_every=lm_every)


@pytest.mark.parametrize("ranks", [1, 2])
def test_text_of_every_kth_step_is_read_in_order_on_all_ranks(ranks: int) -> None:
    own = phase(2)
    blocks = toys.blocks(own.text_steps * 2 * ranks, 12, vocabulary=60)
    steps = PhaseSteps(blocks, own, ranks=ranks)
    assert own.text_steps == 3 and len(steps) >= 5 * ranks
    read = []
    for example in range(5 * ranks):
        item = steps[example]
        assert ("input_ids" in item) == (example // ranks % 2 == 0) and "words" in item["objectives"]
        read += [row.tolist() for row in item.get("input_ids", torch.zeros(0))]
    assert read == blocks["input_ids"], "each block once"
    assert [PhaseSteps(blocks, phase(1))[e]["input_ids"].tolist() for e in range(3)] == [
        blocks["input_ids"][2 * e : 2 * e + 2] for e in range(3)
    ]


def test_the_cost_of_text_is_shared_out() -> None:
    model = toys.llama()
    one, three = phase(1).cost(model), phase(3).cost(model)
    text = training_flops(model, 24, 12)
    assert one.flops - three.flops == pytest.approx(2 / 3 * text) and one.tokens - three.tokens == pytest.approx(16)


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"align__start": "translations", "arms": ["prealign_anchored"]}, "align.start"),
        ({"align__start": "translations", "arms": ["prealign"]}, None),
        (
            {
                "variants": {"same": {"extends": "prealign", "set": {"mixture.clone_ids": "merged"}}},
                "arms": ["same"],
                "align__until": 0.9,
            },
            "align.until",
        ),
        ({"align__lm_every": 4, "arms": ["prealign_no_lm"]}, "align.lm_every"),
        ({"align__lm_every": 4, "arms": ["joint"], "baseline": "joint"}, "align.lm_every"),
        ({"align__lm_every": 4, "arms": ["prealign"]}, None),
        ({"anchor__em_rounds": 5, "arms": ["prealign"]}, "anchor.em_rounds"),
        ({"anchor__em_rounds": 5, "arms": ["prealign"], "align__start": "translations"}, None),
        ({"twin_adam": {}, "arms": ["prealign"]}, "twin_adam"),
        ({"sustain__one_way": True, "arms": ["prealign"]}, "sustain.one_way"),
    ],
    ids=range(10),
)
def test_settings_without_effect_are_named(tmp_path: Path, settings: dict[str, Any], warned: str | None) -> None:
    warnings = [line for line in ineffective(toy_experiment.recipe(tmp_path, **settings)) if "has no effect" in line]
    named = {line.partition(":")[0] for line in warnings}
    assert (warned in named) if warned else not named & {"align.start", "align.lm_every", "anchor.em_rounds"}


def test_the_benchmark_prints_curves_over_flops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.stage1 import main

    from prealign.recipe.file import dump_recipe

    recipe = toy_experiment.recipe(tmp_path, align__steps=6)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    tries = ["--try", "align.learning_rate=0.02", "--try", "align.learning_rate=0.02 align.senses=one", "--points", "3"]
    assert main([str(tmp_path / "recipe.yaml"), "align.temperature=0.2", *tries, "--out", str(tmp_path / "out")]) == 0
    first, second = json.loads((tmp_path / "out" / "stage1.json").read_text())
    assert second["settings"] == ["align.learning_rate=0.02", "align.senses=one"]
    (points,) = first["languages"].values()
    assert [point["step"] for point in points] == [1, 2, 6] and 0 <= points[-1]["seen"] <= 1
    assert points[-1]["flops"] == 6 * points[0]["flops"] > 0
    assert "0.9 of seen words" in capsys.readouterr().out
    assert main([str(tmp_path / "recipe.yaml"), "align.temperatur=1", "--out", str(tmp_path / "out")]) == 2
