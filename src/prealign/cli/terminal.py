"""Terminal output of a run: progress and tables. Under a launcher only the first process prints."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from prealign.training import launch


def plain_console(**settings: Any) -> Console:
    """Return a console without markup and emoji: [b] and :100: in names of files and words are printed literally."""
    return Console(highlight=False, markup=False, emoji=False, **settings)


console = plain_console(quiet=not launch.is_first())
# Tables keep their width; a narrower terminal wraps their lines.
wide = plain_console(width=400, quiet=not launch.is_first())


def say(text: str) -> None:
    """Print text without line wrapping."""
    console.print(text, soft_wrap=True)


@contextmanager
def json_output() -> Iterator[None]:
    """Keep standard output free for JSON: messages go to standard error, and tables are not printed."""
    quiet = wide.quiet
    console.stderr, wide.quiet = True, True
    try:
        yield
    finally:
        console.stderr, wide.quiet = False, quiet


def print_json(value: Any) -> None:
    """Print a value as JSON to standard output; under a launcher only the first process does."""
    if launch.is_first():
        print(json.dumps(value, ensure_ascii=False, indent=2))


class Watch:
    """Shows events: on a terminal as bars with rate and time left, elsewhere as a plain line every few seconds."""

    LINE_EVERY = 15.0  # seconds

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("{task.description:<44}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.tasks: dict[tuple[str, int, str], TaskID] = {}
        self.printed: dict[tuple[str, int], float] = {}

    def __enter__(self) -> Watch:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def show(self, event: Any) -> None:
        """Show one event: a note, the end of an arm (early or not), or progress."""
        if event.progress is not None and event.progress.note:
            note = f"{event.progress.stage}: {event.progress.note}"
            self.console.print(f"  {_named(event)} · {note}", soft_wrap=True)
        elif event.unfinished:
            self.console.print(f"  {_named(event)} · unfinished: {event.unfinished}", soft_wrap=True)
            self._remove_bars(event)
        elif event.stages is not None:
            self._finish(event)
        elif self.console.is_terminal:
            self._bar(event)
        else:
            self._line(event)

    def _finish(self, event: Any) -> None:
        name = _named(event)
        done = [stage for stage, ran in event.stages.items() if ran]
        fresh = [stage for stage, ran in event.stages.items() if not ran]
        words = ([f"done: {', '.join(done)}"] if done else []) + (
            [f"unchanged, skipped: {', '.join(fresh)}"] if fresh else []
        )
        self.console.print(f"  {name:<32} {'; '.join(words)}", soft_wrap=True)
        self._remove_bars(event)

    def _remove_bars(self, event: Any) -> None:
        for key in [key for key in self.tasks if key[:2] == (event.arm, event.seed)]:
            self.bars.remove_task(self.tasks.pop(key))

    def _bar(self, event: Any) -> None:
        p = event.progress
        key = (event.arm, event.seed, p.stage)
        if key not in self.tasks:
            self.tasks[key] = self.bars.add_task(f"{event.arm} seed {event.seed} · {p.stage}", total=p.steps, rate="")
        self.bars.update(self.tasks[key], completed=p.step, rate=_rate(p))

    def _line(self, event: Any) -> None:
        p, key = event.progress, (event.arm, event.seed)
        if p.step < p.steps and time.monotonic() - self.printed.get(key, 0.0) < self.LINE_EVERY:
            return
        self.printed[key] = time.monotonic()
        left = f"{p.seconds / p.step * (p.steps - p.step):.0f} s left" if p.step else ""
        said = (f"{event.arm} seed {event.seed} · {p.stage} {p.step:,}/{p.steps:,}", _rate(p), left)
        self.console.print(f"  {' '.join(part for part in said if part)}", soft_wrap=True)


def _named(event: Any) -> str:
    return f"{event.arm} seed {event.seed}" if event.arm != "all arms" else event.arm


def _rate(progress: Any) -> str:
    loss = f" loss {progress.loss:.3f}" if progress.loss is not None else ""
    return f"{progress.tokens / progress.seconds:,.0f} tokens/s{loss}" if progress.tokens and progress.seconds else ""


def print_tables(tables: list[Any]) -> None:
    """Print `Table` objects of `prealign.report.tables.table`; one that is wider than a terminal as lists of numbers."""
    for table in tables:
        if console.is_terminal and table_width(table) > console.width:
            wide.print("\n".join(narrow(table, console.width)), soft_wrap=True)
            continue
        grid = Table(
            title=table.title,
            caption=table.note,
            title_justify="left",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for number, column in enumerate(table.columns):
            grid.add_column(column, justify="left" if number < table.labels else "right", no_wrap=True)
        for row in table.rows:
            grid.add_row(*row)
        wide.print(grid)


def table_width(table: Any) -> int:
    """Return the width of a table as a grid: its columns, three spaces apart."""
    widths = [max(len(cells[number]) for cells in (table.columns, *table.rows)) for number in range(len(table.columns))]
    return sum(widths) + 3 * len(widths) - 1


def narrow(table: Any, width: int) -> list[str]:
    """Return the lines of a table in which each row is a heading with a line for each number."""
    name = max(map(len, table.columns[table.labels :]), default=0)
    lines = [table.title, "─" * min(width, len(table.title))]
    for row in table.rows:
        lines += textwrap.wrap(" · ".join(cell for cell in row[: table.labels] if cell), width)
        for column, cell in zip(table.columns[table.labels :], row[table.labels :], strict=True):
            lines += textwrap.wrap(
                f"  {column.ljust(name)}  {cell}", width, subsequent_indent=" " * 4, drop_whitespace=False
            )
    return [*lines, "", *(part for note in table.note.splitlines() for part in textwrap.wrap(note, width)), ""]
