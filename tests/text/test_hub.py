"""Streams of datasets, here of folders in the form that the hub has them."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from datasets import Dataset

import toy_experiment
from prealign.errors import CorpusError
from prealign.events import Progress
from prealign.recipe.arms import with_settings
from prealign.run.folder import RunFolder
from prealign.run.preparation.prepare import data_marks, prepare
from prealign.text.corpus import load_text, read_documents

TEXTS = ["one house", "", "two Häuser", None, "three", "four"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        (tmp_path / "corpus" / split).mkdir(parents=True)
        rows = {"text": TEXTS if split == "train" else ["held out"], "body": ["b"] * (6 if split == "train" else 1)}
        Dataset.from_dict(rows).to_parquet(tmp_path / "corpus" / split / "0.parquet")
    return tmp_path


def read(source: str) -> tuple[list[tuple[str, str]], str]:
    told: list[str] = []
    found = list(read_documents([source], tell=told.append))
    (summary,) = told
    return found, summary


def test_rows_are_documents_and_what_was_read_is_told(folder: Path) -> None:
    found, told = read("hub:corpus")
    assert found == [(f"corpus:{i}", text) for i, text in enumerate(TEXTS, 1) if text]
    size = sum(len(text.encode()) for text in TEXTS if text)
    assert told == f"hub:corpus: read to its end: 4 documents of {size} bytes (2 without text)"
    assert read("hub:corpus?split=test")[0] == [("corpus:1", "held out")]
    assert read("hub:corpus?column=body")[0][5] == ("corpus:6", "b")


@pytest.mark.parametrize(
    ("limit", "number"), [("documents=2", 2), ("documents=99", 4), ("bytes=9", 1), ("bytes=10", 2), ("bytes=20", 2)]
)
def test_reading_ends_at_a_limit(folder: Path, limit: str, number: int) -> None:
    found, told = read(f"hub:corpus?{limit}")
    assert [text for _, text in found] == [text for text in TEXTS if text][:number]
    assert ("read to its limit" in told) == (number < 4)
    assert f": {number} document{'s' if number != 1 else ''} of" in told


def test_json_lines_and_the_same_dataset_twice(folder: Path) -> None:
    (folder / "lines").mkdir()
    (folder / "lines" / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a", "b")))
    rows = load_text(["hub:lines", "hub:lines"], "file", folder / "cache")
    assert rows["document"][:] == ["lines:1", "lines:2", "lines:1#2", "lines:2#2"]
    assert rows["text"][:] == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hub:corpus?colum=text", "no option 'colum'; there are config, split, column"),
        ("hub:corpus?documents=many", "documents is 'many'; give a whole number above 0"),
        ("hub:corpus?bytes=0", "bytes is '0'"),
        ("hub:corpus?column=words", "no column 'words'; there are text, body. Add column=NAME"),
        ("hub:corpus?split=dev", r"cannot be read \(.*dev.*\)\. Is the name right"),
    ],
)
def test_a_mistake_is_one_message(folder: Path, source: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message) as found:
        list(read_documents([source]))
    assert "\n" not in str(found.value)


def test_without_a_network_the_message_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        CorpusError, match=r"hub:someone/text\S*: cannot be read \(.*hf download .* someone/text"
    ) as found:
        list(read_documents(["hub:someone/text?documents=3"]))
    assert "\n" not in str(found.value)


def test_a_run_reads_a_dataset_and_shows_how_much(folder: Path) -> None:
    made = toy_experiment.recipe(folder)
    lines = (folder / "en.txt").read_text().splitlines()
    (folder / "hub").mkdir()
    Dataset.from_dict({"text": lines}).to_parquet(folder / "hub" / "train.parquet")
    settings = {"source.text": ["hub:hub?documents=50"]}
    told: list[Progress] = []
    data, _ = prepare(with_settings(made, settings), RunFolder(folder / "run"), told.append)
    (note,) = (progress.note for progress in told if progress.note)
    assert note.startswith("hub:hub?documents=50: read to its limit: 50 documents of")
    assert data.record["read"] == [note]
    assert sum(data.record["corpus"]["en"][split]["documents"] for split in ("train", "validation", "test")) < 50
    before = data_marks(with_settings(made, settings))
    Dataset.from_dict({"text": lines[::-1]}).to_parquet(folder / "hub" / "train.parquet")
    assert data_marks(with_settings(made, settings)) != before, "a folder's files are part of the data"
