"""Files of labelled text, read strictly: an error gives file, line and remedy.

1. A `.jsonl` file has one object a line; any other file is tab-separated text without quoting. The first line is the header
   if it names the required columns; otherwise the task's `columns` name them.
2. Every row has a label and a text (two for pairs), none of them empty. Skip blank lines.
3. The classes are the labels of the training file. A test file with another label is an error, and so are test files
   declared parallel whose rows differ in number or label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prealign.errors import DataError
from prealign.files import plain_bytes
from prealign.recipe.measures import TransferTask
from prealign.strict_json import check_text, json_value


@dataclass(frozen=True)
class Row:
    """One labelled example; `place` is its FILE:LINE. `texts` has one entry, or two for a pair."""

    texts: tuple[str, ...]
    label: str
    place: str


@dataclass(frozen=True)
class LabelledFiles:
    """The rows of a task's files: `classes` sorted by name, `tests` by language."""

    classes: list[str]
    train: list[Row]
    tests: dict[str, list[Row]]


def read_task(task: TransferTask, source: str) -> LabelledFiles:
    """Read and check a task's files; the source's test is the first of `tests`. Raises DataError."""
    assert task.train is not None, "validation leaves `train` or `passages`"
    train = read_rows(task.train, task)
    classes = sorted({row.label for row in train})
    if len(classes) < 2:
        raise DataError(f"{task.train}: every row has the label {classes[0]!r}. Two classes or more can be told apart.")
    languages = [source, *(language for language in task.tests if language != source)]
    tests = {language: read_rows(task.tests[language], task) for language in languages}
    for rows in tests.values():
        _refuse_new_classes(rows, classes, task.train)
    if task.parallel:
        for language in languages[1:]:
            _refuse_unequal(tests[source], tests[language])
    return LabelledFiles(classes, train, tests)


def read_rows(path: str, task: TransferTask) -> list[Row]:
    """Read one file. Raises DataError if it is missing, empty, ragged or not UTF-8."""
    lines = _numbered_lines(path)
    records = _json_records(path, lines) if Path(path).suffix == ".jsonl" else _table_records(path, lines, task)
    columns = [task.text] if task.pair is None else [task.text, task.pair]
    rows = []
    for number, record in records:
        place = f"{path}:{number}"
        texts = tuple(_cell(record, column, place) for column in columns)
        rows.append(Row(texts, _cell(record, task.label, place), place))
    if not rows:
        raise DataError(f"{path}: no labelled example in it. Give a file with at least one row under its header.")
    return rows


def _numbered_lines(path: str) -> list[tuple[int, str]]:
    try:
        raw = plain_bytes(path)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Paths are relative to where you are.") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8. Convert it, as with `iconv -f ENCODING -t utf-8`.") from None
    # Not splitlines: Unicode line separators occur within sentences.
    return [(i, line.rstrip("\r")) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _json_records(path: str, lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in lines:
        try:
            record = json_value(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}. Mend or remove the line.") from None
        if not isinstance(record, dict):
            raise DataError(f"{path}:{number}: expected an object with named values, got {line[:60]!r}.")
        yield number, record


def _table_records(
    path: str, lines: Sequence[tuple[int, str]], task: TransferTask
) -> Iterator[tuple[int, Mapping[str, object]]]:
    if not lines:
        return
    needed = {column for column in (task.text, task.pair, task.label) if column is not None}
    first = lines[0][1].split("\t")
    header = needed <= set(first)
    if not header and task.columns is None:
        missing = ", ".join(repr(column) for column in sorted(needed - set(first)))
        raise DataError(
            f"{path}:{lines[0][0]}: no column {missing} in the header {first}. Set text, pair and label to the names of "
            "its columns; for a file without a header set columns, as in columns: [premise, hypothesis, label]."
        )
    names = first if header else task.columns or []
    for number, line in lines[1:] if header else lines:
        cells = line.split("\t")
        if len(cells) != len(names):
            raise DataError(f"{path}:{number}: {len(cells)} columns, expected {len(names)}: {', '.join(names)}.")
        yield number, dict(zip(names, cells, strict=True))


def _cell(record: Mapping[str, object], column: str, place: str) -> str:
    if column not in record:
        raise DataError(
            f"{place}: no value {column!r}, only {', '.join(record)}. Set text, pair and label to their names."
        )
    value = record[column]
    # Labels are often numbers; a nested value has no unique text.
    if not isinstance(value, str | int | float) or not str(value).strip():
        raise DataError(f"{place}: {column!r} is empty or no text ({value!r}). Fill it in, or remove the row.")
    try:
        return check_text(str(value).strip(), repr(column))
    except ValueError as error:
        raise DataError(f"{place}: {error}. Mend it, or remove the row.") from None


def _refuse_new_classes(rows: Sequence[Row], classes: Sequence[str], train: str) -> None:
    known = set(classes)
    row = next((row for row in rows if row.label not in known), None)
    if row is not None:
        raise DataError(
            f"{row.place}: the class {row.label!r} is not in the training data {train} (it has {', '.join(classes)}). "
            "Name the classes alike in both, or remove such rows."
        )


def _refuse_unequal(source: Sequence[Row], target: Sequence[Row]) -> None:
    """Raise DataError if parallel test files differ in their number of rows or in a label."""
    files = [rows[0].place.rpartition(":")[0] for rows in (target, source)]
    remedy = "Mend the files, or set parallel: false if their rows are not the same items."
    if len(source) != len(target):
        raise DataError(f"{files[0]} has {len(target)} rows and {files[1]} has {len(source)}. {remedy}")
    for one, other in zip(source, target, strict=True):
        if one.label != other.label:
            raise DataError(f"{other.place}: labelled {other.label!r}, but {one.place} is {one.label!r}. {remedy}")
