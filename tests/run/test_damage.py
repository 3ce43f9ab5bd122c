"""Damage to the files of finished stages: it is named, and what is made again equals what was there, to the byte."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import toy_experiment
from prealign.cli.main import app
from prealign.errors import RunFolderError
from prealign.events import Event
from prealign.files import read_json
from prealign.recipe.arms import with_settings
from prealign.recipe.sections import Recipe
from prealign.run.due import Stage, due_stages
from prealign.run.experiment import run_experiment
from prealign.run.export.blocks import export_blocks
from prealign.run.folder import STAGE_FILE, RunFolder, begin_stage, run_stage
from prealign.run.former import all_former, size
from prealign.seals import WHOLE


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :] if content else b"x"


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(content: bytes) -> bytes:
    return b""


DAMAGES = (flip, half, empty)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """A run with every kind of stage: made-up facts, a transfer task, an arm that aligns and one that does not."""
    folder = tmp_path_factory.mktemp("damage")
    (folder / "facts.yaml").write_text(toy_experiment.TEMPLATES)
    rows = "".join(f"kalo mi\t{'ab'[i % 2]}\n" for i in range(8))
    (folder / "train.tsv").write_text(rows)
    (folder / "test.tsv").write_text(rows.replace("kalo mi", "mi kalo"))
    task = {"name": "toy", "train": str(folder / "train.tsv"), "tests": {"en": str(folder / "test.tsv")}}
    recipe = toy_experiment.recipe(
        folder,
        arms=["joint", "prealign"],
        knowledge={
            "templates": str(folder / "facts.yaml"),
            "exposures": [1],
            "facts": 8,
            "objects": 2,
            "candidates": 2,
        },
        transfer=[task | {"columns": ["text", "label"], "batch_size": 4}],
    )
    run(recipe, folder / "run")
    return recipe, folder / "run"


def run(recipe: Recipe, folder: Path) -> tuple[list[str], dict[str, set[str]], dict[str, Any]]:
    """The notes of a run, the stages that it made, and results.json."""
    events: list[Event] = []
    results = run_experiment(recipe, RunFolder(folder), events.append, command="prealign run toy.yaml")
    made = {e.arm: {name for name, now in e.stages.items() if now} for e in events if e.stages is not None}
    return [e.progress.note for e in events if e.progress is not None and e.progress.note], made, results


def stages(folder: Path) -> list[Path]:
    """The stages of a run folder, none inside another."""
    return sorted(path.parent for path in folder.rglob(STAGE_FILE) if ".former" not in str(path))


def sealed(stage: Path) -> list[Path]:
    return sorted(path for path in stage.rglob("*") if path.is_file())


def content(folder: Path) -> dict[str, Any]:
    """What the stages of a run hold, but for times."""
    found: dict[str, Any] = {}
    for path in (path for stage in stages(folder) for path in sealed(stage) if path.name != WHOLE):
        name = str(path.relative_to(folder))
        found[name] = without_times(read_json(path)) if path.name == STAGE_FILE else path.read_bytes()
    return found


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in ("seconds", "origin")}
    return [without_times(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_file_of_any_stage_is_named(done: tuple[Recipe, Path], damage: Callable[[bytes], bytes]) -> None:
    checked = 0
    for stage in stages(done[1]):
        chain = {"it": Stage(stage, read_json(stage / STAGE_FILE)["fingerprint"])}
        assert due_stages(chain, ["it"], lambda *_: "changed") == {}
        for path in sealed(stage):
            before = path.read_bytes()
            if damage(before) == before:
                continue
            path.write_bytes(damage(before))
            (reason,) = due_stages(chain, ["it"], lambda *_: "changed").values()
            path.write_bytes(before)
            assert reason.startswith("damaged: "), path
            named = Path(reason.removeprefix("damaged: ").removesuffix("; the stage is made again"))
            assert named == path or path.name == WHOLE, (path, reason)
            checked += 1
    kinds = {path.name for stage in stages(done[1]) for path in sealed(stage)}
    assert checked > 80 and kinds >= {
        "rows.arrow", "lexicon.jsonl", "words.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors",
        "config.json", "lm.json", "knowledge.json", "transfer.json", "questions.jsonl", "stage.json", "whole.json",
    }  # fmt: skip


def victims(folder: Path, number: int) -> Iterator[Path]:
    """A file of each stage, another one for another number."""
    for stage in stages(folder):
        files = sealed(stage)
        yield files[number % len(files)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_ends_as_the_undamaged_one(
    done: tuple[Recipe, Path], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """One file of every stage is damaged at once."""
    recipe, original = done
    folder = tmp_path / "run"
    shutil.copytree(original, folder)
    damaged = [
        path for path in victims(folder, 3 * DAMAGES.index(damage)) if damage(path.read_bytes()) != path.read_bytes()
    ]
    for path in damaged:
        path.write_bytes(damage(path.read_bytes()))
    notes, _, results = run(recipe, folder)
    assert content(folder) == content(original)
    scores = json.loads((original / "results.json").read_text())["scores"]
    assert json.loads(json.dumps(results["scores"])) == scores
    told = [note for note in notes if note.startswith("damaged: ")]
    assert len(told) >= len(damaged) - 1, "what a shared or unread file was is not told"
    assert all(note.endswith("the stage is made again") for note in told)


def test_items_that_results_read_are_made_again_and_nothing_else(done: tuple[Recipe, Path], tmp_path: Path) -> None:
    """A changed lm.json would change intervals and p-values, and nothing else would show it."""
    recipe, original = done
    shutil.copytree(original, tmp_path / "run")
    items = tmp_path / "run" / "arms" / "joint" / "seed-0" / "evaluate" / "lm.json"
    changed = items.read_text().replace("3", "4", 1)
    assert changed != items.read_text()
    items.write_text(changed)
    notes, made, results = run(recipe, tmp_path / "run")
    assert f"damaged: {items}; the stage is made again" in notes
    assert made == {"all arms": set(), "joint": {"evaluate"}, "prealign": set()}
    assert json.dumps(results["comparisons"]) == json.dumps(
        json.loads((original / "results.json").read_text())["comparisons"]
    )


def test_damaged_weights_are_kept_aside_and_their_dependants_stay(done: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, original = done
    shutil.copytree(original, tmp_path / "run")
    folder = tmp_path / "run" / "arms" / "prealign" / "seed-0"
    weights = folder / "align" / "model.safetensors"
    weights.write_bytes(b"")
    notes, made, _ = run(recipe, tmp_path / "run")
    assert made["prealign"] == {"align"}, "pretrain read the weights while they were whole"
    (kept,) = all_former(tmp_path / "run")
    assert (kept / "model.safetensors").read_bytes() == b""
    assert any(str(kept) in note and "`prealign clean` removes it" in note for note in notes)
    assert content(tmp_path / "run") | content(original) == content(tmp_path / "run")

    flipped = flip(weights.read_bytes())
    weights.write_bytes(flipped)
    shutil.rmtree(folder / "evaluate")  # what reads the weights
    notes, made, _ = run(recipe, tmp_path / "run")
    assert made["prealign"] == {"align", "evaluate"} and f"damaged: {weights}; the stage is made again" in notes
    assert flipped in [(kept / "model.safetensors").read_bytes() for kept in all_former(tmp_path / "run")]


def test_a_damaged_export_is_written_again(done: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, _ = done
    arm = toy_experiment.arm(recipe, "prealign", tmp_path / "run")
    arm.execute(last="blocks")
    notes: list[str] = []

    def export() -> tuple[dict[str, Any], bool]:
        return export_blocks(arm, tmp_path / "out", form="binary", shards=1, tell=notes.append)

    index, _ = export()
    for path in sealed(tmp_path / "out"):
        if damaged := path.read_bytes()[1:]:
            path.write_bytes(damaged)
            assert export() == (index, True)
            assert notes.pop() == f"damaged: {path}; the corpus is written again"
    assert export() == (index, False) and not notes


# Former stages


def test_a_changed_setting_is_named_and_the_former_stage_kept_and_used_again(
    done: tuple[Recipe, Path], tmp_path: Path
) -> None:
    recipe, original = done
    shutil.copytree(original, tmp_path / "run")
    folder = tmp_path / "run"
    weights = folder / "arms" / "joint" / "seed-0" / "pretrain" / "model.safetensors"
    before = weights.read_bytes()
    notes, made, _ = run(with_settings(recipe, {"pretrain.learning_rate": 1e-4}), folder)
    assert made["joint"] == {"pretrain", "evaluate", "knowledge", "transfer"}
    learning_rate = recipe.pretrain.learning_rate
    assert f"pretrain.learning_rate {learning_rate} → 0.0001; the stage is made again" in notes
    assert sorted(path.parent.name for path in all_former(folder)) == ["pretrain.former"] * 2
    assert weights.read_bytes() != before

    notes, made, _ = run(recipe, folder)
    assert weights.read_bytes() == before
    assert notes.count("goes back to the stage of these settings, kept earlier") == 2
    assert len(all_former(folder)) == 2, "now those of the other settings"
    assert (
        content(folder)["arms/joint/seed-0/evaluate/lm.json"] == content(original)["arms/joint/seed-0/evaluate/lm.json"]
    )


def test_an_edited_text_is_named_as_what_changed(done: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe = toy_experiment.recipe(tmp_path, arms=["joint"])
    run(recipe, tmp_path / "run")
    with (tmp_path / "en.txt").open("a") as file:
        file.write("Kalo kalo.\n")
    notes, _, _ = run(recipe, tmp_path / "run")
    assert "an input file or an earlier stage changed; the stage is made again" in notes


def test_clean_shows_former_stages_and_removes_them_only_if_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    stage = folder.stage("joint", 0, "pretrain")
    for mark, text in (("m1", "one"), ("m2", "two"), ("m3", "three")):

        def work(partial: Path, text: str = text) -> dict[str, Any]:
            (partial / "weights").write_text(text)
            return {"history": []}

        run_stage(stage, mark, work)
    refused = CliRunner().invoke(app, ["clean", str(tmp_path / "run")])
    assert refused.exit_code == 2 and "not a run folder" in refused.output
    folder.claim("toy", "name: toy\n")
    shown = CliRunner().invoke(app, ["clean", str(tmp_path / "run")])
    assert shown.exit_code == 0 and "nothing is removed; pass --yes" in shown.output
    assert [path.name for path in all_former(tmp_path / "run")] == ["m1", "m2"]
    assert f"{size(stage.with_name('pretrain.former') / 'm1'):,} bytes" in shown.output
    assert CliRunner().invoke(app, ["clean", str(tmp_path / "run"), "--yes"]).exit_code == 0
    assert not all_former(tmp_path / "run") and not stage.with_name("pretrain.former").exists()
    assert (stage / "weights").read_text() == "three"
    again = CliRunner().invoke(app, ["clean", str(tmp_path / "run"), "--yes"])
    assert again.exit_code == 0 and "nothing to remove" in again.output


def test_a_cheap_stage_is_not_kept_and_a_long_one_is(tmp_path: Path) -> None:
    for name, seconds in (("short", 599.0), ("long", 600.0)):
        for mark in ("m1", "m2"):
            run_stage(tmp_path / "data" / name, mark, lambda _, seconds=seconds: {"seconds": seconds})  # type: ignore[misc]
    assert [path.relative_to(tmp_path).as_posix() for path in all_former(tmp_path)] == ["data/long.former/m1"]


@pytest.mark.parametrize(("before", "kept"), [("m1", ["m1.partial"]), ("m2", [])])
def test_force_removes_checkpoints_of_the_same_settings_alone(tmp_path: Path, before: str, kept: list[str]) -> None:
    stage, told = tmp_path / "data" / "tokens", list[str]()
    checkpoint = begin_stage(stage, before) / "scratch" / "checkpoint-9"
    checkpoint.mkdir()
    (checkpoint / "model").write_text("hours")
    run_stage(stage, "m2", lambda _: {}, anew=True, tell=told.append)
    assert [path.name for path in all_former(tmp_path)] == kept
    assert len(told) == 1 and ("are kept in" if kept else "removed, as --force says") in told[0]


def test_force_keeps_a_costly_stage_of_other_settings_that_was_not_renamed_yet(tmp_path: Path) -> None:
    stage = tmp_path / "data" / "tokens"
    run_stage(stage, "m1", lambda _: {"history": []})
    stage.rename(stage.with_name("tokens.partial"))
    run_stage(stage, "m2", lambda _: {}, anew=True)
    assert [path.name for path in all_former(tmp_path)] == ["m1"]


def test_a_fingerprint_that_is_a_path_leads_nowhere(tmp_path: Path) -> None:
    stage = tmp_path / "data" / "tokens"
    run_stage(stage, "m1", lambda _: {"history": []})
    (stage / STAGE_FILE).write_text('{"fingerprint": "../../outside", "history": []}')
    run_stage(stage, "m2", lambda _: {})
    assert [path.name for path in all_former(tmp_path)] == ["unknown"]


# Two commands in one folder


USE = """
import sys
from pathlib import Path
from prealign.run.locks import use
held = use(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_data_that_another_command_uses_are_not_replaced(done: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, original = done
    shutil.copytree(original, tmp_path / "run")
    other = with_settings(recipe, {"lexicon.minimum_count": 1})
    command = [sys.executable, "-c", USE, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        before = content(tmp_path / "run")
        said = rf"lexicon: process {process.pid} on .* uses these data.*minimum_count 2 → 1"
        with pytest.raises(RunFolderError, match=said):
            toy_experiment.prepared(other, tmp_path / "run")
        assert content(tmp_path / "run") == before
        toy_experiment.prepared(recipe, tmp_path / "run")
        process.kill()
    toy_experiment.prepared(other, tmp_path / "run")


def test_a_command_for_another_arm_keeps_the_first_arm_and_its_origin(tmp_path: Path) -> None:
    variants = {"half": {"extends": "joint", "set": {"lexicon.coverage": 0.5}}}
    recipe = toy_experiment.recipe(tmp_path, arms=["half"], variants=variants)
    first = run_experiment(recipe, RunFolder(tmp_path / "run"), lambda _: None, command="first")
    assert first["command"] == "first" and "parts" not in first
    later = with_settings(recipe, {"arms": ["joint"], "variants": {}})
    second = run_experiment(later, RunFolder(tmp_path / "run"), lambda _: None, command="second")
    assert second["recipe"]["arms"] == ["joint", "half"] and second["recipe"]["variants"].keys() == {"half"}
    assert [score for score in second["scores"] if score["arm"] == "half"] == first["scores"]
    assert [(part["arms"], part["command"]) for part in second["parts"]] == [(["half"], "first"), (["joint"], "second")]
    assert second["created"] == second["parts"][-1]["created"] >= second["parts"][0]["created"] == first["created"]
    again = run_experiment(later, RunFolder(tmp_path / "run"), lambda _: None, command="third")
    assert again["parts"] == second["parts"], "a command that makes nothing is the origin of nothing"
    notes, _, other = run(with_settings(later, {"pretrain.learning_rate": 1e-4}), tmp_path / "run")
    assert other["recipe"]["arms"] == ["joint"]
    assert any("leaves out half with seed 0" in note and "pretrain.learning_rate" in note for note in notes)
