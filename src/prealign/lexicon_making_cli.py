"""The verbs of `prealign lexicon` that make a dictionary: align (from parallel text) and translate (by a language model).

With `prealign.cli`, where they are registered, and `prealign.lexicon_cli` the only place that prints.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from prealign.lexicon.report import told_of
from prealign.lexicon_cli import Source, console, say

Out = Annotated[Path, typer.Option("--out", "-o", help="The lexicon file to write.")]
Target = Annotated[str, typer.Option("--target", help="The target language.")]
Senses = Annotated[int, typer.Option("--senses", help="At most so many translations of a word.")]


class Meter:
    """Shows how far something is, with its rate and the time left: a bar on a terminal, else a line every few seconds."""

    LINE_EVERY = 15.0  # seconds

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:<24}"), BarColumn(bar_width=24), MofNCompleteColumn())
        self.bars = Progress(
            *columns,
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.what, self.began, self.printed = "", 0.0, 0.0

    def __enter__(self) -> Meter:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of something are done."""
        now = time.monotonic()
        if what != self.what:
            self.what, self.began, self.printed = what, now, now
            self.bars.add_task(what, total=total, rate="")
        rate = done / (now - self.began) if done and now > self.began else 0.0
        self.bars.update(self.bars.task_ids[-1], completed=done, rate=f"{rate:,.1f}/s" if rate else "")
        if not console.is_terminal and now - self.printed >= self.LINE_EVERY:
            self.printed = now
            left = f", {rate:,.1f}/s, {(total - done) / rate:,.0f} s left" if rate else ""
            say(f"  {what} {done:,}/{total:,}{left}")


def align(
    files: Annotated[
        list[Path],
        typer.Argument(help="Source and target, a sentence a line; or one file, parted by a tab.", metavar="FILE"),
    ],
    target: Target,
    out: Out,
    source: Source = "en",
    minimum_count: Annotated[int, typer.Option("--minimum-count", help="Links that a pair of words needs.")] = 3,
    minimum_probability: Annotated[
        float, typer.Option("--minimum-probability", help="Least share of a word's links, in both directions.")
    ] = 0.2,
    mutual_best: Annotated[
        bool, typer.Option("--mutual-best", help="Keep a pair only if each is the other's most frequent.")
    ] = False,
    senses: Senses = 3,
) -> None:
    """Make a lexicon from parallel text: align its words, and keep the pairs that are frequent and probable enough."""
    from prealign.lexicon.parallel.statistics import Thresholds, count_links, probable
    from prealign.lexicon.parallel.text import read_parallel
    from prealign.text.sentence import sentence_cutter

    thresholds = Thresholds(minimum_count, minimum_probability, mutual_best, senses)
    cutters = (sentence_cutter(source), sentence_cutter(target))
    text = read_parallel(files)
    say(text.text)
    with Meter() as meter:
        counted = count_links(text.pairs, cutters, meter.show)
    said = f"{counted.pairs:,} pairs of sentences aligned: {sum(counted.links.values()):,} links"
    say("\n".join([f"{said} of {len(counted.links):,} pairs of words", *told_of("dropped", counted.dropped)]))
    lexicon, dropped = probable(counted, source, target, thresholds, f"aligned:{files[-1].name}")
    lexicon.save(out)
    kept = sum(len(found) for one in lexicon for found in one.translations.values())
    say("\n".join([f"{kept:,} pairs of words kept", *told_of("dropped", dropped)]))
    say(f"{len(lexicon):,} words of {source} with translations into {target} → {out}")


VERBS = (align,)
