"""The verbs of `prealign lexicon` that make a dictionary: align (parallel text) and translate (a language model).

`prealign.cli.main` registers them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from prealign.cli.lexicon import Source, count_text, read_lexicon
from prealign.cli.terminal import console, say
from prealign.errors import LexiconError
from prealign.files import check_writable
from prealign.lexicon.reading_report import told_of
from prealign.wording import some

Out = Annotated[Path, typer.Option("--out", "-o", help="Lexicon file to write (JSONL).")]
Temperature = Annotated[float | None, typer.Option("--temperature", help="Sampling temperature. Default: the model's.")]
Target = Annotated[str, typer.Option("--target", help="Target language, as a tag such as de.")]
Senses = Annotated[int, typer.Option("--senses", help="Maximum number of translations per word.")]
WordCounts = Annotated[
    Path | None,
    typer.Option(
        "--words",
        help="Words to translate: data/tokens/words.json of a run, or a list with one word per line, optionally with a "
        "tab and its count.",
    ),
]
Text = Annotated[
    list[str] | None, typer.Option("--text", help="Text to take the words from: files, folders, globs or package:NAME.")
]
Known = Annotated[
    list[Path] | None,
    typer.Option("--lexicon", help="Lexicon or dictionary of words that are translated already. Can be repeated."),
]
Address = Annotated[
    str | None,
    typer.Option("--endpoint", help="Address of the API, such as http://localhost:8000/v1. Default: OPENAI_BASE_URL."),
]
Identical = Annotated[bool, typer.Option("--keep-identical", help="Keep translations that are equal to the word.")]
Prices = Annotated[
    tuple[float, float],
    typer.Option("--prices", help="Price per million tokens sent, and per million tokens received."),
]
Answers = Annotated[
    Path | None, typer.Option("--cache", help="File that stores the answers. Default: OUT.answers.jsonl.")
]


class Meter:
    """Shows progress, rate and time left: on a terminal as a bar, elsewhere as a line every few seconds."""

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
        """Show that `done` of `total` steps of the work `what` are finished."""
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
            help="Two files, source and target, with one sentence per line; or one file: tab-separated, TMX or JSONL.",
            metavar="FILE",
        ),
    ],
    target: Target,
    out: Out,
    source: Source = "en",
    minimum_count: Annotated[
        int, typer.Option("--minimum-count", help="Minimum number of alignment links between two words.")
    ] = 3,
    minimum_probability: Annotated[
        float,
        typer.Option(
            "--minimum-probability", help="Minimum share of a word's links that a pair has, in both directions."
        ),
    ] = 0.2,
    mutual_best: Annotated[
        bool, typer.Option("--mutual-best", help="Keep a pair only if each word is the other's most frequent partner.")
    ] = False,
    senses: Senses = 3,
) -> None:
    """Make a lexicon from parallel text: align its words and keep the frequent and probable pairs."""
    from prealign.lexicon.parallel.statistics import Thresholds, count_links, probable
    from prealign.text.bitext import read_parallel
    from prealign.text.sentence import sentence_cutter

    thresholds = Thresholds(minimum_count, minimum_probability, mutual_best, senses)
    check_writable(out)
    cutters = (sentence_cutter(source), sentence_cutter(target))
    text = read_parallel(files, source, target)
    say(text.text)
    with Meter() as meter:
        counted = count_links(text.pairs, (source, target), cutters, meter.show)
    said = f"{some(counted.pairs, 'pair')} of sentences aligned: {some(sum(counted.links.values()), 'link')}"
    say("\n".join([f"{said} of {some(len(counted.links), 'pair')} of words", *told_of("dropped", counted.dropped)]))
    lexicon, dropped = probable(counted, source, target, thresholds, f"aligned:{files[-1].name}")
    lexicon.save(out)
    kept = sum(len(words) for group in lexicon for words in group.translations.values())
    say("\n".join([f"{some(kept, 'pair')} of words kept", *told_of("dropped", dropped)]))
    say(f"{some(len(lexicon), 'word')} of {source} with translations into {target} → {out}")


def translate(
    target: Target,
    out: Out,
    model: Annotated[str, typer.Option("--model", help="Name of the model at the endpoint.")],
    words: WordCounts = None,
    text: Text = None,
    lexicon: Known = None,
    source: Source = "en",
    endpoint: Address = None,
    minimum_count: Annotated[
        int, typer.Option("--minimum-count", help="Minimum frequency of a word; rarer words are left out.")
    ] = 5,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Maximum number of words; the most frequent come first.")
    ] = None,
    senses: Senses = 3,
    keep_identical: Identical = False,
    batch: Annotated[int, typer.Option("--batch", help="Words per request.")] = 40,
    concurrency: Annotated[int, typer.Option("--concurrency", help="Requests sent at the same time.")] = 4,
    per_minute: Annotated[
        float, typer.Option("--requests-per-minute", help="Maximum number of requests per minute, including retries.")
    ] = 60,
    retries: Annotated[int, typer.Option("--retries", help="Retries of a failed request.")] = 6,
    timeout: Annotated[float, typer.Option("--timeout", help="Time limit of one request, in seconds.")] = 60,
    temperature: Temperature = None,
    prices: Prices = (0, 0),
    cache: Answers = None,
    ask_again: Annotated[
        bool, typer.Option("--ask-again", help="Ask again for words that the model refused or left out before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the first request; send nothing.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Send the requests without asking for confirmation.")
    ] = False,
) -> None:
    """Let a language model translate frequent words that dictionaries lack. The API key is read from OPENAI_API_KEY."""
    from prealign.lexicon.llm.cache import Cache
    from prealign.lexicon.llm.endpoint import Endpoint
    from prealign.lexicon.llm.prompt import Task
    from prealign.lexicon.llm.translate import Traffic, estimate
    from prealign.lexicon.llm.translate import translate as ask

    traffic = Traffic(batch, concurrency, per_minute, retries)
    task = Task(source, target, senses, keep_identical)
    if not dry_run:
        check_writable(out)
    counts = _words_to_translate(words, text, lexicon or [], task, minimum_count, limit)
    answers = Cache(cache or Path(f"{out}.answers.jsonl"), model, task.version, ask_again=ask_again)
    ahead = estimate(list(counts), task, answers, traffic)
    _say_estimate(ahead, answers, prices)
    if dry_run:
        say("\n".join(message["content"] for message in task.messages(list(counts)[:batch])))
        return
    # If the cache answers every word, neither key nor client is needed.
    service = Endpoint(model, endpoint, timeout=timeout, temperature=temperature) if ahead.words else None
    if ahead.words and not yes:
        _confirm()
    with Meter() as meter:
        result = ask(counts, task, service, answers, traffic, meter.show)
    result.lexicon.save(out)
    _say_result(result, prices, task, out)


def _say_result(result: Any, prices: tuple[float, float], task: Any, out: Path) -> None:
    say(result.text)
    if any(prices):
        say(f"cost {_cost(result, prices):,.2f} at the prices given")
    kept = sum(len(translations) for group in result.lexicon for translations in group.translations.values())
    say(f"{some(len(result.lexicon), 'word')} of {task.source}, {some(kept, 'translation')} into {task.target} → {out}")


def _words_to_translate(
    words: Path | None, text: list[str] | None, known: list[Path], task: Any, minimum_count: int, limit: int | None
) -> dict[str, int]:
    from prealign.lexicon.llm.words import read_word_counts, untranslated

    if (words is None) == (not text):
        raise LexiconError("name the words to translate by either --words FILE or --text FILES")
    counts = count_text(text or [], task.source) if words is None else read_word_counts(words, minimum_count)
    lexicons = [read_lexicon(path, task.source, task.target) for path in known]
    asked, left = untranslated(counts, lexicons, (task.source, task.target), minimum_count, limit)
    say("\n".join([f"{some(len(asked), 'word')} to translate into {task.target}", *told_of("left out", left)]))
    if not asked:
        raise LexiconError("no word is left to translate; lower --minimum-count, or give other words")
    return asked


def _cost(tokens: Any, prices: tuple[float, float]) -> float:
    return (tokens.prompt_tokens * prices[0] + tokens.reply_tokens * prices[1]) / 1e6


def _say_estimate(ahead: Any, cache: Any, prices: tuple[float, float]) -> None:
    """Print the expected requests, tokens, time and cost."""
    torn = f" ({cache.unreadable:,} of its lines cannot be read)" if cache.unreadable else ""
    refused = (
        f", {ahead.refused:,} of them as they were refused before (--ask-again sends them anew)"
        if ahead.refused
        else ""
    )
    say(f"answers in {cache.path}: {ahead.cached:,} words need no request{refused}{torn}")
    price = f", about {_cost(ahead, prices):,.2f} at the prices given" if any(prices) else ""
    say(
        f"ahead: {some(ahead.words, 'word')} in {some(ahead.requests, 'request')}, about "
        f"{ahead.prompt_tokens:,} tokens sent and {ahead.reply_tokens:,} received{price}; "
        f"{ahead.minutes:,.1f} minutes or more. Words that get no usable answer are "
        "asked once more"
    )


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise LexiconError("not a terminal: pass --yes to send the requests, or --dry-run to see the first")
    if not typer.confirm("Send them?"):
        raise LexiconError("nothing was sent")


VERBS = (align, translate)
