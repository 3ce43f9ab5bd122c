"""The corpus for other trainers is what stage 2 of the run trains on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import load_from_disk

import tokenizers_in_memory as memory
import toy_experiment
from prealign.errors import RecipeError, RunFolderError
from prealign.files import read_json
from prealign.run.export.blocks import check_target, export_blocks
from prealign.run.stages import ArmRun
from prealign.text.arrow import load_arrow
from toy_targets import recipe as two_targets

DOCS = Path(__file__).parents[2] / "docs" / "corpora.md"


@pytest.fixture(scope="module", params=["clone", "two targets"])
def arm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ArmRun:
    """An arm whose blocks are written: PreAlign, or joint training with target text switched too, in two targets."""
    folder = tmp_path_factory.mktemp("arm")
    if request.param == "clone":
        made = toy_experiment.arm(toy_experiment.recipe(folder), "prealign", folder / "run")
    else:
        made = toy_experiment.arm(two_targets(folder), "joint_input_cs", folder / "run", seed=3)
    made.execute(last="blocks")
    return made


def trained_on(arm: ArmRun) -> dict[str, np.ndarray]:
    """The blocks of the run, each column an array (N, T)."""
    blocks = load_arrow(arm.folder("blocks"))
    return {column: np.array(blocks[column][:]) for column in ("input_ids", "labels")}


def read(folder: Path) -> dict[str, np.ndarray]:
    index = read_json(folder / "index.json")
    return {
        column: np.concatenate([np.fromfile(folder / shard[column], dtype) for shard in index["shards"]]).reshape(
            -1, index["context"]
        )
        for column, dtype in index["dtype"].items()
    }


@pytest.mark.parametrize("shards", [1, 3])
def test_arrow_and_binary_are_the_blocks_of_the_run(arm: ArmRun, tmp_path: Path, shards: int) -> None:
    expected = trained_on(arm)
    index, written = export_blocks(arm, tmp_path / "arrow", form="arrow", shards=shards)
    assert written
    rows = load_from_disk(tmp_path / "arrow")
    assert len(list((tmp_path / "arrow").glob("*.arrow"))) == shards
    binary, _ = export_blocks(arm, tmp_path / "binary", form="binary", shards=shards)
    assert len(binary["shards"]) == shards
    for column, values in expected.items():
        assert np.array_equal(rows[column][:], values)
        assert np.array_equal(read(tmp_path / "binary")[column], values)
    assert index["supervised"] == (expected["labels"] != -100).sum() < expected["labels"].size == index["tokens"]
    assert index["record"]["switched_words"] > 0
    assert sum(shard["blocks"] for shard in binary["shards"]) == index["blocks"] == arm.main_phase.steps * 4


@pytest.mark.parametrize(("hole", "dtype"), [(20, "<u2"), (70_000, "<u4")])
def test_a_separator_after_a_hole_in_the_vocabulary_is_exported_as_it_is(tmp_path: Path, hole: int, dtype: str) -> None:
    memory.with_a_hole(hole).save_pretrained(tmp_path / "tokenizer")
    recipe = toy_experiment.recipe(tmp_path, tokenizer={"path": str(tmp_path / "tokenizer")}, align__steps=1)
    made = toy_experiment.arm(recipe, "joint", tmp_path / "run")
    made.execute(last="blocks")
    index, _ = export_blocks(made, tmp_path / "binary", form="binary", shards=1)
    assert (index["dtype"]["input_ids"], index["eos"]) == (dtype, 599 + hole)
    assert made.prepared.vocab_size == index["vocab_size"] == 600 + hole + 599
    found = read(tmp_path / "binary")["input_ids"]
    assert np.array_equal(found, trained_on(made)["input_ids"])
    assert (found == 599 + hole).any()


def test_ids_take_four_bytes_where_two_do_not_do(arm: ArmRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, _ = export_blocks(arm, tmp_path / "small", form="binary", shards=1)
    assert small["dtype"] == {"input_ids": "<u2", "labels": "<i4"}
    monkeypatch.setattr(type(arm.prepared), "vocab_size", 2**16 + 1)
    large, _ = export_blocks(arm, tmp_path / "large", form="binary", shards=1)
    assert large["dtype"]["input_ids"] == "<u4"
    assert np.array_equal(read(tmp_path / "large")["input_ids"], trained_on(arm)["input_ids"])


def test_the_reader_in_the_docs_reads_them(arm: ArmRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_blocks(arm, tmp_path / "corpus", form="binary", shards=2)
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {"rows": []}
    exec(code + "        rows.append((inputs.tolist(), targets.tolist()))\n", found)
    expected = trained_on(arm)
    assert found["rows"] == [
        (ids[:-1].tolist(), labels[1:].tolist())
        for ids, labels in zip(expected["input_ids"], expected["labels"], strict=True)
    ]


def test_a_second_time_nothing_is_written_and_other_settings_write_anew(arm: ArmRun, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    first, written = export_blocks(arm, out, form="binary", shards=1)
    assert written and export_blocks(arm, out, form="binary", shards=1) == (first, False)
    assert export_blocks(arm, out, form="arrow", shards=1)[1]
    assert not list(out.glob("*.bin"))
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "corpus.lock"}


def test_what_is_no_corpus_is_left_as_it_is(arm: ArmRun, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "thesis.txt", arm.run.root, arm.folder("blocks")):
        with pytest.raises(RunFolderError, match="no corpus of prealign"):
            export_blocks(arm, out, form="arrow", shards=1)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    with pytest.raises(RecipeError, match="did you mean 'binary'"):
        export_blocks(arm, tmp_path / "out", form="binry", shards=1)
    with pytest.raises(RecipeError, match=r"--shards 999: there are only \d+ blocks"):
        export_blocks(arm, tmp_path / "out", form="arrow", shards=999)


def test_the_working_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    for out in (".", "..", "", "../..", str(tmp_path / "a" / "b"), "/"):
        with pytest.raises(RunFolderError, match="is the working folder, or one above it"):
            check_target(Path(out), "arrow")
    check_target(Path("corpus"), "arrow")


def test_an_export_that_is_cut_off_leaves_no_corpus(
    arm: ArmRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("prealign.run.export.blocks._index", full_disk)
        with pytest.raises(OSError):
            export_blocks(arm, tmp_path / "corpus", form="binary", shards=2)
    assert not (tmp_path / "corpus").exists()
    export_blocks(arm, tmp_path / "corpus", form="binary", shards=1)
    names = {path.name for path in (tmp_path / "corpus").iterdir()}
    assert names == {
        "index.json",
        "stage.json",
        "tokenizer",
        "whole.json",
        *(f"{c}-00000-of-00001.bin" for c in ("input_ids", "labels")),
    }
