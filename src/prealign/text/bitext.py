"""Parallel text: pairs of a sentence and its translation.

1. Read two files in which line n of one translates line n of the other (Moses, OPUS), or one file: TMX, JSONL with a text
   for each language tag, or two tab-separated columns. Files may be gzipped. Refuse two files of different lengths: the
   place where they diverge is unknown.
2. Decode each line by itself, without byte order mark and line end. Lines that are not UTF-8, too long, or without the two
   texts are malformed; too many of them are an error, as in a dictionary. Several segments of a language in a unit of TMX
   make several pairs.
3. Leave out pairs with a blank side, and those after the first `limit`. Count everything that is left out.
4. In tokens, a language's pairs are two columns of an Arrow file. `write_documents` joins each pair into one document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, Value
from datasets import Sequence as ListOf

from prealign.errors import LexiconError
from prealign.files import Decoder, read_lines
from prealign.languages import same
from prealign.lexicon.formats.kinds import root_element
from prealign.lexicon.formats.markup import segments, units
from prealign.lexicon.reading_report import TOO_MANY, Tallies, Tally, told_of, too_many
from prealign.strict_json import check_text, json_object, shown
from prealign.text.arrow import arrow_from_tables, list_array, load_arrow, ragged
from prealign.text.ragged import IntArray, Ragged, edges
from prealign.wording import some

BLANK = "pairs with a blank side"
OTHER_LANGUAGES = "units that lack one of the two languages"
_IDS = ListOf(Value("int32"))
PAIRS = Features({"source": _IDS, "target": _IDS})
_DOCUMENTS = Features({"input_ids": _IDS})
_PART = 2**16  # pairs

TokenPairs = tuple[Ragged, Ragged]
"""Sentences of the source and of a target in token ids, without special tokens; row i translates row i."""


@dataclass(frozen=True)
class ParallelText:
    """Pairs of sentences, and the number of pairs in the file: len(pairs) + the counts of `dropped`."""

    path: str
    pairs: tuple[tuple[str, str], ...]
    lines: int
    dropped: Mapping[str, Tally]

    @property
    def text(self) -> str:
        """Return a summary, and a line for each reason to leave out pairs."""
        kept = f"{self.path}: {some(self.lines, 'line')}, {some(len(self.pairs), 'pair')} of sentences"
        return "\n".join([kept, *told_of("dropped", self.dropped)])


def read_parallel(paths: Sequence[Path], source: str, target: str, *, limit: int | None = None) -> ParallelText:
    """Read one file that has both languages, or the file of `source` and that of `target`.

    Raises LexiconError if a file cannot be read, the two differ in length, too many lines are malformed, or no pair is left.
    """
    if len(paths) not in (1, 2):
        raise LexiconError(
            f"{len(paths)} files of parallel text; give two, or one: two tab-separated columns, TMX or JSONL"
        )
    named = " and ".join(map(str, paths))
    decoders = {path: Decoder() for path in paths}
    what, records, parse = _format(paths, [decoders[path] for path in (paths[0], paths[-1])], source, target)
    pairs, dropped, lines, malformed = list[tuple[str, str]](), Tallies(), 0, 0
    for number, record in enumerate(records, start=1):
        try:
            found = parse(record, number)
        except ValueError as error:
            malformed, lines = malformed + 1, lines + 1
            dropped.add("malformed lines", f"{what} {number} is {error}")
            continue
        if not found:
            dropped.add(OTHER_LANGUAGES, f"{what} {number}")
        lines += max(1, len(found))
        for one, other in found:
            if not one or not other:
                dropped.add(BLANK, f"{what} {number} {shown(one)} → {shown(other)}")
            elif limit is not None and len(pairs) >= limit:
                dropped.add(f"pairs after the first {limit:,}", f"{what} {number} {shown(one)} → {shown(other)}")
            else:
                pairs.append((one, other))
    counted = dropped.counted()
    if too_many(malformed, lines):
        coded = "".join(f" {path}:{decoder.remedy}" for path, decoder in decoders.items() if decoder.undecoded)
        raise LexiconError(
            f"{named}: {malformed:,} of {lines:,} lines are malformed, {TOO_MANY}. Give one file of two tab-separated "
            f"columns, or two files, in UTF-8; or TMX, or JSONL.{coded} "
            f"The first: {'; '.join(counted['malformed lines'].examples)}"
        )
    if not pairs and limit != 0:
        raise LexiconError(
            f"{named}: no pair of sentences among {lines:,} lines; check the paths, and the languages {source} and {target}"
        )
    return ParallelText(named, tuple(pairs), lines, counted)


_Parse = Callable[[Any, int], list[tuple[str, str]]]
"""The pairs of a record with its number; ValueError if it is malformed, none if it is of other languages."""


def _format(
    paths: Sequence[Path], decoders: Sequence[Decoder], source: str, target: str
) -> tuple[str, Iterable[Any], _Parse]:
    """Return what a record of the files is called, the records, and what reads one."""

    def columns(row: Sequence[bytes], number: int) -> list[tuple[str, str]]:
        if len(row) != 2:
            raise ValueError(f"of {len(row)} columns, not 2")
        one, other = (side.text(raw, number) for side, raw in zip(decoders, row, strict=True))
        return [(one, other)]

    def fields(raw: bytes, number: int) -> list[tuple[str, str]]:
        line = decoders[0].text(raw, number)
        if not line:
            return [("", "")]
        record = json_object(line)
        texts = record.get("translation", record)
        if not isinstance(texts, dict):
            raise ValueError(f"without an object in `translation`: {shown(line)}")
        one, other = (_text_of(texts, tag) for tag in (source, target))
        return [(one, other)]

    def variants(unit: bytes, number: int) -> list[tuple[str, str]]:
        return [(one.strip(), other.strip()) for one, other in product(*segments(unit.decode(), source, target))]

    if len(paths) == 2:
        return "line", _side_by_side(*paths), columns
    if root_element(paths[0]) == "tmx":
        return "unit", units(paths[0]), variants
    if _is_json(paths[0]):
        return "line", read_lines(paths[0]), fields
    return "line", _columns(paths[0]), columns


def _is_json(path: Path) -> bool:
    first = next((line for line in map(bytes.strip, read_lines(path)) if line), b"")
    return first.removeprefix(b"\xef\xbb\xbf").startswith(b"{")


def _text_of(texts: Mapping[str, Any], language: str) -> str:
    """Return the text of a language in a JSON object whose keys are tags; ValueError if there is none."""
    key = language if language in texts else next((own for own in texts if same(own, language)), None)
    if key is None:
        raise ValueError(f"without a text of `{language}`: its keys are {', '.join(map(shown, texts))}")
    if texts[key] == "":
        return ""
    try:
        return check_text(texts[key], f"key `{key}`").strip()
    except ValueError as error:
        raise ValueError(f"wrong: {error}") from None


def _columns(path: Path) -> Iterator[Sequence[bytes]]:
    # Not stripped: an empty second column is a column, and its pair is blank.
    return (raw.rstrip(b"\r\n").split(b"\t") if raw.strip() else (b"", b"") for raw in read_lines(path))


def _side_by_side(one: Path, other: Path) -> Iterator[Sequence[bytes]]:
    counts = [0, 0]
    for row in zip_longest(read_lines(one), read_lines(other)):
        counts = [count + (raw is not None) for count, raw in zip(counts, row, strict=True)]
        if counts[0] == counts[1]:
            yield row
    if counts[0] != counts[1]:
        raise LexiconError(
            f"{one} has {counts[0]:,} lines, {other} has {counts[1]:,}; line n of one has to translate line n of the other. "
            "Take both from one download, and remove blank lines from neither"
        )


# --- in tokens ------------------------------------------------------------------------------------


def token_table(source: Ragged, target: Ragged) -> pa.Table:
    """Return pairs in token ids as a table of `PAIRS`."""
    columns = {"source": source, "target": target}
    arrays = {name: list_array(own.values, own.offsets) for name, own in columns.items()}
    return pa.table(arrays, schema=PAIRS.arrow_schema)


def load_pairs(folder: Path) -> TokenPairs:
    """Read the pairs in token ids that `arrow_from_tables` wrote."""
    table = load_arrow(folder).data.table
    if not len(table):
        return Ragged.of([]), Ragged.of([])
    return ragged(table, "source"), ragged(table, "target")


def write_documents(pairs: TokenPairs, separators: tuple[IntArray, IntArray], folder: Path) -> Dataset:
    """Write a document a pair: in even rows the source's sentence, its separator and the translation; in odd rows the
    translation, its separator and the source's sentence. `separators`: token ids, the source's and the target's.
    """

    def tables() -> Iterator[pa.Table]:
        for first in range(0, len(pairs[0]), _PART):
            rows = np.arange(first, min(first + _PART, len(pairs[0])))
            documents = _documents(tuple(side.take(rows) for side in pairs), separators, rows % 2 == 1)
            ids = list_array(documents.values, documents.offsets)
            yield pa.table({"input_ids": ids}, schema=_DOCUMENTS.arrow_schema)

    return arrow_from_tables(tables, _DOCUMENTS, folder)


def _documents(pairs: tuple[Ragged, ...], separators: tuple[IntArray, IntArray], turned: np.ndarray) -> Ragged:
    number = len(pairs[0])
    parts = [*pairs, Ragged.of(separators)]
    joined = Ragged(
        np.concatenate([part.values for part in parts]), edges(np.concatenate([part.lengths for part in parts]))
    )
    source, target = np.arange(number), number + np.arange(number)
    order = np.stack(
        [
            np.where(turned, target, source),
            np.where(turned, 2 * number + 1, 2 * number),
            np.where(turned, source, target),
        ],
        axis=1,
    )  # (pairs, 3)
    taken = joined.take(order.ravel())
    return Ragged(taken.values, taken.offsets[::3])
