"""Shards of many tasks, put together, are what one machine makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import concatenate_datasets

import toy_experiment
from prealign.errors import RunFolderError
from prealign.methods.switching.switch import CodeSwitcher
from prealign.run.data import Prepared
from prealign.text.arrow import load_arrow

pytest.importorskip("datatrove")

from datatrove.executor import LocalPipelineExecutor

from prealign.run.export.datatrove import CountWords, ReadText, SwitchAndPack, Tokenise, joined_counts, shard

TASKS, CONTEXT = 3, 24
SWITCHER: dict[str, Any] = {"ratio": 0.4, "seed": 5}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A run's data, and its training text once more beside it, in five files."""
    folder = tmp_path_factory.mktemp("data")
    made = toy_experiment.recipe(folder / "recipe")
    prepared, _ = toy_experiment.prepared(made, folder / "run")
    lines = (folder / "recipe" / "en.txt").read_text().splitlines()
    numbers = [int(name.partition(":")[2]) - 1 for name in prepared.tokens("en", "train")["document"]]
    (folder / "text").mkdir()
    for i, own in enumerate(np.array_split(numbers, 5)):
        rows = "".join(json.dumps({"text": lines[number]}) + "\n" for number in own)
        (folder / "text" / f"{i}.jsonl").write_text(rows)
    return prepared


def run(folder: Path, *steps: Any, tasks: int = TASKS, workers: int = 1, name: str = "logs") -> None:
    LocalPipelineExecutor(list(steps), tasks=tasks, workers=workers, logging_dir=str(folder / name)).run()


@pytest.fixture(scope="module")
def folder(data: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tasks have left their shards."""
    folder, tokenizer = tmp_path_factory.mktemp("cluster"), str(data.tokenizer_folder)
    tokens = str(folder / "tokens")
    text = ReadText([str(data.folder.parents[1] / "text")])
    run(folder, text, Tokenise(tokenizer, tokens), CountWords(tokenizer, tokens))
    lexicon = str(data.lexicon_file)
    blocks = SwitchAndPack(tokenizer, tokens, str(folder / "blocks"), context=CONTEXT, lexicon=lexicon, **SWITCHER)
    run(folder, blocks, workers=2, name="logs-blocks")
    return folder


def test_tokens_and_words_are_those_of_the_ordinary_preparation(data: Prepared, folder: Path) -> None:
    shards = [load_arrow(shard(folder / "tokens", task)) for task in range(TASKS)]
    assert all(len(own) for own in shards)
    expected = data.tokens("en", "train")
    rows = concatenate_datasets(shards)
    for column in ("input_ids", "bytes"):
        assert rows[column][:] == expected[column][:]
    counts = joined_counts(folder / "tokens")
    assert list(counts.items()) == list(data.words.items())


def test_documents_are_switched_as_by_their_number_in_the_whole(data: Prepared, folder: Path) -> None:
    switcher = CodeSwitcher(data.tokenizer, data.lexicon, **SWITCHER)
    rows, row, switched = data.tokens("en", "train")["input_ids"][:], 0, 0
    for task in range(TASKS):
        expected: tuple[list[int], list[int]] = ([], [])
        for _ in range(len(load_arrow(shard(folder / "tokens", task)))):
            own = switcher.switch(rows[row], document=row)
            expected[0].extend([*own.input_ids.tolist(), data.eos])
            expected[1].extend([*own.labels.tolist(), data.eos])
            row, switched = row + 1, switched + own.switched_words
        blocks = load_arrow(shard(folder / "blocks", task))
        whole = len(expected[0]) // CONTEXT * CONTEXT
        for column, values in zip(("input_ids", "labels"), expected, strict=True):
            assert np.array(blocks[column][:]).ravel().tolist() == values[:whole]
        record = json.loads((shard(folder / "blocks", task) / "stage.json").read_text())
        assert (record["left_out_tokens"], record["blocks"]) == (len(expected[0]) - whole, whole // CONTEXT)
    assert row == len(rows) and switched > 20


def test_complete_tasks_are_not_done_again(data: Prepared, folder: Path) -> None:
    assert {path.name for path in (folder / "logs" / "completions").iterdir()} == {f"{i:05}" for i in range(TASKS)}
    (folder / "logs" / "completions" / "00001").unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("tokens/*/rows.arrow")}
    tokenizer, tokens = str(data.tokenizer_folder), str(folder / "tokens")
    run(
        folder,
        ReadText([str(data.folder.parents[1] / "text")]),
        Tokenise(tokenizer, tokens),
        CountWords(tokenizer, tokens),
    )
    changed = {path.parent.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {"00001"}
    test_tokens_and_words_are_those_of_the_ordinary_preparation(data, folder)


def test_shards_of_other_tasks_are_refused(data: Prepared, folder: Path, tmp_path: Path) -> None:
    step = SwitchAndPack(str(data.tokenizer_folder), str(folder / "tokens"), str(tmp_path), context=CONTEXT)
    with pytest.raises(RunFolderError, match="not those of 2 tasks"):
        list(step(None, 0, 2))
    with pytest.raises(RunFolderError, match=r"not those of 4 tasks .*00000.stage\.json"):
        list(step(None, 0, 4))
    assert not list(tmp_path.glob("*/rows.arrow"))
    list(step(None, 0, TASKS))  # without a lexicon nothing is switched
    blocks = load_arrow(shard(tmp_path, 0))
    assert blocks["input_ids"][:] == blocks["labels"][:]


def test_files_that_are_not_read_are_in_the_log_of_a_task(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.html").write_text("<p>one")
    (tmp_path / "text" / "b.md").write_text("two")
    run(tmp_path, ReadText([str(tmp_path / "text")]), tasks=1)
    (log,) = (tmp_path / "logs" / "logs").iterdir()
    assert "1 of 2 files are not read (1 .md)" in log.read_text()
