"""Stage 1 that ends when the words are aligned: its record, the budget, what the user is told, and a resumed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import toy_experiment
from prealign.errors import RecipeError
from prealign.methods.goal import measured_steps
from prealign.recipe.effects import ineffective
from prealign.recipe.sections import Recipe
from prealign.report.results import Results
from prealign.report.tables.established import established, not_established
from prealign.run import launch_checks
from prealign.run.folder import RunFolder
from prealign.run.goals import few_words, notes
from prealign.run.results import collect_results
from prealign.run.stages import ArmRun
from prealign.training import launch
from toy_experiment import record

UNTIL: dict[str, Any] = {
    "align__steps": 60,
    "align__pairs_per_batch": 32,
    "align__until": 0.8,
    "pretrain__steps": 6,
    "variants": {"fixed": {"extends": "prealign", "set": {"align.until": None}}},
    "arms": ["joint", "prealign", "fixed"],
    "checkpoint__every": 7,
    "trainer": {"bf16": False, "logging_steps": 1},
}


class Run:
    """Arms of one recipe, executed in one folder, and what they told the user."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.told: dict[str, list[str]] = {}
        self.recipe: Recipe = toy_experiment.recipe(folder, **UNTIL | settings)
        self.data, self.run = toy_experiment.prepared(self.recipe, folder / "run")
        self.arms = {name: self.arm(name) for name in self.recipe.arms}

    def arm(self, name: str, run: RunFolder | None = None) -> ArmRun:
        told = self.told.setdefault(name, [])
        return ArmRun(
            name, 0, self.recipe, self.data, run or self.run, lambda p: told.extend([p.note] if p.note else [])
        )

    def execute(self, last: str | None = None) -> Run:
        for arm in self.arms.values():
            arm.execute(last=last)
        return self


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("until")).execute()


def test_stage_1_ends_a_tenth_after_the_step_that_reached_the_goal(done: Run) -> None:
    align = record(done.arms["prealign"], "align")
    assert align["steps"] == 28 and [p["step"] for p in align["history"]][-1] == 28, "reached at step 25"
    assert "validation" in align["history"][-1], "the last step is measured"
    rates = [point["learning_rate"] for point in align["history"] if "learning_rate" in point]
    assert rates[3:26] == pytest.approx([1e-2] * 23) and rates[0] < rates[1] < rates[2], "constant after 3 steps"
    assert 1e-2 > rates[26] > rates[27] > 0
    (row,) = align["alignment"]
    assert row["value"] >= 0.8 and {k: row[k] for k in ("language", "layers", "until", "most")} == {
        "language": "en-clone", "layers": "all", "until": 0.8, "most": 60,
    }  # fmt: skip


def test_all_arms_have_equal_flops_to_a_step(done: Run) -> None:
    spent = {name: sum(record(arm, stage)["flops"] for stage in arm.trained_stages) for name, arm in done.arms.items()}
    budget = done.arms["joint"].budget
    for name, arm in done.arms.items():
        step = record(arm, "pretrain")["flops"] / record(arm, "pretrain")["steps"]
        assert arm.budget == budget and budget - step < spent[name] <= budget * (1 + 1e-12), name


def test_what_was_saved_trains_stage_2_and_its_blocks(done: Run) -> None:
    arm, fixed = done.arms["prealign"], done.arms["fixed"]
    steps = record(arm, "pretrain")["steps"]
    assert arm.main_phase.steps == 6 == fixed.main_phase.steps == record(fixed, "pretrain")["steps"] < steps
    assert record(arm, "blocks")["blocks"] == 4 * steps
    assert list(arm.marks())[:3] == ["align", "blocks", "pretrain"]
    assert list(fixed.marks())[:3] == ["blocks", "align", "pretrain"]


def test_the_measurements_are_part_of_the_record(done: Run) -> None:
    arm, model = done.arms["prealign"], done.arms["prealign"]._shapes
    phase = arm.phase("align")
    assert phase.goal is not None and measured_steps(28)[0] == 25
    expected = 28 * phase.cost(model).flops + phase.goal.measurement(model).flops
    assert record(arm, "align")["flops"] == pytest.approx(expected, rel=1e-12)


def test_without_until_what_was_reached_is_measured_once_at_the_end(done: Run) -> None:
    arm = done.arms["fixed"]
    align, phase = record(arm, "align"), arm.phase("align")
    assert align["steps"] == 60 and align["flops"] == pytest.approx(60 * phase.cost(arm._shapes).flops, rel=1e-12)
    assert align["alignment"][0]["until"] is None and align["alignment"][0]["value"] > 0.8


def test_the_user_is_told_what_was_reached_and_its_price(done: Run) -> None:
    assert done.told["joint"] == []
    (note,), (fixed,) = done.told["prealign"], done.told["fixed"]
    share = record(done.arms["prealign"], "align")["flops"] / done.arms["prealign"].budget
    assert "after 28 of at most 60 steps" in note and f"{share:.1%} of the arm's FLOPs" in note
    assert "after 60 steps" in fixed


def test_results_and_page_tell_it(done: Run) -> None:
    done.recipe = done.recipe.model_copy(update={"seeds": [0]})
    marks = {(name, 0): arm.marks() for name, arm in done.arms.items()}
    content = collect_results(done.recipe, done.data, done.run, marks)
    rows = {row["arm"]: row for row in content["alignment"]}
    assert rows.keys() == {"prealign", "fixed"} and rows["prealign"]["value"] >= 0.8
    (table,) = established(Results(content))
    assert [row[0] for row in table.rows] == ["PreAlign", "fixed"]
    assert table.rows[0][2:6] == (f"{rows['prealign']['value']:.2f}", "yes", "0.8", "28 of at most 60")
    assert not list(not_established(Results(content)))
    rows["fixed"]["value"] = 0.31
    (sentence,) = not_established(Results(content))
    assert (
        "fixed (English-Clone 0.31)" in sentence
        and "align.steps" in sentence
        and sentence in established(Results(content))[0].note
    )


class Killed(ArmRun):
    """An arm whose process is killed at a step of stage 1."""

    def dynamics(self) -> list[Any]:
        from transformers import TrainerCallback

        at = self.kill_at  # type: ignore[attr-defined]

        class Stop(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step == at:
                    raise KeyboardInterrupt

        return [*super().dynamics(), Stop()]


@pytest.mark.parametrize("at", [24, 27])
def test_a_resumed_stage_ends_at_the_same_step_with_the_same_weights(done: Run, tmp_path: Path, at: int) -> None:
    whole = done.arms["prealign"]
    data, run = toy_experiment.prepared(done.recipe, tmp_path / "run")
    killed = Killed("prealign", 0, done.recipe, data, run, lambda _: None)
    object.__setattr__(killed, "kill_at", at)
    with pytest.raises(KeyboardInterrupt):
        killed.execute(last="align")
    again = ArmRun("prealign", 0, done.recipe, data, run, lambda _: None)
    again.execute(last="pretrain")
    for stage in ("align", "pretrain"):
        own, other = record(again, stage), record(whole, stage)
        assert {k: v for k, v in own.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
        assert (again.folder(stage) / "model.safetensors").read_bytes() == (
            whole.folder(stage) / "model.safetensors"
        ).read_bytes()


def rows(value: float, until: float | None = None, layers: str = "all") -> list[dict[str, Any]]:
    return [{"language": "de", "value": value, "n": 500, "layers": layers, "until": until, "most": 400}]


def test_notes_by_hand() -> None:
    assert notes(rows(0.93, 0.9), 220, 0.104, missed=False) == [
        "P@1 of seen words at the blocks is 0.93 in German, after 220 of at most 400 steps, 10.4% of the arm's FLOPs"
    ]
    _, low = notes(rows(0.15), 400, 0.1, missed=False)
    assert low.startswith("the alignment is not established (P@1 below 0.8)") and "raise align.steps" in low
    _, missed = notes(rows(0.85, 0.9), 400, 0.1, missed=True)
    assert missed.startswith("align.until 0.9 was not reached within align.steps 400")
    assert len(notes(rows(0.3, 0.9), 400, 0.1, missed=True)) == 2, "said once"
    assert "pairs_per_batch" not in notes(rows(0.3, layers="output"), 400, 0.1, missed=False)[1]


def test_a_lexicon_too_small_for_a_step_is_told_with_its_numbers(tmp_path: Path) -> None:
    run = Run(tmp_path, align__steps=2, align__until=None, align__pairs_per_batch=100, arms=["prealign"])
    run.arms["prealign"].execute(last="align")
    groups = run.arms["prealign"].words.groups
    assert run.told["prealign"][0].startswith(
        f"a step of align.pairs_per_batch 100 needs 100 words with a translation; the training lexicon has {groups}"
    )
    assert not few_words(512, 256, 2) and "256 × 2 devices needs 512 words" in few_words(511, 256, 2)


def test_fsdp_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launch, "shards_weights", lambda: True)
    monkeypatch.setattr(launch, "fsdp_version", lambda: 2)
    with pytest.raises(RecipeError, match=r"align\.until"):
        launch_checks.check_launch(toy_experiment.recipe(tmp_path, align__until=0.9))
    launch_checks.check_launch(toy_experiment.recipe(tmp_path))


def test_a_schedule_that_stage_1_does_not_follow_is_named(tmp_path: Path) -> None:
    trainer = {"bf16": False, "lr_scheduler_type": "linear"}
    found = [ineffective(toy_experiment.recipe(tmp_path, align__until=goal, trainer=trainer)) for goal in (0.9, None)]
    assert [sum("trainer.lr_scheduler_type" in warning for warning in warnings) for warnings in found] == [1, 0]
