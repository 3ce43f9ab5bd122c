"""Parallel text: pairs of a sentence and its translation.

1. Read two files in which line n of one translates line n of the other (Moses, OPUS), or one file of two tab-separated
   columns. Files may be gzipped. Refuse two files of different lengths: the place where they diverge is unknown.
2. Decode each line by itself, without byte order mark and line end. Lines that are not UTF-8, too long, or not of two
   columns are malformed; too many of them are an error, as in a dictionary.
3. Leave out pairs with a blank side. Count everything that is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from prealign.errors import LexiconError
from prealign.files import Decoder, read_lines
from prealign.lexicon.reading_report import TOO_MANY, Tallies, Tally, told_of, too_many
from prealign.strict_json import shown

BLANK = "pairs with a blank side"


@dataclass(frozen=True)
class ParallelText:
    """Pairs of sentences, and the number of lines: len(pairs) + the counts of `dropped`."""

    path: str
    pairs: tuple[tuple[str, str], ...]
    lines: int
    dropped: Mapping[str, Tally]

    @property
    def text(self) -> str:
        """Return a summary, and a line for each reason to leave out pairs."""
        kept = f"{self.path}: {self.lines:,} lines, {len(self.pairs):,} pairs of sentences"
        return "\n".join([kept, *told_of("dropped", self.dropped)])


def read_parallel(paths: Sequence[Path]) -> ParallelText:
    """Read one file of two columns, or two files.

    Raises LexiconError if a file cannot be read, the two differ in length, too many lines are malformed, or no pair is left.
    """
    if len(paths) not in (1, 2):
        raise LexiconError(f"{len(paths)} files of parallel text; give two, or one of two tab-separated columns")
    named = " and ".join(map(str, paths))
    pairs, dropped, lines, malformed = [], Tallies(), 0, 0
    decoders = {path: Decoder() for path in paths}
    sides = [decoders[path] for path in (paths[0], paths[-1])]
    for lines, row in enumerate(_columns(paths[0]) if len(paths) == 1 else _side_by_side(*paths), start=1):
        try:
            if len(row) != 2:
                raise ValueError(f"of {len(row)} columns, not 2")
            source, target = (side.text(raw, lines) for side, raw in zip(sides, row, strict=True))
        except ValueError as error:
            malformed += 1
            dropped.add("malformed lines", f"line {lines} is {error}")
            continue
        if source and target:
            pairs.append((source, target))
        else:
            dropped.add(BLANK, f"line {lines} {shown(source)} → {shown(target)}")
    counted = dropped.counted()
    if too_many(malformed, lines):
        coded = "".join(f" {path}:{decoder.remedy}" for path, decoder in decoders.items() if decoder.undecoded)
        raise LexiconError(
            f"{named}: {malformed:,} of {lines:,} lines are malformed, {TOO_MANY}. Give one file of two tab-separated "
            f"columns, or two files, in UTF-8.{coded} The first: {'; '.join(counted['malformed lines'].examples)}"
        )
    if not pairs:
        raise LexiconError(f"{named}: no pair of sentences among {lines:,} lines; check the paths")
    return ParallelText(named, tuple(pairs), lines, counted)


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
