"""Runs under a real launcher: two processes (gloo, CPU) end with the results of one with twice the batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file
from typer.testing import CliRunner

import toy_experiment
from prealign.cli.app import app, what_it_saw
from prealign.errors import RecipeError
from prealign.events import silent
from prealign.files import read_json
from prealign.recipe.file import dump_recipe
from prealign.run.folder import STAGE_FILE
from prealign.run.launch_checks import check_launch
from prealign.run.stages import ArmRun
from prealign.training.launch import alone, count, rank

PATIENCE = 200  # seconds; the work itself takes about thirty
ARMS = ("prealign", "prealign_sustained_anchored")
# Steps of plain gradient descent are as exact as its gradients; Adam's divide what is nearly nothing by itself.
SETTINGS: dict[str, Any] = {
    "arms": list(ARMS),
    "baseline": "prealign",
    "evaluate__dynamics": 2,
    "evaluate__dynamics_words": 10,
    "align__weight": 0.1,
    "pretrain__learning_rate": 0.05,
    "trainer": {"bf16": False, "optim": "sgd"},
}
PER_DEVICE = {"align__pairs_per_batch": 8, "align__lm_batch_size": 1, "pretrain__batch_size": 2, "sustain__groups": 2}
TASK = {
    "name": "parity",
    "passages": {
        "classes": "(?P<odd>[13579]$)|(?P<even>[02468]$)",
        "tokens": 9,
        "train_examples": 12,
        "test_examples": 6,
    },
    "epochs": 1,
    "batch_size": 4,
}


def launched(folder: Path, *command: str, processes: int = 2) -> subprocess.Popen[str]:
    """Start `prealign` under torchrun."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"  # whatever name the machine has, and whether it resolves
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    launcher += ["--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [*launcher, "-m", "prealign", *command],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def output(process: subprocess.Popen[str]) -> str | None:
    """Wait for the end of a launch and of all that it started; return what it wrote, None if it had to be ended."""
    try:
        return process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        warnings.warn(f"still running after {PATIENCE} s:\n{process.communicate()[0]}", stacklevel=2)
        return None


def done(folder: Path, *command: str) -> str:
    """Launch and return what was written; once more if it hangs, as sockets of a busy machine may fail to connect."""
    for _ in range(2):
        process = launched(folder, *command)
        text = output(process)
        if text is not None:
            assert process.returncode == 0, text
            return text
    pytest.fail("hangs")


def killed(folder: Path, *command: str, when: Path) -> str:
    """Launch, kill a process of it when there is a whole checkpoint below `when`; return what the launcher wrote."""
    for _ in range(2):
        process = launched(folder, *command)
        deadline = time.monotonic() + PATIENCE
        while not list(when.glob("checkpoint-*/whole.json")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if process.poll() is None:
            children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
            os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
        text = output(process)
        if text is not None and list(when.glob("checkpoint-*/whole.json")):
            assert process.returncode != 0
            return text
    pytest.fail("no checkpoint was written, or the launch did not end")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of two processes with a task, and what it printed."""
    folder = tmp_path_factory.mktemp("two")
    recipe = toy_experiment.recipe(folder, **SETTINGS | PER_DEVICE | {"transfer": [TASK], "split__test": 12})
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    return folder, done(folder, "run", "recipe.yaml", "--out", "run")


def test_two_processes_end_with_the_weights_of_one_with_twice_the_batch(two: tuple[Path, str], tmp_path: Path) -> None:
    folder = two[0]
    recipe = toy_experiment.recipe(folder, **SETTINGS | {"split__test": 12})
    data, run = toy_experiment.prepared(recipe, tmp_path / "run")
    for name in ARMS:
        one = ArmRun(name, 0, recipe, data, run, silent)
        one.execute(last="pretrain")
        for stage in ("align", "pretrain"):
            other = folder / "run" / "arms" / name / "seed-0" / stage
            records = [read_json(path / STAGE_FILE) for path in (one.folder(stage), other)]
            assert records[0]["steps"] == records[1]["steps"]
            assert records[0]["tokens"] == records[1]["tokens"]
            expected, found = (load_file(path / "model.safetensors") for path in (one.folder(stage), other))
            for key, weight in expected.items():
                torch.testing.assert_close(found[key], weight, rtol=1e-5, atol=1e-6)
            for a, b in zip(records[0]["history"], records[1]["history"], strict=True):
                assert a.keys() == b.keys()
                for key, value in a.items():  # step, tokens, losses, validation perplexities
                    assert b[key] == pytest.approx(value, rel=1e-5), (stage, key)


def test_one_process_writes_and_prints(two: tuple[Path, str]) -> None:
    folder, text = two
    run = folder / "run"
    assert text.count("done: tokens, lexicon") == 1
    for name in ARMS:
        assert text.count(f"{name} seed 0 ") >= 1
        assert text.count("done: blocks, align, pretrain, evaluate, transfer") == 2
    assert (run / "results.json").exists() and (run / "report.html").exists()
    results = read_json(run / "results.json")
    assert {(s["arm"], s["task"]) for s in results["scores"]} == {
        (a, t) for a in ARMS for t in ("lm", "retrieval", "transfer")
    }
    left = [path.name for path in run.rglob("*") if path.name.startswith(".") or path.suffix in (".partial", ".old")]
    assert left == []


def test_a_run_whose_process_dies_ends_and_goes_on(tmp_path: Path) -> None:
    settings = SETTINGS | PER_DEVICE | {"arms": ["prealign"], "evaluate__dynamics": 0, "checkpoint__every": 1}
    recipe = toy_experiment.recipe(tmp_path, **settings | {"pretrain__steps": 60})
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    command = ("pretrain", "recipe.yaml", "--out", "run")
    text = killed(tmp_path, *command, when=tmp_path / "run/arms/prealign/seed-0/pretrain.partial/scratch")
    assert "Signal 9 (SIGKILL)" in text, "the launcher names the process that died"
    text = done(tmp_path, *command)
    assert "pretrain: goes on from the checkpoint of step" in text
    assert "unchanged, skipped: blocks, align" in text


@pytest.mark.parametrize(
    ("environment", "settings", "message"),
    [
        ({"WORLD_SIZE": "2"}, {"jobs": 2}, "jobs is 2, and 2 processes were launched"),
        (
            {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"},
            {"arms": ["prealign", "anchored"]},
            "'anchored' anchors the vocabulary",
        ),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, {"evaluate__dynamics": 2}, "dynamics=0"),
        ({}, {"evaluate__dynamics": 2, "trainer": {"fsdp": "full_shard"}}, "dynamics=0"),
        ({"ACCELERATE_USE_FSDP": "true"}, {}, "FSDP of version 1"),
        ({}, {"trainer": {"fsdp": "full_shard", "fsdp_config": {"version": 1}}}, "FSDP of version 1"),
        ({}, {"trainer": {"deepspeed": {"zero_optimization": {"stage": 3}}}}, "DeepSpeed of stage 3"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, {}, "DeepSpeed of stage 3"),
    ],
)
def test_what_a_launch_cannot_do_is_said_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    settings: dict[str, Any],
    message: str,
) -> None:
    recipe = toy_experiment.recipe(tmp_path, **settings)
    check_launch(toy_experiment.recipe(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match=message):
        check_launch(recipe)


def test_shards_that_a_file_asks_for_are_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zero3, fsdp1 = tmp_path / "zero3.json", tmp_path / "fsdp1.json"
    zero3.write_text('{"zero_optimization": {"stage": 3}}')
    fsdp1.write_text('{"version": 1}')
    for trainer, message in (
        ({"deepspeed": str(zero3)}, "DeepSpeed of stage 3"),
        ({"fsdp": "full_shard", "fsdp_config": str(fsdp1)}, "FSDP of version 1"),
    ):
        with pytest.raises(RecipeError, match=message):
            check_launch(toy_experiment.recipe(tmp_path, trainer=trainer))
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(zero3))
    with pytest.raises(RecipeError, match="DeepSpeed of stage 3"):
        check_launch(toy_experiment.recipe(tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_fused_kernels_without_a_gpu_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="use_liger_kernel needs a GPU"):
        check_launch(toy_experiment.recipe(tmp_path, trainer={"use_liger_kernel": True}))


def test_what_is_started_alone_knows_of_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "3")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    before = dict(os.environ)
    with alone():
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")
        assert not any(name in os.environ for name in names)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "7", "its own one"
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "deepspeed_zero2"])
def test_the_packaged_configurations_are_what_accelerate_reads(name: str) -> None:
    result = CliRunner().invoke(app, ["accelerate-config", name])
    config = load_config_from_file(result.output.strip())
    assert config.num_processes == 8 and not config.use_cpu
    assert CliRunner().invoke(app, ["accelerate-config", "dpd"]).exit_code == 2


def test_variables_of_a_launcher_that_are_empty_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")
    assert (count(), rank()) == (1, 0)


def test_devices_that_no_process_uses_are_said_before_any_preparation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(RecipeError, match="here are 2 devices"):
        check_launch(toy_experiment.recipe(tmp_path))


def test_what_a_process_saw_of_a_loss_is_said() -> None:
    assert what_it_saw(RuntimeError("NCCL error: invalid usage\nmore")) == "It saw: NCCL error: invalid usage"
    assert "trainer.ddp_timeout" in what_it_saw(RuntimeError("Timed out waiting 1800000ms for recv"))
