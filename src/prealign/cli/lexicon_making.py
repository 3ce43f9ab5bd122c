"""The verbs of `prealign lexicon` that make a dictionary: align (from parallel text) and translate (by a language model).

With `prealign.cli.main`, where they are registered, and `prealign.cli.lexicon` the only place that prints.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from prealign.cli.lexicon import Source, console, count_text, read_lexicon, say
from prealign.errors import LexiconError
from prealign.files import check_writable
from prealign.lexicon.reading_report import told_of

Out = Annotated[Path, typer.Option("--out", "-o", help="The lexicon file to write.")]
Target = Annotated[str, typer.Option("--target", help="The target language.")]
Senses = Annotated[int, typer.Option("--senses", help="Most translations of a word.")]
WordCounts = Annotated[
    Path | None,
    typer.Option(
        "--words", help="A run's data/tokens/words.json, or a list: a word a line, optionally a tab and its count."
    ),
]
Text = Annotated[
    list[str] | None, typer.Option("--text", help="Text to take the words from: files, folders, globs, package:NAME.")
]
Known = Annotated[
    list[Path] | None, typer.Option("--lexicon", help="Lexicon or dictionary whose words need no translation.")
]
Address = Annotated[
    str | None, typer.Option("--endpoint", help="Address, such as http://localhost:8000/v1. Default: OPENAI_BASE_URL.")
]
Identical = Annotated[bool, typer.Option("--keep-identical", help="Keep translations that are equal to their word.")]
Prices = Annotated[
    tuple[float, float], typer.Option("--prices", help="Price of a million tokens sent, and of a million received.")
]
Answers = Annotated[Path | None, typer.Option("--cache", help="File of the answers. Default: OUT.answers.jsonl.")]


class Meter:
    """Shows progress, its rate and the time left: a bar on a terminal, else a line every few seconds."""

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
        typer.Argument(
            help="Source and target, a sentence a line; or one file: tab-separated, TMX or JSONL.", metavar="FILE"
        ),
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
    from prealign.text.bitext import read_parallel
    from prealign.text.sentence import sentence_cutter

    thresholds = Thresholds(minimum_count, minimum_probability, mutual_best, senses)
    check_writable(out)
    cutters = (sentence_cutter(source), sentence_cutter(target))
    text = read_parallel(files, source, target)
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


def translate(
    target: Target,
    out: Out,
    model: Annotated[str, typer.Option("--model", help="The model's name at the endpoint.")],
    words: WordCounts = None,
    text: Text = None,
    lexicon: Known = None,
    source: Source = "en",
    endpoint: Address = None,
    minimum_count: Annotated[int, typer.Option("--minimum-count", help="Leave out words rarer than this.")] = 5,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Most words to ask for, the most frequent first.")
    ] = None,
    senses: Senses = 3,
    keep_identical: Identical = False,
    batch: Annotated[int, typer.Option("--batch", help="Words of a request.")] = 40,
    concurrency: Annotated[int, typer.Option("--concurrency", help="Requests under way at a time.")] = 4,
    per_minute: Annotated[
        float, typer.Option("--requests-per-minute", help="Limit of requests, retries included.")
    ] = 60,
    retries: Annotated[int, typer.Option("--retries", help="Further tries of a request that fails.")] = 6,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds of one try.")] = 60,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Default: that of the model.")] = None,
    prices: Prices = (0, 0),
    cache: Answers = None,
    ask_again: Annotated[
        bool, typer.Option("--ask-again", help="Ask again for words that were refused, or left out of replies.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the first request and send none.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Send the requests without asking for consent.")] = False,
) -> None:
    """Have a language model translate the frequent words that dictionaries lack. The key is taken from OPENAI_API_KEY."""
    from prealign.lexicon.llm.cache import Cache
    from prealign.lexicon.llm.endpoint import Endpoint
    from prealign.lexicon.llm.prompt import Task
    from prealign.lexicon.llm.translate import Traffic, estimate
    from prealign.lexicon.llm.translate import translate as ask

    traffic = Traffic(batch, concurrency, per_minute, retries)
    task = Task(source, target, senses, keep_identical)
    if not dry_run:
        check_writable(out)
    asked = _asked(words, text, lexicon or [], task, minimum_count, limit)
    kept_in = cache or Path(f"{out}.answers.jsonl")
    answers = Cache(kept_in, model, task.version, ask_again=ask_again)
    ahead = estimate(list(asked), task, answers, traffic)
    _say_estimate(ahead, answers, prices)
    if dry_run:
        say("\n".join(message["content"] for message in task.messages(list(asked)[:batch])))
        return
    # If the cache answers every word, neither key nor client is needed.
    service = Endpoint(model, endpoint, timeout=timeout, temperature=temperature) if ahead.words else None
    if ahead.words and not yes:
        _confirm()
    with Meter() as meter:
        made = ask(asked, task, service, answers, traffic, meter.show)
    made.lexicon.save(out)
    say(made.text)
    if any(prices):
        say(f"cost {_cost(made, prices):,.2f} at the prices given")
    kept = sum(len(found) for one in made.lexicon for found in one.translations.values())
    say(f"{len(made.lexicon):,} words of {source}, {kept:,} translations into {target} → {out}")


def _asked(
    words: Path | None, text: list[str] | None, known: list[Path], task: Any, minimum_count: int, limit: int | None
) -> dict[str, int]:
    from prealign.lexicon.llm.words import read_word_counts, untranslated

    if (words is None) == (not text):
        raise LexiconError("name the words to translate by one of --words FILE and --text FILES")
    counts = count_text(text or [], task.source) if words is None else read_word_counts(words, minimum_count)
    lexicons = [read_lexicon(path, task.source, task.target) for path in known]
    asked, left = untranslated(counts, lexicons, task.target, minimum_count, limit)
    say("\n".join([f"{len(asked):,} words to translate into {task.target}", *told_of("left out", left)]))
    if not asked:
        raise LexiconError("no word is left to translate; lower --minimum-count, or give other words")
    return asked


def _cost(tokens: Any, prices: tuple[float, float]) -> float:
    return (tokens.prompt_tokens * prices[0] + tokens.reply_tokens * prices[1]) / 1e6


def _say_estimate(ahead: Any, cache: Any, prices: tuple[float, float]) -> None:
    """Print the requests and costs ahead."""
    torn = f" ({cache.unreadable:,} of its lines cannot be read)" if cache.unreadable else ""
    refused = (
        f", {ahead.refused:,} of them as they were refused before (--ask-again sends them anew)"
        if ahead.refused
        else ""
    )
    say(f"answers in {cache.path}: {ahead.cached:,} words need no request{refused}{torn}")
    price = f", about {_cost(ahead, prices):,.2f} at the prices given" if any(prices) else ""
    say(
        f"ahead: {ahead.words:,} words in {ahead.requests:,} requests, about {ahead.prompt_tokens:,} tokens sent and "
        f"{ahead.reply_tokens:,} received{price}; {ahead.minutes:,.1f} minutes or more. Words that get no usable answer are "
        "asked once more"
    )


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise LexiconError("not a terminal: pass --yes to send the requests, or --dry-run to see the first")
    if not typer.confirm("Send them?"):
        raise LexiconError("nothing was sent")


VERBS = (align, translate)
