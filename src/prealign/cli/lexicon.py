"""The verbs of `prealign lexicon` for dictionary files, without a recipe: inspect, merge, coverage.

`prealign.cli.main` registers them beside `build`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from prealign.cli.app import Json
from prealign.cli.terminal import say
from prealign.errors import LexiconError
from prealign.files import check_writable
from prealign.lexicon import Lexicon
from prealign.lexicon.formats import FORMATS, OWN_FORMAT, check_turned, resolve_format
from prealign.wording import some

UNKNOWN = "und"
"""The language tag if the user names none."""
SHOWN_ENTRIES = 8

_NAMED_FILE = re.compile(r"([a-z]{2,3}(?:-[A-Za-z0-9]+)*)=(.+)")


class _Group(typer.core.TyperGroup):
    """The verbs of `prealign lexicon`. A recipe without a verb means `build`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the verb of the first argument; `build` if the argument is a YAML file."""
        if args and args[0] not in self.commands and args[0].endswith((".yaml", ".yml")):
            args = ["build", *args]
        return super().resolve_command(ctx, args)


group = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    help="Stage 0: build the lexicon of a recipe; inspect, merge, measure and make dictionaries.",
)

Source = Annotated[str, typer.Option("--source", help="Source language, as a tag such as en.")]
FileTarget = Annotated[str | None, typer.Option("--target", help="Target language. Not needed for a lexicon file.")]
Format = Annotated[
    str | None, typer.Option("--format", help=f"Format of the dictionary: {', '.join(FORMATS)}. Default: detected.")
]
Turned = Annotated[
    bool, typer.Option("--turned", help="The files have two columns in the opposite order: target word, source word.")
]

ColumnNames = Annotated[
    str | None,
    typer.Option("--columns", help="Two columns of a table, source word first: numbers (1,3) or header names."),
]


def inspect(
    file: Annotated[Path, typer.Argument(help="A dictionary or a lexicon file.", metavar="FILE")],
    source: Source = "en",
    target: FileTarget = None,
    format: Format = None,
    turned: Turned = False,
    columns: ColumnNames = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Show a dictionary: its format, the entries read, dropped and cleaned (with examples), and some entries."""
    lexicon = read_lexicon(file, source, target, format, turned, columns)
    assert lexicon.report is not None
    say(lexicon.report.text)
    count = sum(len(senses) for group in lexicon for senses in group.translations.values())
    say(
        f"{some(len(lexicon), 'word')} of {lexicon.source}, {some(count, 'translation')} into {', '.join(lexicon.targets)}"
    )
    step = max(len(lexicon) // SHOWN_ENTRIES, 1)
    shown = lexicon.groups[::step][:SHOWN_ENTRIES]
    for group in shown:
        entry = "; ".join(f"{language}: {', '.join(senses)}" for language, senses in group.translations.items())
        say(f"  {group.word} → {entry}")
    return {
        "file": str(file),
        **asdict(lexicon.report),
        "words": len(lexicon),
        "translations": count,
        "source": lexicon.source,
        "targets": lexicon.targets,
        "examples": {group.word: dict(group.translations) for group in shown},
    }


def merge(
    files: Annotated[
        list[str],
        typer.Argument(help="Lexicon files, or dictionaries with their target language: de=FILE.", metavar="FILE"),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Lexicon file to write (JSONL).")],
    source: Source = "en",
    format: Format = None,
    turned: Turned = False,
    columns: ColumnNames = None,
) -> None:
    """Join dictionaries of one source language: each source word gets its translations in all target languages."""
    check_writable(out)
    merged = Lexicon([], source=source, targets=[])
    for name in files:
        named = _NAMED_FILE.fullmatch(name)
        path, target = (Path(named[2]), named[1]) if named else (Path(name), None)
        dictionary = read_lexicon(path, source, target, format, turned, columns, name_it=True)
        say(str(dictionary.report))
        merged = merged.merge(dictionary)
    merged.save(out)
    complete = sum(len(group.translations) == len(merged.targets) for group in merged)
    say(f"{some(len(merged), 'group')}, {complete:,} of them with all of {', '.join(merged.targets)} → {out}")


def coverage(
    file: Annotated[Path, typer.Argument(help="A lexicon file or a dictionary.", metavar="FILE")],
    text: Annotated[
        list[str], typer.Option("--text", help="Text in the source language: files, folders, globs or package:NAME.")
    ],
    source: Source = "en",
    target: FileTarget = None,
    format: Format = None,
    turned: Turned = False,
    columns: ColumnNames = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Measure the share of the words of a text that a dictionary translates, by frequency, for each target."""
    from prealign.lexicon.direction import found_in_corpus

    lexicon = read_lexicon(file, source, target, format, turned, columns)
    counts = count_text(text, source)
    say(found_in_corpus(lexicon, counts, file))
    shares = lexicon.coverage(counts)
    for language, share in shares.items():
        say(f"coverage {language}: {share:.1%} of {counts.total():,} {lexicon.source} words")
    missing = [word for word, _ in counts.most_common() if lexicon.lookup(word) is None]
    if missing:
        say(f"most frequent without a translation: {', '.join(missing[:SHOWN_ENTRIES])}")
    return {"file": str(file), "words_of_text": counts.total(), "coverage": shares, "missing": missing[:SHOWN_ENTRIES]}


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
    """Read a lexicon file or a dictionary. Without `target`, a lexicon file keeps all its target languages.

    columns: the two columns of a table, as "1,3" or names of its header. name_it: a dictionary without `target` is a
    LexiconError.
    """
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
    """Count the words in files, folders, globs or package:NAME.

    Text is cut at spaces and signs, like the text of a recipe (which is also cut where its tokenizer splits words). A
    language without spaces needs a segmenter, else LexiconError.
    """
    from prealign.text.corpus import read_documents
    from prealign.text.sentence import word_cutter

    words = word_cutter(language)
    counts: Counter[str] = Counter()
    for _, document in read_documents(text, tell=say):
        for line in document.splitlines():
            counts.update(words(line))
    return counts
