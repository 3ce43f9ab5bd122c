"""Words become a dictionary by asking a language model, in batches, and no word more often than needed.

1. Words that the cache has an answer to that can be used are not asked again.
2. The others are sent in batches by several threads, each request at its turn. A batch that fails is tried again after a
   growing wait, so many times; then it is given up. Answers are written to the cache as they come, by this thread alone.
3. Words without an answer, or with one of which nothing can be used, are asked once more, in batches half as large: long
   replies are what models cut off.
4. Three batches in a row given up, or a first round without any reply, end it with an error: the cache keeps what came.
5. The senses of every word are checked, and what remains becomes the dictionary.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from prealign.errors import LexiconError
from prealign.lexicon.group import Group
from prealign.lexicon.groups import Lexicon
from prealign.lexicon.lines import shown
from prealign.lexicon.llm.cache import Cache
from prealign.lexicon.llm.endpoint import Endpoint, Pace, Reply, Unavailable, backoff
from prealign.lexicon.llm.prompt import Task, answers
from prealign.lexicon.report import Tallies, Tally, told_of

ROUNDS = 2
HOPELESS = 3
"""Batches in a row that were given up."""

OnSteps = Callable[[str, int, int], None]


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
    """What is ahead, if every batch is answered at once: about four bytes a token, six tokens a sense."""

    words: int
    cached: int
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
    """Return the words to ask for: those without a usable answer, unless they were asked as often as any may be."""
    return [w for w in words if len(cache[w]) < ROUNDS and not any(_settles(w, a, task) for a in cache[w])]


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
        requests=requests,
        prompt_tokens=round(sent),
        reply_tokens=round(letters + len(asked) * task.most_senses * 6),
        minutes=requests / traffic.per_minute,
    )


def translate(
    word_counts: Mapping[str, int],
    task: Task,
    endpoint: Endpoint,
    cache: Cache,
    traffic: Traffic,
    on_steps: OnSteps = lambda *_: None,
) -> Translated:
    """Ask for the words and return the dictionary, its groups in the order of the words.

    LexiconError if the endpoint refuses, does not answer, or if no word has a translation.
    """
    cache.make()
    asking = _Asking(task, endpoint, cache, traffic, on_steps)
    for number in range(ROUNDS):
        asked = open_words(list(word_counts), task, cache)
        size = max(traffic.batch >> number, 1)
        asking.round(
            [asked[i : i + size] for i in range(0, len(asked), size)], "asking" if number == 0 else "asking again"
        )
    missing, rejected, groups = Tallies(), asking.rejected, []
    for word, count in word_counts.items():
        senses: tuple[str, ...] = ()
        for answer in reversed(cache[word]):
            senses = senses or task.senses(word, answer, rejected)
        if senses:
            groups.append(Group(word, {task.target: senses}, count, (f"llm:{endpoint.model}",)))
        elif [] in cache[word]:
            missing.add("for which the model has no translation", shown(word))
        else:
            missing.add("with no usable translation" if cache[word] else "without an answer", shown(word))
    if not groups:
        why = "; ".join(line.strip() for line in told_of("not translated", missing.counted()))
        raise LexiconError(f"{endpoint.address}: the model `{endpoint.model}` translates none of the words ({why})")
    return Translated(
        Lexicon(groups, source=task.source, targets=(task.target,)),
        missing.counted(),
        rejected.counted(),
        asking.troubles.counted(),
        *asking.used,
    )


@dataclass
class _Asking:
    task: Task
    endpoint: Endpoint
    cache: Cache
    traffic: Traffic
    on_steps: OnSteps
    rejected: Tallies = field(default_factory=Tallies)
    troubles: Tallies = field(default_factory=Tallies)
    used: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        self._pace, self._stop = Pace(self.traffic.per_minute), threading.Event()

    def round(self, batches: Sequence[list[str]], what: str) -> None:
        """Ask for all batches; what comes is in the cache."""
        total, done, failed = sum(map(len, batches)), 0, 0
        with closing(self._replies(batches)) as replies:
            for batch, reply, failures in replies:
                for failure in failures:
                    self.troubles.add(failure, f"the batch of {shown(batch[0])}")
                failed = 0 if reply else failed + 1
                if reply:
                    self._take(reply, batch)
                else:
                    self.troubles.add("batches given up", f"the batch of {shown(batch[0])}")
                if failed == HOPELESS or (failed and failed == len(batches) and self.used[0] == 0):
                    raise LexiconError(
                        f"{self.endpoint.address}: no answer in {self.traffic.retries + 1} tries a batch, {failed} in a row "
                        f"({failures[-1]}). Answers so far are in {self.cache.path}: run this again later to go on"
                    )
                done += len(batch)
                self.on_steps(what, done, total)

    def _replies(
        self, batches: Sequence[list[str]]
    ) -> Generator[tuple[list[str], Reply | None, list[str]], None, None]:
        """Yield (batch, reply, failures) as they come; no request is begun after the end of this."""
        todo: SimpleQueue[list[str]] = SimpleQueue()
        done: SimpleQueue[tuple[list[str], Reply | None, list[str]] | Exception] = SimpleQueue()
        for batch in batches:
            todo.put(batch)

        def work() -> None:
            while not self._stop.is_set():
                try:
                    batch = todo.get_nowait()
                    done.put((batch, *self._ask(batch)))
                except Empty:
                    return
                except Exception as error:  # of whatever kind: it is raised where somebody hears it
                    done.put(error)

        # Daemons, and no pool: an interrupt must not wait for a request that hangs.
        for _ in range(min(self.traffic.concurrency, len(batches))):
            threading.Thread(target=work, daemon=True).start()
        try:
            for _ in batches:
                result = done.get()
                if isinstance(result, Exception):
                    raise result
                yield result
        except BaseException:
            self._stop.set()
            raise

    def _ask(self, batch: list[str]) -> tuple[Reply | None, list[str]]:
        """Return the reply, None if the batch was given up, and the reasons of the tries that failed."""
        failures: list[str] = []
        for attempt in range(self.traffic.retries + 1):
            if self._stop.wait(self._pace.turn()):
                break
            try:
                return self.endpoint.ask(self.task.messages(batch)), failures
            except Unavailable as error:
                failures.append(str(error))
                if attempt < self.traffic.retries:
                    self._stop.wait(backoff(attempt, error.wait, self.traffic.first_wait))
        return None, failures

    def _take(self, reply: Reply, batch: list[str]) -> None:
        replies, sent, received = self.used
        self.used = (replies + 1, sent + reply.prompt_tokens, received + reply.reply_tokens)
        try:
            self.cache.add(answers(reply.text, batch, self.rejected))
        except ValueError as error:
            self.troubles.add("replies without a JSON object", str(error))
