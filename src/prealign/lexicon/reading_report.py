"""What became of a dictionary file: every line and entry that was dropped or changed, counted, with examples.

1. While a file is read, its `Account` counts: blank, comment and malformed lines, entries dropped and words changed.
2. `Account.texts` decodes the lines one by one, so that a bad byte costs one line, and knows the current line's number.
3. `Account.report` refuses a file of which too many lines are malformed (`too_many`), and closes the account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prealign.errors import LexiconError
from prealign.files import Decoder
from prealign.strict_json import shown
from prealign.wording import some

MAXIMUM_MALFORMED = 0.01
ALLOWED_MALFORMED = 3
"""Lines of a short file, of which 1 % would be none."""
NAMED_LINES = 5
EXAMPLES = 3
# A file of another kind is given up early: its lines are not worth remembering.
_HOPELESS = 10_000

IDENTICAL = "entries identical on both sides"
DUPLICATE = "duplicate entries"
OTHER_LANGUAGES = "entries of other languages"

Columns = Sequence[int | str]
OnSteps = Callable[[str, int, int], None]
"""(what is being done, steps done, steps in all)"""


@dataclass(frozen=True)
class MalformedLine:
    """A line that was skipped; `line` counts from 1."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


@dataclass(frozen=True)
class Tally:
    """How often something happened, and the first examples of it, each with its line."""

    count: int
    examples: tuple[str, ...]


class Tallies:
    """Counts what happens, by reason, and remembers the first examples."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, list[str]]] = {}

    def add(self, reason: str, example: str, number: int = 1) -> None:
        """Count `number` more; `reason` is worded to stand after their number."""
        count, examples = self._found.get(reason, (0, []))
        if len(examples) < EXAMPLES:
            examples.append(example)
        self._found[reason] = (count + number, examples)

    def counted(self) -> dict[str, Tally]:
        """Return what was counted, in the order of the first time."""
        return {reason: Tally(count, tuple(examples)) for reason, (count, examples) in self._found.items()}


def told_of(what: str, tallies: Mapping[str, Tally]) -> list[str]:
    """Return a line for each reason, with its count and examples."""
    return [f"  {what}: {t.count:,} {reason}, such as {'; '.join(t.examples)}" for reason, t in tallies.items()]


@dataclass(frozen=True)
class ReadReport:
    """What became of a file. An entry is one (word, translation) pair; a well-formed line holds any number of them.

    entries = kept + the counts of `dropped`, which tells them by reason; `changed` counts words that were cleaned, by
    what was taken off. `phrases`: kept entries whose source side has several words. `inverted`: the file's second
    side is the source.
    """

    path: str
    format: str
    lines: int
    empty: int
    malformed: tuple[MalformedLine, ...]
    entries: int
    kept: int
    dropped: Mapping[str, Tally] = field(default_factory=dict)
    changed: Mapping[str, Tally] = field(default_factory=dict)
    comments: int = 0
    phrases: int = 0
    inverted: bool = False

    def __str__(self) -> str:
        counted = {
            "empty lines": self.empty,
            "comment lines": self.comments,
            "malformed lines": len(self.malformed),
            **{reason: tally.count for reason, tally in self.dropped.items()},
        }
        dropped = ", ".join(f"{number:,} {what}" for what, number in counted.items() if number) or "nothing"
        read = f"{self.path} ({self.format}): {some(self.lines, 'line')}, {some(self.kept, 'entry', 'entries')} kept"
        phrases = f" ({self.phrases:,} with a source of several words)" if self.phrases else ""
        turned = ", read from its second side to its first" if self.inverted else ""
        return f"{read}{phrases}{turned}; dropped: {dropped}"

    @property
    def text(self) -> str:
        """The summary and, below it, examples of everything that was dropped or changed, a line each."""
        told = [str(self), *(f"  malformed: {line}" for line in self.malformed[:NAMED_LINES])]
        for what, tallies in (("dropped", self.dropped), ("cleaned", self.changed)):
            told += told_of(what, tallies)
        return "\n".join(told)


def too_many(malformed: int, lines: int) -> bool:
    """Whether so many malformed lines make a file useless: more than 1 % and 3 of them, or half of a short file."""
    return malformed > max(MAXIMUM_MALFORMED * lines, ALLOWED_MALFORMED) or malformed * 2 >= lines > 0


TOO_MANY = f"more than {MAXIMUM_MALFORMED:.0%} (in a short file: more than {ALLOWED_MALFORMED}, or half)"


class Account:
    """The counts of a file being read from `source` to `target`.

    columns: two numbers (from 1) or names of a table's columns, if the user gives them.
    """

    def __init__(self, path: Path, source: str, target: str, columns: Columns = ()) -> None:
        self.path, self.source, self.target, self.columns = path, source, target, columns
        self.inverted = False  # whether the file's second side is the source
        self.line = 0
        self.empty = self.comments = 0
        self.malformed: list[MalformedLine] = []
        self.layout: Any = None  # what a format found out about the file at its first entry
        self._decoder, self._dropped, self._changed = Decoder(), Tallies(), Tallies()

    def texts(self, lines: Iterable[bytes], first: int = 1) -> Iterator[str]:
        """Yield every line that is not blank, decoded and stripped; lines that are not UTF-8 are skipped as malformed.

        first: number of the first line.
        """
        self.line = first - 1
        for raw in lines:
            self.line += 1
            try:
                text = self._decoder.text(raw, self.line)
            except ValueError as error:
                self.skip(str(error))
                continue
            if text:
                yield text
            else:
                self.empty += 1

    def skip(self, reason: str) -> None:
        """Note that the current line is malformed; LexiconError if there were thousands of them and little else."""
        self.malformed.append(MalformedLine(str(self.path), self.line, reason))
        if len(self.malformed) >= _HOPELESS and len(self.malformed) * 2 > self.line:
            self._refuse(self.line)

    def drop(self, reason: str, *example: str, number: int = 1, line: int | None = None) -> None:
        """Note that entries of a line (None: the current) are left out; `reason` is worded to stand after their number."""
        self._note(self._dropped, reason, number, example, line)

    def change(self, what: str, before: str, after: str) -> None:
        """Note that `what` was taken off a word of the current line."""
        self._note(self._changed, what, 1, (before, after))

    def _note(
        self, tallies: Tallies, reason: str, number: int, example: Sequence[str], line: int | None = None
    ) -> None:
        tallies.add(reason, f"line {line or self.line} {' → '.join(map(shown, example))}", number)

    def report(self, format: str, *, kept: int, phrases: int = 0) -> ReadReport:
        """Close the account; LexiconError if too many lines are malformed."""
        filled = self.line - self.empty - self.comments
        if too_many(len(self.malformed), filled):
            self._refuse(filled)
        dropped = self._dropped.counted()
        return ReadReport(
            path=str(self.path),
            format=format,
            lines=self.line,
            empty=self.empty,
            malformed=tuple(self.malformed),
            entries=kept + sum(tally.count for tally in dropped.values()),
            kept=kept,
            dropped=dropped,
            changed=self._changed.counted(),
            comments=self.comments,
            phrases=phrases,
            inverted=self.inverted,
        )

    def _refuse(self, lines: int) -> None:
        named = "".join(f"\n  {line}" for line in self.malformed[:NAMED_LINES])
        raise LexiconError(
            f"{self.path}: {len(self.malformed):,} of {lines:,} lines are malformed, {TOO_MANY}; repair the "
            f"file, or name its `format` if this is another one.{self._decoder.remedy} The first malformed:{named}"
        )
