"""Labelled files: what is read, and what is refused with file, line and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from noise import checked, noise
from prealign.errors import DataError
from prealign.evaluation.transfer.files import Row, read_rows, read_task
from prealign.recipe.measures import TransferTask

PAIRS = "premise\thypothesis\tlabel\nA cat.\tAn animal.\tyes\nA dog.\tA cat.\tno\n"
BARE = "A cat.\tAn animal.\tyes\nA dog.\tA cat.\tno\n"


def pair_task(folder: Path, train: str = PAIRS, **tests: str) -> TransferTask:
    """A task on files of this content: train.tsv and LANGUAGE.tsv, the English test being BARE if not given."""
    contents = {"train": train, "en": BARE} | tests
    for name, content in contents.items():
        (folder / f"{name}.tsv").write_text(content, encoding="utf-8")
    return TransferTask(
        name="nli",
        train=str(folder / "train.tsv"),
        tests={name: str(folder / f"{name}.tsv") for name in contents if name != "train"},
        columns=["premise", "hypothesis", "label"],
        text="premise",
        pair="hypothesis",
    )


def error(folder: Path, train: str = PAIRS, **tests: str) -> str:
    with pytest.raises(DataError) as caught:
        read_task(pair_task(folder, train, **tests), "en")
    return str(caught.value).replace(f"{folder}/", "")


def test_files_with_and_without_header_are_read_by_one_task(tmp_path: Path) -> None:
    found = read_task(pair_task(tmp_path, de="Ein\u2028Tier\tX \ty\u0065s\r\n\nHund\tKatze\tno\n"), "en")
    assert found.classes == ["no", "yes"]
    assert [row.texts for row in found.train] == [("A cat.", "An animal."), ("A dog.", "A cat.")]
    assert [row.place.rpartition(":")[2] for row in found.train] == ["2", "3"]
    assert list(found.tests) == ["en", "de"]
    assert found.tests["de"] == [
        Row(("Ein\u2028Tier", "X"), "yes", f"{tmp_path}/de.tsv:1"),
        Row(("Hund", "Katze"), "no", f"{tmp_path}/de.tsv:3"),
    ]


def test_jsonl_with_numbers_as_labels(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('\ufeff{"text": "good", "label": 1}\n{"label": 0, "text": "bad", "more": null}\n')
    rows = read_rows(str(path), TransferTask(name="t", train=str(path)))
    assert [(row.texts, row.label) for row in rows] == [(("good",), "1"), (("bad",), "0")]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"en": "A cat.\tAn animal.\t \n"}, "en.tsv:1: 'label' is empty"),
        ({"en": "A cat.\t\tyes\n"}, "en.tsv:1: 'hypothesis' is empty"),
        ({"en": BARE + "A\tB\n"}, "en.tsv:3: 2 columns, expected 3: premise, hypothesis, label"),
        (
            {"en": BARE + "A\tB\tmaybe\n"},
            "en.tsv:3: the class 'maybe' is not in the training data train.tsv (it has no",
        ),
        ({"en": ""}, "en.tsv: no labelled example"),
        ({"en": "premise\thypothesis\tlabel\n"}, "en.tsv: no labelled example"),
        ({"train": "A\tB\tyes\n"}, "train.tsv: every row has the label 'yes'"),
        ({"de": BARE + "A\tB\tno\n"}, "de.tsv has 3 rows and en.tsv has 2"),
        ({"de": "A cat.\tAn animal.\tno\nA dog.\tA cat.\tno\n"}, "de.tsv:1: labelled 'no', but en.tsv:1 is 'yes'"),
    ],
)
def test_what_is_wrong_with_a_table(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    message = error(tmp_path, **files)
    assert message.startswith(expected)
    assert len(message) > len(expected)


def test_files_that_are_not_parallel_may_be_unequal(tmp_path: Path) -> None:
    task = pair_task(tmp_path, de=BARE + "A\tB\tno\n").model_copy(update={"parallel": False})
    assert len(read_task(task, "en").tests["de"]) == 3


def test_a_missing_column_says_how_to_name_columns(tmp_path: Path) -> None:
    task = pair_task(tmp_path).model_copy(update={"columns": None})
    with pytest.raises(DataError, match=r"en\.tsv:1: no column 'hypothesis', 'label', 'premise'.*set columns"):
        read_task(task, "en")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"text": "a", "label": "x"}\n{"text": "b"}\n', ":2: no value 'label', only text"),
        (b'{"text": "a", "label": null}\n', ":1: 'label' is empty"),
        (b'{"text": ["a"], "label": 1}\n', ":1: 'text' is empty or no text"),
        (b'\n{"text": "a" "label": 1}\n', ":2: not JSON"),
        (b"[1, 2]\n", ":1: expected an object"),
        (b"[" * 200_000, ":1: JSON with a number too long, or nested too deeply"),
        (b'{"text": "a", "label": ' + b"7" * 5000 + b"}", ":1: JSON with a number too long"),
        (b'{"text": "a\\ud800", "label": 1}', ":1: 'text' holds half a surrogate pair"),
        (b'{"text": "a", "label": 1}\n{"text": "\xe9", "label": 1}\n', ":2: not UTF-8"),
    ],
)
def test_what_is_wrong_with_jsonl(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_rows(str(path), TransferTask(name="t", train=str(path)))
    assert str(caught.value).startswith(f"{path}{expected}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    task: Any = pair_task(tmp_path)
    (tmp_path / "en.tsv").unlink()
    with pytest.raises(DataError, match=r"en\.tsv: cannot be read \(No such file"):
        read_task(task, "en")


@pytest.mark.parametrize("name", ["t.jsonl", "t.tsv"])
@checked
@given(noise(['{"text": "a", "label": "x"}', "text\tlabel", "a\tx"], ["text", "label"]))
def test_any_bytes_are_rows_or_an_error_that_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    try:
        rows = read_rows(str(path), TransferTask(name="t", train=str(path)))
    except DataError as error:
        assert str(error).startswith(str(path))
        return
    assert rows and all(part.strip() and part.encode() for row in rows for part in (*row.texts, row.label))
