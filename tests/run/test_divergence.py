"""An arm that diverges ends alone, with its name and reason; all other arms are trained, measured and reported."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import toy_experiment
from prealign.cli.main import app
from prealign.errors import DivergedError, PrealignError, RecipeError, WeightsError
from prealign.events import Event
from prealign.files import read_json
from prealign.recipe.file import dump_recipe
from prealign.recipe.sections import ModelSection, Recipe
from prealign.report.finding import finding
from prealign.report.page import main_tables
from prealign.report.results import Results
from prealign.report.results_file import read_results
from prealign.run.divergence import INITIAL, of_model, refuse_unfinished, remedy
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.run.launch_checks import check_launch
from prealign.run.merging import merge_results

VARIANTS = {
    "hot_stage_1": {"extends": "prealign", "set": {"align.learning_rate": 1e20}},
    "hot_stage_2": {"extends": "prealign", "set": {"pretrain.learning_rate": 1e20}},
}
REASONS = {
    "hot_stage_1": "align diverged at step 2 of 3: lm_loss is nan and align_loss is nan. "
    "To mend it, raise align.temperature, or lower align.learning_rate.",
    "hot_stage_2": "pretrain diverged at step 2 of 4: the loss is nan. To mend it, lower pretrain.learning_rate.",
}
TASK: dict[str, Any] = {
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


def experiment(folder: Path, arms: list[str], **settings: Any) -> Recipe:
    warmup = {"align__warmup": 0.0, "pretrain__warmup": 0.0, "primary__arm": arms[-1]}
    return toy_experiment.recipe(folder, arms=arms, baseline=arms[0], variants=VARIANTS, **warmup | settings)


class Finished:
    """A finished experiment: its results, its folder and what it reported."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.run, self.events = RunFolder(folder), list[Event]()
        self.results = run_experiment(recipe, self.run, self.events.append, command="prealign run")


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("diverged")
    return Finished(experiment(folder, ["hot_stage_1", "joint", "hot_stage_2"]), folder / "run")


def test_the_other_arms_are_trained_and_measured(diverged: Finished) -> None:
    written = read_results(diverged.run.results)
    assert written["unfinished"] == [{"arm": arm, "seed": 0, "reason": REASONS[arm]} for arm in REASONS]
    assert {row["arm"] for row in written["scores"]} == {"joint"}
    assert all(math.isfinite(row["value"]) for row in written["scores"])
    stages = [event for event in diverged.events if event.unfinished or (event.stages and event.arm in written["arms"])]
    assert [event.arm for event in stages] == ["hot_stage_1", "joint", "hot_stage_2"]


def test_finished_stages_of_a_diverged_arm_are_kept(diverged: Finished) -> None:
    assert diverged.run.stage("hot_stage_2", 0, "align").exists()
    assert not diverged.run.stage("hot_stage_2", 0, "pretrain").exists()
    assert not diverged.run.stage("hot_stage_1", 0, "align").exists()


def test_the_report_shows_it(diverged: Finished) -> None:
    results = Results(read_results(diverged.run.results))
    table = main_tables(results)[0]
    assert (table.title, [row[0] for row in table.rows]) == ("Unfinished runs", [*REASONS])
    assert [row[2] for row in table.rows] == [f"unfinished: {reason}" for reason in REASONS.values()]
    assert any("hot_stage_1 (seed 0), hot_stage_2 (seed 0)" in line for line in finding(results).details)


def test_the_message_at_the_end_has_a_line_for_each_run(diverged: Finished) -> None:
    with pytest.raises(PrealignError) as told:
        refuse_unfinished(diverged.results["unfinished"], 3)
    first, *lines = str(told.value).splitlines()
    assert first.startswith("2 of 3 runs ended early.")
    assert lines == [f"  {arm} seed 0: {reason}" for arm, reason in REASONS.items()]
    refuse_unfinished([], 3)


def test_merged_results_keep_what_no_part_has_finished(diverged: Finished, tmp_path: Path) -> None:
    part = read_results(diverged.run.results)
    merged = merge_results([(tmp_path / "a", part), (tmp_path / "b", part)], "")
    assert merged["unfinished"] == part["unfinished"]
    done = part | {"scores": [*part["scores"], *(row | {"arm": "hot_stage_1"} for row in part["scores"])]}
    merged = merge_results([(tmp_path / "a", part), (tmp_path / "b", done)], "")
    assert [row["arm"] for row in merged["unfinished"]] == ["hot_stage_2"]


def test_all_arms_may_diverge(diverged: Finished, tmp_path: Path) -> None:
    recipe = experiment(tmp_path, ["hot_stage_1"])
    content = Finished(recipe, tmp_path / "run").results
    assert (content["scores"], len(content["unfinished"])) == ([], 1)
    assert main_tables(Results(content))[0].title == "Unfinished runs"
    assert "no finding" in finding(Results(content)).headline


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_command_ends_with_2_after_all_arms(tmp_path: Path, jobs: int) -> None:
    recipe = experiment(tmp_path, ["joint", "hot_stage_2"], jobs=jobs)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    result = CliRunner().invoke(app, ["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2, result.output
    assert f"hot_stage_2 seed 0: {REASONS['hot_stage_2']}" in result.output
    assert "Traceback" not in result.output and "Unfinished runs" in result.output
    assert {row["arm"] for row in read_json(tmp_path / "run" / "results.json")["scores"]} == {"joint"}
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(("verb", "arm"), [("align", "hot_stage_1"), ("pretrain", "hot_stage_2")])
def test_a_verb_of_one_arm_names_it(tmp_path: Path, verb: str, arm: str) -> None:
    recipe = experiment(tmp_path, ["joint", arm])
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    command = [verb, str(tmp_path / "recipe.yaml"), "--arm", arm, "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and f"error: {arm} seed 0: {REASONS[arm]}" in result.output


def test_two_processes_end_the_arm_together_and_go_on(tmp_path: Path) -> None:
    recipe = experiment(tmp_path, ["hot_stage_1", "joint"], pretrain__steps=2)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    launcher = ["torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
    command = ["prealign", "run", "recipe.yaml", "--out", "run"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    written = read_json(tmp_path / "run" / "results.json")
    assert [row["arm"] for row in written["unfinished"]] == ["hot_stage_1"], done.stdout + done.stderr
    assert {row["arm"] for row in written["scores"]} == {"joint"}
    assert done.returncode != 0 and "1 of 2 runs ended early" in done.stdout + done.stderr
    assert "another process of this run is gone" not in done.stdout + done.stderr


def test_a_diverged_fine_tuning_names_its_task(tmp_path: Path) -> None:
    recipe = experiment(tmp_path, ["joint"], transfer=[TASK | {"learning_rate": 1e20, "warmup": 0.0}])
    with pytest.raises(DivergedError) as told:
        toy_experiment.arm(recipe, "joint", tmp_path / "run").execute()
    assert str(told.value).startswith("fine-tune parity diverged at step 2 of 3: ")
    assert str(told.value).endswith("To mend it, lower learning_rate of the task 'parity' in transfer.")


def test_weights_of_a_stage_are_checked_by_the_stage_that_reads_them(tmp_path: Path) -> None:
    arm = toy_experiment.arm(experiment(tmp_path, ["prealign"]), "prealign", tmp_path / "run")
    arm.execute(last="align")
    file = arm.folder("align") / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="not finite"):
        arm.load(arm.folder("align"))


def test_the_remedy_is_of_the_stage_that_made_the_model() -> None:
    sections = {
        "preset": ModelSection(),
        "config": ModelSection(preset=None, config="x"),
        "pretrained": ModelSection(preset=None, pretrained="x"),
    }
    assert remedy("align", sections["pretrained"]) == "lower align.learning_rate"
    starts = {key: remedy(INITIAL, section) for key, section in sections.items()}
    assert starts == {
        "preset": "check model.preset",
        "config": "check model.config",
        "pretrained": "check the weights of model.pretrained",
    }
    with (
        pytest.raises(DivergedError, match=r"^the model after align: x\. To mend it, lower align\.learning_rate\.$"),
        of_model("align", sections["preset"]),
    ):
        raise DivergedError("x")


@pytest.mark.parametrize(
    ("trainer", "why"),
    [
        ({"fp16": True}, r"trainer.fp16: a CPU does not train in float16"),
        ({"bf16": False, "lr_scheduler_type": "cosinus"}, r"trainer: cosinus is not a valid"),
        ({"bf16": False, "tf32": True}, r"trainer: .*tf32"),
        ({"bf16": False, "optim": "adamw_bnb_8bit"}, r"trainer.optim: .*bitsandbytes"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has these")
def test_settings_that_the_device_lacks_end_before_any_work(tmp_path: Path, trainer: dict[str, Any], why: str) -> None:
    recipe = experiment(tmp_path, ["joint"], trainer=trainer)
    with pytest.raises(RecipeError, match=why):
        Finished(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may have it")
def test_flash_attention_needs_its_package(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model.attention: 'flash_attention_2' needs a GPU"):
        check_launch(experiment(tmp_path, ["joint"], model__attention="flash_attention_2"))
