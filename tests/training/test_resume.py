"""A run that was interrupted and started again is the run that was not, to the last bit."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from transformers import TrainerCallback

import toy_experiment
import toys
from prealign.errors import PrealignError
from prealign.events import Progress
from prealign.files import read_json
from prealign.methods.vocabulary.anchored import anchor_vocabulary
from prealign.recipe.arms import with_settings
from prealign.recipe.sections import CheckpointSection
from prealign.run.folder import STAGE_FILE, run_stage
from prealign.run.stages import ArmRun
from prealign.seals import WHOLE
from prealign.training.checkpoints import keep_last, newest, seal_checkpoint
from prealign.training.interrupts import saved_at_interrupts
from prealign.training.phase import train as train_phase

ARMS = ("prealign", "prealign_sustained", "prealign_anchored", "text_losses")
SETTINGS: dict[str, Any] = {
    "align__steps": 5,
    "pretrain__steps": 7,
    "evaluate__dynamics": 4,
    "evaluate__dynamics_words": 10,
    "checkpoint__every": 2,
    "variants": {"text_losses": {"extends": "prealign", "set": {"next_word.share": 0.5, "twin_mask.gamma": 0.0}}},
    "trainer": {"bf16": False, "dataloader_num_workers": 1, "logging_steps": 3},
}


class Stop(TrainerCallback):
    """Ends the process's work after the step `at` of a stage of `steps` steps, as a kill would."""

    def __init__(self, steps: int, at: int) -> None:
        self.steps, self.at = steps, at

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if (state.max_steps, state.global_step) == (self.steps, self.at):
            raise KeyboardInterrupt

    def record(self, tokens_per_step: float) -> list[dict[str, Any]]:
        return []


class Interrupted(ArmRun):
    """An arm that is interrupted in step `at` of the stage that has `steps`."""

    stop: Stop

    def dynamics(self) -> list[Any]:
        return [*super().dynamics(), self.stop]


def interrupt(arm: ArmRun, steps: int, at: int) -> None:
    again = Interrupted(arm.arm, arm.seed, arm.base, arm.prepared, arm.run, arm.on_progress)
    object.__setattr__(again, "stop", Stop(steps, at))
    with pytest.raises(KeyboardInterrupt):
        again.execute()


def state(arm: ArmRun, stage: str) -> tuple[bytes, dict[str, Any]]:
    """The weights and the record of a stage, but for its times."""
    folder = arm.folder(stage)
    record = read_json(folder / STAGE_FILE)
    assert record.pop("seconds") > 0 and record.pop("origin")["created"]
    return (folder / "model.safetensors").read_bytes(), record


def arm(folder: Path, name: str, notes: list[str], **settings: Any) -> ArmRun:
    """An arm of a run in `folder`; what it tells the user goes to `notes`."""

    def note(progress: Progress) -> None:
        notes.extend([progress.note] if "checkpoint" in progress.note else [])

    recipe = toy_experiment.recipe(folder, **SETTINGS | settings)
    return ArmRun(name, 0, recipe, *toy_experiment.prepared(recipe, folder / "run"), note)


@pytest.mark.parametrize(("name", "bf16"), [*((name, False) for name in ARMS), ("prealign_sustained", True)])
def test_a_run_that_goes_on_is_the_uninterrupted_one(tmp_path: Path, name: str, bf16: bool) -> None:
    notes: list[str] = []
    whole = arm(tmp_path, name, notes, trainer=SETTINGS["trainer"] | {"bf16": bf16})
    whole.execute(last="pretrain")
    broken = ArmRun(name, 0, whole.base, *toy_experiment.prepared(whole.base, tmp_path / "broken"), whole.on_progress)
    assert notes == []
    steps = whole.main_phase.steps
    interrupt(broken, 5, 4)
    interrupt(broken, 5, 5)
    interrupt(broken, steps, 1)
    interrupt(broken, steps, steps - 1)
    broken.execute(last="pretrain")
    last = (steps - 2) // 2 * 2
    assert notes == [f"goes on from the checkpoint of step {step}" for step in (2, 4, last)]
    for stage in ("align", "pretrain"):
        assert state(broken, stage) == state(whole, stage), stage
        assert not (broken.folder(stage) / "scratch").exists()
    assert not list(broken.folder("align").parent.glob("*.partial"))


class Press(TrainerCallback):
    """Sends a signal to this process in step `at` of a stage of `steps` steps, `times` times."""

    def __init__(self, steps: int, at: int, times: int = 1) -> None:
        self.steps, self.at, self.times = steps, at, times

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if (state.max_steps, state.global_step) == (self.steps, self.at - 1):
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)

    def record(self, tokens_per_step: float) -> list[dict[str, Any]]:
        return []


def pressed(arm: ArmRun, press: Press) -> int | None:
    """Interrupt an arm; return the step of the newest checkpoint of stage 2."""
    again = Interrupted(arm.arm, arm.seed, arm.base, arm.prepared, arm.run, arm.on_progress)
    object.__setattr__(again, "stop", press)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        again.execute()
    assert signal.getsignal(signal.SIGINT) is before
    found = newest(arm.folder("pretrain").with_name("pretrain.partial") / "scratch")
    return found.step if found else None


def test_an_interrupt_writes_a_checkpoint_and_a_second_one_does_not_wait(tmp_path: Path) -> None:
    notes: list[str] = []
    whole = arm(tmp_path, "joint", notes, checkpoint__every=1000)
    whole.execute(last="pretrain")
    broken = ArmRun(
        "joint", 0, whole.base, *toy_experiment.prepared(whole.base, tmp_path / "broken"), whole.on_progress
    )
    steps = whole.main_phase.steps
    assert steps is not None
    assert pressed(broken, Press(steps, 2, times=2)) is None
    assert pressed(broken, Press(steps, 3)) == 3
    assert pressed(broken, Press(steps, 5)) == 5
    assert pressed(broken, Press(steps, steps)) == 5, "the last step has no checkpoint"
    broken.execute(last="pretrain")
    assert notes == [
        "interrupted: a checkpoint of step 3 is written",
        "goes on from the checkpoint of step 3",
        "interrupted: a checkpoint of step 5 is written",
        *["goes on from the checkpoint of step 5"] * 2,
    ]
    assert state(broken, "pretrain")[0] == state(whole, "pretrain")[0]


@pytest.mark.parametrize("error", [None, ValueError("diverged")], ids=["ends", "fails"])
def test_a_signal_that_no_step_follows_is_sent_again_once(error: Exception | None) -> None:
    """As in the validation after the last step: the command must end, and not begin its next stage."""
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        with suppress(ValueError), saved_at_interrupts("pretrain", lambda _: None):
            os.kill(os.getpid(), signal.SIGINT)
            assert received == []
            if error:
                raise error
        assert received == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_checkpoint_is_written_after_some_minutes(tmp_path: Path) -> None:
    made = arm(tmp_path, "joint", [], checkpoint__every=1000, checkpoint__minutes=1e-9)
    steps = made.main_phase.steps
    assert steps is not None
    interrupt(made, steps, 4)
    found = newest(made.folder("pretrain").with_name("pretrain.partial") / "scratch")
    assert found is not None and found.step == 3


def train(
    folder: Path, stop: Stop | None, *, rows: int, anchored: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Eight steps of stage 2 on `rows` blocks, four a step; returns record and weights.

    The model has dropout, and is saved under other names than it has; anchored: has tied embeddings and an anchored row.
    """
    model = toys.neox()
    if anchored:
        half = sparse.csr_matrix((np.array([0.5, 0.5]), (np.array([40, 40]), np.array([1, 2]))), shape=(64, 64))
        language = np.where(np.arange(64) == 40, 0, -1)
        model = anchor_vocabulary(toys.llama(tied=True), half, language, fresh=True)
    phase = toys.phase(steps=8, batch_size=4, context=10, learning_rate=3e-4, warmup=0.05)
    blocks, held_out = toys.blocks(rows, 10, vocabulary=60), {"en": toys.blocks(3, 10, vocabulary=60, seed=1)}
    record = train_phase(
        phase,
        model,
        blocks,
        held_out,
        seed=0,
        folder=folder,
        on_progress=lambda _: None,
        trainer={"bf16": False, "dataloader_num_workers": 1},
        checkpoint=CheckpointSection(every=1, keep=20),
        validations=2,
        callbacks=[stop] if stop else [],
    )
    record.pop("seconds")
    return record, {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("at", [3, 4, 5])
def test_random_numbers_and_order_go_on_over_the_edge_of_a_pass_over_the_blocks(tmp_path: Path, at: int) -> None:
    record, weights = train(tmp_path / "whole", None, rows=16)  # a pass has four steps
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", Stop(8, at + 1), rows=16)
    assert newest(tmp_path / "broken") is not None and newest(tmp_path / "broken").step == at
    again, found = train(tmp_path / "broken", None, rows=16)
    assert again == record
    assert all(found[name].equal(weight) for name, weight in weights.items())
    _, other = train(tmp_path / "other", None, rows=32)
    assert not all(found[name].equal(weight) for name, weight in other.items()), "the edge is seen by this test"


def test_tied_embeddings_with_anchors_go_on(tmp_path: Path) -> None:
    _, weights = train(tmp_path / "whole", None, rows=32, anchored=True)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", Stop(8, 5), rows=32, anchored=True)
    _, found = train(tmp_path / "broken", None, rows=32, anchored=True)
    assert newest(tmp_path / "broken").step == 7 and "model.embed_tokens.parametrizations.weight.original" in found
    assert all(found[name].equal(weight) for name, weight in weights.items())


def damage(folder: Path, how: str) -> None:
    """What a kill, a lost write or a flipped bit leaves of a checkpoint."""
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    if how == "unsealed":
        (folder / WHOLE).unlink()
    elif how == "seal cut":
        os.truncate(folder / WHOLE, 5)
    elif how == "cut":
        os.truncate(weights, len(content) - 1)
    elif how == "flipped":
        content[-1] ^= 1
        weights.write_bytes(content)
    else:
        (folder / "optimizer.pt").unlink()


@pytest.mark.parametrize("how", ["unsealed", "seal cut", "cut", "flipped", "missing"])
def test_a_torn_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, how: str) -> None:
    for step in (9, 10, 11):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(bytes(range(step)))
        (folder / "optimizer.pt").write_bytes(b"state")
        seal_checkpoint(folder, seconds=float(step))
    (tmp_path / "checkpoint-x").mkdir()
    assert newest(tmp_path).step == 11
    damage(tmp_path / "checkpoint-11", how)
    found = newest(tmp_path)
    assert (found.step, found.seconds, found.folder) == (10, 10.0, tmp_path / "checkpoint-10")
    damage(tmp_path / "checkpoint-10", how)
    damage(tmp_path / "checkpoint-9", how)
    assert newest(tmp_path) is None


def test_the_newest_whole_checkpoints_are_kept_and_what_is_torn_among_the_older_is_not(tmp_path: Path) -> None:
    for step in (1, 2, 10, 11, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if step not in (2, 12):
            seal_checkpoint(tmp_path / f"checkpoint-{step}", 0.0)
    keep_last(tmp_path, 2)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"checkpoint-10", "checkpoint-11", "checkpoint-12"}, "the last is just being written"
    keep_last(tmp_path, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-11", "checkpoint-12"}


def test_a_run_with_torn_checkpoints_and_one_with_other_settings(tmp_path: Path) -> None:
    notes: list[str] = []
    whole = arm(tmp_path, "prealign", notes)
    whole.execute(last="align")

    def broken(**settings: Any) -> ArmRun:
        recipe = with_settings(whole.base, {key.replace("__", "."): value for key, value in settings.items()})
        return ArmRun("prealign", 0, recipe, *toy_experiment.prepared(recipe, tmp_path / "broken"), whole.on_progress)

    scratch = broken().folder("align").with_name("align.partial") / "scratch"
    interrupt(broken(checkpoint__keep=1), 5, 5)
    assert [path.name for path in scratch.glob("checkpoint-*")] == ["checkpoint-4"]
    interrupt(broken(checkpoint__keep=5), 5, 5)
    damage(scratch / "checkpoint-4", "flipped")
    # Nothing is left to go on from: that of step 2 was removed when that of step 4 was whole.
    broken().execute(last="align")
    assert notes == ["goes on from the checkpoint of step 4", "no whole checkpoint is left: starts anew"]
    assert state(broken(), "align") == state(whole, "align")

    notes.clear()
    (hot, fast) = ({"align__temperature": 0.2}, {"align__learning_rate": 2e-2})
    for settings in (hot, fast):
        interrupt(broken(**settings), 5, 5)
    kept = scratch.parent.with_name("align.former")
    (partial,) = kept.iterdir()
    assert any("checkpoints of other settings" in note and str(partial) in note for note in notes)
    assert not any("goes on from" in note for note in notes), "a checkpoint of another fingerprint is not gone on from"
    interrupt(broken(**hot), 5, 5)
    assert "goes back to the checkpoints of these settings, kept earlier" in notes
    assert notes[-1] == "goes on from the checkpoint of step 4"
    broken(**hot).execute(last="align", force=True)
    assert "its checkpoints are removed, as --force says: it starts anew" in notes
    broken(**fast).execute(last="align")
    assert notes.count("goes on from the checkpoint of step 4") == 2
    assert state(broken(), "align")[0] != state(whole, "align")[0]


def test_a_stage_that_only_lacks_its_name_is_not_done_again(tmp_path: Path) -> None:
    def never(folder: Path) -> dict[str, Any]:
        raise AssertionError

    stage = tmp_path / "pretrain"
    run_stage(stage, "m", lambda folder: {"n": 1})
    stage.rename(tmp_path / "pretrain.partial")  # as a kill between the record and the renaming leaves it
    assert run_stage(stage, "m", never) == {"fingerprint": "m", "n": 1}
    stage.rename(tmp_path / "pretrain.partial")
    assert run_stage(stage, "m", lambda folder: {"n": 2}, anew=True)["n"] == 2
    stage.rename(tmp_path / "pretrain.partial")
    assert run_stage(stage, "other", lambda folder: {"n": 3})["n"] == 3


class StopsEarly(Stop):
    """Stops the Trainer as its own callbacks do: `train` returns."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self.at


def test_a_training_that_stops_early_is_no_finished_stage(tmp_path: Path) -> None:
    with pytest.raises(PrealignError, match="pretrain stopped at step 3 of 8; run the same command to go on"):
        train(tmp_path, StopsEarly(8, 3), rows=16)


@pytest.mark.parametrize("content", ["{}", "[]", '{"files": {}}'])
def test_a_seal_that_is_none_counts_as_torn(tmp_path: Path, content: str) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / WHOLE).write_text(content)
    assert newest(tmp_path) is None
