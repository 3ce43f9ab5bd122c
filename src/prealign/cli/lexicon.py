"""The verbs of `prealign lexicon` that need no recipe: inspect, merge, coverage. With `prealign.cli.main`, where they are
registered beside `build`, the only place that prints.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from prealign.cli.terminal import plain_console
from prealign.errors import LexiconError
from prealign.files import check_writable
from prealign.lexicon import Lexicon
from prealign.lexicon.formats import FORMATS, OWN_FORMAT, check_turned, resolve_format

UNKNOWN = "und"
"""The tag of a language nobody named."""
SHOWN_ENTRIES = 8

_NAMED_FILE = re.compile(r"([a-z]{2,3}(?:-[A-Za-z0-9]+)*)=(.+)")


class _Group(typer.core.TyperGroup):
    """A recipe without a verb is built, as before there were others."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the verb that the first argument names."""
        if args and args[0] not in self.commands and args[0].endswith((".yaml", ".yml")):
            args = ["build", *args]
        return super().resolve_command(ctx, args)


console = plain_console()
group = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    help="Stage 0: build a recipe's lexicon; inspect, merge, measure and make dictionaries.",
)

Source = Annotated[str, typer.Option("--source", help="The source language.")]
Format = Annotated[str | None, typer.Option("--format", help=f"{', '.join(FORMATS)}; recognised if not given.")]
Turned = Annotated[bool, typer.Option("--turned", help="All files have two columns and go from target to source.")]

ColumnNames = Annotated[
    str | None, typer.Option("--columns", help="The two columns of a table, source first: 1,3 or names of its header.")
]


def inspect(
    file: Annotated[Path, typer.Argument(help="A dictionary, or a lexicon file.", metavar="FILE")],
    source: Source = "en",
    target: Annotated[str | None, typer.Option("--target", help="The target language.")] = None,
    format: Format = None,
    turned: Turned = False,
    columns: ColumnNames = None,
) -> None:
    """Show a dictionary: its format, what was read, dropped and cleaned with examples, and some entries."""
    lexicon = read_lexicon(file, source, target, format, turned, columns)
    assert lexicon.report is not None
    say(lexicon.report.text)
    senses = sum(len(found) for one in lexicon for found in one.translations.values())
    say(f"{len(lexicon):,} words of {lexicon.source}, {senses:,} translations into {', '.join(lexicon.targets)}")
    step = max(len(lexicon) // SHOWN_ENTRIES, 1)
    for one in lexicon.groups[::step][:SHOWN_ENTRIES]:
        told = "; ".join(f"{language}: {', '.join(found)}" for language, found in one.translations.items())
        say(f"  {one.word} → {told}")


def merge(
    files: Annotated[list[str], typer.Argument(help="Lexicon files, or dictionaries as de=FILE.", metavar="FILE")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The lexicon file to write.")],
    source: Source = "en",
    format: Format = None,
    turned: Turned = False,
    columns: ColumnNames = None,
) -> None:
    """Join dictionaries of one source language into groups of all their targets, on the source word."""
    check_writable(out)
    merged = Lexicon([], source=source, targets=[])
    for name in files:
        named = _NAMED_FILE.fullmatch(name)
        path, target = (Path(named[2]), named[1]) if named else (Path(name), None)
        one = read_lexicon(path, source, target, format, turned, columns, name_it=True)
        say(str(one.report))
        merged = merged.merge(one)
    merged.save(out)
    every = sum(len(one.translations) == len(merged.targets) for one in merged)
    say(f"{len(merged):,} groups, {every:,} of them with all of {', '.join(merged.targets)} → {out}")


def coverage(
    file: Annotated[Path, typer.Argument(help="A lexicon file, or a dictionary.", metavar="FILE")],
    text: Annotated[
        list[str], typer.Option("--text", help="Text of the source language: files, folders, globs, package:NAME.")
    ],
    source: Source = "en",
    target: Annotated[str | None, typer.Option("--target", help="The target language.")] = None,
    format: Format = None,
    turned: Turned = False,
    columns: ColumnNames = None,
) -> None:
    """Say how many of a text's words a dictionary translates, by frequency, for each target."""
    from prealign.lexicon.direction import found_in_corpus

    lexicon = read_lexicon(file, source, target, format, turned, columns)
    counts = count_text(text, source)
    say(found_in_corpus(lexicon, counts, file))
    for language, share in lexicon.coverage(counts).items():
        say(f"coverage {language}: {share:.1%} of {counts.total():,} {lexicon.source} words")
    missing = [word for word, _ in counts.most_common() if lexicon.lookup(word) is None]
    if missing:
        say(f"most frequent without a translation: {', '.join(missing[:SHOWN_ENTRIES])}")


VERBS = (inspect, merge, coverage)


def read_lexicon(
    path: Path,
    source: str,
    target: str | None,
    format: str | None = None,
    turned: bool = False,
    columns: str | None = None,
    *,
    name_it: bool = False,
) -> Lexicon:
    """Read a lexicon file or a dictionary; without a target, a lexicon file gives all it has."""
    pair = [int(name) if name.isdecimal() else name.strip() for name in columns.split(",")] if columns else []
    name = resolve_format(path, format, pair)
    if name == OWN_FORMAT and target is None:
        if turned:
            check_turned(path, name)
        return Lexicon.load(path)
    if target is None and name_it:
        raise LexiconError(f"{path}: name the language that the dictionary translates into, as in `de={path}`")
    return Lexicon.read(path, format=name, source=source, target=target or UNKNOWN, turned=turned, columns=pair)


def count_text(text: list[str], language: str) -> Counter[str]:
    """Count the words of files, folders, globs, or package:NAME.

    They are cut at spaces and signs, as a recipe's are (and these where else the tokenizer parts words); in a script
    without spaces by a segmenter, else LexiconError.
    """
    from prealign.text.corpus import read_documents
    from prealign.text.sentence import word_cutter

    words = word_cutter(language)
    counts: Counter[str] = Counter()
    for _, document in read_documents(text, tell=say):
        for line in document.splitlines():
            counts.update(words(line))
    return counts


def say(text: str) -> None:
    """Print text as it is."""
    console.print(text, soft_wrap=True)
