"""Words become a dictionary by asking a language model, in batches, and no word more often than needed.

1. Words that the cache has an answer to that can be used, or a refusal of, are not asked again.
2. The others are sent in batches by several threads, each request at its turn. A batch that fails is tried again after a
   growing wait, so many times; then it is given up. Answers are written to the cache as they come, by this thread alone.
3. A batch that is refused (too long, or a word of it that a filter forbids) is asked in halves; a word that is refused
   alone is given up, and the cache keeps why.
4. Words without an answer, or with one of which nothing can be used, are asked once more, in batches half as large: long
   replies are what models cut off. A word that a reply leaves out was asked, and paid for, nevertheless.
5. Three batches in a row given up with more ahead, or no reply to any and none in the cache, end it with an error: the
   cache keeps what came. So do ten words refused alone before there is any answer: it is not their fault then.
6. The senses of every word are checked, and what remains becomes the dictionary.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from queue import Empty, LifoQueue, SimpleQueue
from typing import Any

from prealign.errors import LexiconError
from prealign.files import shown
from prealign.lexicon.group import Group
from prealign.lexicon.lexicon import Lexicon
from prealign.lexicon.llm.cache import Cache
from prealign.lexicon.llm.endpoint import Endpoint, Pace, Refused, Reply, Unavailable, backoff
from prealign.lexicon.llm.prompt import Task, answers
from prealign.lexicon.reading_report import OnSteps, Tallies, Tally, told_of

ROUNDS = 2
HOPELESS = 3
"""Batches in a row that were given up."""
HOPELESS_WORDS = 10
"""Words refused, each alone, before there was any answer."""


@dataclass(frozen=True)
class Traffic:
    """How requests are sent; LexiconError if a number makes none.

    batch: words a request. concurrency: requests under way at a time. retries: further tries of a batch that fails.
    first_wait: seconds before the first of them.
    """

    batch: int = 40
    concurrency: int = 4
    per_minute: float = 60
    retries: int = 6
    first_wait: float = 1.0

    def __post_init__(self) -> None:
        if self.batch < 1 or self.concurrency < 1 or self.retries < 0:
            raise LexiconError(
                "the words of a batch and the requests at a time are whole numbers from 1, retries from 0"
            )


@dataclass(frozen=True)
class Estimate:
    """What is ahead, if every batch is answered at once: about four bytes a token, six tokens a sense.

    cached: words that need no request, of which so many were `refused` before.
    """

    words: int
    cached: int
    refused: int
    requests: int
    prompt_tokens: int
    reply_tokens: int
    minutes: float


@dataclass
class Translated:
    """The dictionary, and what it took. words: without a translation; rejected: translations; troubles: of requests."""

    lexicon: Lexicon
    words: Mapping[str, Tally]
    rejected: Mapping[str, Tally]
    troubles: Mapping[str, Tally]
    replies: int
    prompt_tokens: int
    reply_tokens: int

    @property
    def text(self) -> str:
        """A summary, and a line for each reason to leave something out or to try again."""
        used = f"{self.replies:,} replies, {self.prompt_tokens:,} tokens sent, {self.reply_tokens:,} received"
        told = [*told_of("trouble", self.troubles), *told_of("rejected", self.rejected)]
        return "\n".join([used, *told, *told_of("not translated", self.words)])


def open_words(words: Sequence[str], task: Task, cache: Cache) -> list[str]:
    """Return the words to ask for: those without a usable answer, unless refused or asked as often as any may be."""
    return [
        w
        for w in words
        if w not in cache.refused and cache.attempts(w) < ROUNDS and not any(_settles(w, a, task) for a in cache[w])
    ]


def _settles(word: str, answer: Sequence[object], task: Task) -> bool:
    return not answer or bool(task.senses(word, answer, Tallies()))


def estimate(words: Sequence[str], task: Task, cache: Cache, traffic: Traffic) -> Estimate:
    """Say what asking for the words would take."""
    asked = open_words(words, task, cache)
    requests = math.ceil(len(asked) / traffic.batch)
    letters = sum(len(word.encode()) / 4 + 2 for word in asked)
    sent = requests * len(task.instructions) / 4 + letters
    return Estimate(
        words=len(asked),
        cached=len(words) - len(asked),
        refused=sum(word in cache.refused for word in words),
        requests=requests,
        prompt_tokens=round(sent),
        reply_tokens=round(letters + len(asked) * task.most_senses * 6),
        minutes=requests / traffic.per_minute,
    )


def translate(
    word_counts: Mapping[str, int],
    task: Task,
    endpoint: Endpoint | None,
    cache: Cache,
    traffic: Traffic,
    on_steps: OnSteps = lambda *_: None,
) -> Translated:
    """Ask for the words and return the dictionary, its groups in the order of the words.

    endpoint: needed only for words that the cache leaves open. LexiconError if it refuses, does not answer, or if no word
    has a translation.
    """
    rejected, troubles, used = Tallies(), Tallies(), (0, 0, 0)
    asked = open_words(list(word_counts), task, cache)
    if asked:
        if endpoint is None:
            raise LexiconError(
                f"{cache.path}: {len(asked):,} words have no answer there, and no endpoint is named to ask"
            )
        cache.make()
        known = any(cache[word] for word in word_counts)
        asking = _Asking(task, endpoint, cache, traffic, on_steps, known, rejected, troubles)
        for number in range(ROUNDS):
            asked = open_words(list(word_counts), task, cache)
            size = max(traffic.batch >> number, 1)
            asking.round(
                [asked[i : i + size] for i in range(0, len(asked), size)], "asking" if number == 0 else "asking again"
            )
        used = asking.used
    missing, groups = Tallies(), []
    for word, count in word_counts.items():
        senses: tuple[str, ...] = ()
        for answer in reversed(cache[word]):
            senses = senses or task.senses(word, answer, rejected)
        if senses:
            groups.append(Group(word, {task.target: senses}, count, (f"llm:{cache.model}",)))
        else:
            missing.add(*_why_missing(word, cache))
    if not groups:
        told = [*told_of("trouble", troubles.counted()), *told_of("not translated", missing.counted())]
        why = "; ".join(line.strip() for line in told)
        raise LexiconError(f"the model `{cache.model}` translates none of the words ({why})")
    return Translated(
        Lexicon(groups, source=task.source, targets=(task.target,)),
        missing.counted(),
        rejected.counted(),
        troubles.counted(),
        *used,
    )


def _why_missing(word: str, cache: Cache) -> tuple[str, str]:
    """Return why a word has no translation, and the example to show."""
    if word in cache.refused:
        return "refused by the endpoint (--ask-again sends them anew)", f"{shown(word)} ({cache.refused[word]})"
    if [] in cache[word]:
        return "for which the model has no translation", shown(word)
    if cache[word]:
        return "with no usable translation", shown(word)
    if cache.attempts(word) >= ROUNDS:
        return f"left out of {ROUNDS} replies (--ask-again sends them anew)", shown(word)
    return "without an answer", shown(word)


@dataclass(frozen=True)
class _Outcome:
    """What became of a batch: a reply or a refusal, or neither in all its tries; `failures`: of the tries that failed."""

    batch: list[str]
    failures: list[str]
    reply: Reply | None = None
    refusal: Refused | None = None

    @property
    def halves(self) -> list[list[str]]:
        """What is to be asked instead."""
        middle = len(self.batch) // 2
        return [self.batch[:middle], self.batch[middle:]] if self.refusal and middle else []


@dataclass
class _Asking:
    task: Task
    endpoint: Endpoint
    cache: Cache
    traffic: Traffic
    on_steps: OnSteps
    known: bool  # whether the cache had answers before
    rejected: Tallies
    troubles: Tallies
    refused: int = 0
    used: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        self._pace, self._stop = Pace(self.traffic.per_minute), threading.Event()

    def round(self, batches: Sequence[list[str]], what: str) -> None:
        """Ask for all batches; what comes is in the cache."""
        total, done, failed, last = sum(map(len, batches)), 0, 0, ""
        with closing(self._outcomes(batches)) as outcomes:
            for outcome in outcomes:
                example = f"the batch of {shown(outcome.batch[0])}"
                for last in outcome.failures:
                    self.troubles.add(last, example)
                if outcome.reply:
                    failed = 0
                    self._take(outcome.reply, outcome.batch)
                elif outcome.refusal:
                    self._give_up(outcome.batch, outcome.refusal)
                else:
                    failed += 1
                    self.troubles.add("batches given up", example)
                done += 0 if outcome.halves else len(outcome.batch)
                if failed >= HOPELESS and done < total:
                    raise self._no_answer(failed, last)
                self.on_steps(what, done, total)
        # With answers of an earlier run there is a dictionary to make, whatever becomes of the words that are left.
        if failed and not self.used[0] and not self.known:
            raise self._no_answer(failed, last)

    def _no_answer(self, failed: int, last: str) -> LexiconError:
        return LexiconError(
            f"{self.endpoint.address}: no answer in {self.traffic.retries + 1} tries a batch, {failed} in a row ({last}). "
            f"Answers so far are in {self.cache.path}: run this again later to go on"
        )

    def _outcomes(self, batches: Sequence[list[str]]) -> Generator[_Outcome, None, None]:
        """Yield what becomes of the batches, and of their halves; no request is begun after the end of this."""
        # The last first, so that a refused batch is asked down to its words before the next: if all are refused, it shows.
        todo: LifoQueue[list[str]] = LifoQueue()
        done: SimpleQueue[_Outcome | Exception] = SimpleQueue()
        for batch in reversed(batches):
            todo.put(batch)

        def work() -> None:
            while not self._stop.is_set():
                try:
                    outcome = self._ask(todo.get_nowait())
                    for half in reversed(outcome.halves):
                        todo.put(half)
                    done.put(outcome)
                except Empty:
                    return
                except Exception as error:  # of whatever kind: it is raised where somebody hears it
                    done.put(error)

        # Daemons, and no pool: an interrupt must not wait for a request that hangs.
        for _ in range(min(self.traffic.concurrency, len(batches))):
            threading.Thread(target=work, daemon=True).start()
        try:
            ahead = len(batches)
            while ahead:
                result = done.get()
                if isinstance(result, Exception):
                    raise result
                ahead += len(result.halves) - 1
                yield result
        except BaseException:
            self._stop.set()
            raise

    def _ask(self, batch: list[str]) -> _Outcome:
        failures: list[str] = []
        for attempt in range(self.traffic.retries + 1):
            if self._stop.wait(self._pace.turn()):
                break
            try:
                return _Outcome(batch, failures, reply=self.endpoint.ask(self.task.messages(batch)))
            except Refused as error:
                return _Outcome(batch, failures, refusal=error)
            except Unavailable as error:
                failures.append(str(error))
                if attempt < self.traffic.retries:
                    self._stop.wait(backoff(attempt, error.wait, self.traffic.first_wait))
        return _Outcome(batch, failures)

    def _give_up(self, batch: list[str], refusal: Refused) -> None:
        """Count a refused batch, which is asked in halves, or a word, which is not asked again."""
        if len(batch) > 1:
            reason = f"batches refused with status {refusal.status} and asked in halves"
            self.troubles.add(reason, f"the batch of {shown(batch[0])} ({refusal.told})")
            return
        answering = bool(self.used[0]) or self.known
        self.cache.refuse(batch[0], str(refusal), answering=answering)
        self.refused += 1
        if self.refused == HOPELESS_WORDS and not answering:
            raise LexiconError(
                f"{self.endpoint.address}: the endpoint refuses every request to the model `{self.endpoint.model}`, those "
                f"of one word too, with {refusal}. Check --model, --endpoint and what else was set"
            )

    def _take(self, reply: Reply, batch: list[str]) -> None:
        replies, sent, received = self.used
        self.used = (replies + 1, sent + reply.prompt_tokens, received + reply.reply_tokens)
        found: dict[str, list[Any]] = {}
        try:
            found = answers(reply.text, batch, self.task.source, self.rejected)
        except ValueError as error:
            self.troubles.add("replies without a JSON object", str(error))
        self.cache.add({word: found.get(word) for word in batch})
