"""Make a dictionary by asking a language model for translations, in batches.

1. Skip words that the cache has a usable answer to, or a refusal of.
2. Send the other words in batches, several at a time. The client retries what fails; a batch without a reply in all tries is
   given up. Each answer is written to the cache when it arrives.
3. Split a refused batch (too long, or with a word that a filter forbids) in halves. Give up a word that is refused alone;
   the cache keeps the reason.
4. Ask once more for words without a usable answer, in batches half as large: models cut off long replies. A word that a
   reply leaves out was asked, and paid for, nevertheless.
5. Stop with an error after three batches in a row given up with more ahead, after no reply at all with no answer in the
   cache, or after ten words refused alone before any answer. The cache keeps all answers.
6. Check the senses of every word; those that pass become the dictionary.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prealign.errors import LexiconError
from prealign.lexicon.group import Group
from prealign.lexicon.lexicon import Lexicon
from prealign.lexicon.llm.cache import Cache
from prealign.lexicon.llm.endpoint import Endpoint, Refused, Reply
from prealign.lexicon.llm.prompt import Task, answers
from prealign.lexicon.reading_report import OnSteps, Tallies, Tally, told_of
from prealign.strict_json import shown

ROUNDS = 2
HOPELESS = 3
"""Batches given up in a row."""
HOPELESS_WORDS = 10
"""Words refused, each alone, before any answer."""


@dataclass(frozen=True)
class Traffic:
    """How requests are sent; LexiconError if a number is too small.

    batch: words of a request. concurrency: requests at a time. per_minute: limit of requests, retries included.
    retries: further tries of a batch that fails.
    """

    batch: int = 40
    concurrency: int = 4
    per_minute: float = 60
    retries: int = 6

    def __post_init__(self) -> None:
        if self.batch < 1 or self.concurrency < 1 or self.retries < 0:
            raise LexiconError(
                "the words of a batch and the requests at a time are whole numbers from 1, retries from 0"
            )
        if not self.per_minute > 0:
            raise LexiconError(f"{self.per_minute} requests a minute are none; give a number above 0")


@dataclass(frozen=True)
class Estimate:
    """Requests, tokens and minutes if every batch is answered at once: about four bytes a token, six tokens a sense.

    words: to ask for. cached: words that need no request. refused: those of them that were refused before.
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
    """The dictionary, and its cost. words: without a translation; rejected: translations; troubles: of requests."""

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
    """Return the words to ask for: neither refused, nor asked ROUNDS times, nor with a usable answer in the cache."""
    return [
        w
        for w in words
        if w not in cache.refused and cache.attempts(w) < ROUNDS and not any(_settles(w, a, task) for a in cache[w])
    ]


def _settles(word: str, answer: Sequence[object], task: Task) -> bool:
    return not answer or bool(task.senses(word, answer, Tallies()))


def estimate(words: Sequence[str], task: Task, cache: Cache, traffic: Traffic) -> Estimate:
    """Return what the words that the cache lacks would take."""
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

    Runs an event loop of its own: in a notebook, which has one already, call it from a thread.

    endpoint: needed only for words that the cache leaves open. LexiconError if it refuses, does not answer, or if no word
    has a translation.
    """
    words = list(word_counts)
    asking = _Asking(task, cache, traffic, on_steps, answered=any(cache[word] for word in words))
    if asked := open_words(words, task, cache):
        if endpoint is None:
            raise LexiconError(
                f"{cache.path}: {len(asked):,} words have no answer there, and no endpoint is named to ask"
            )
        cache.make()
        asyncio.run(asking.ask(words, endpoint))
    missing, groups = Tallies(), []
    for word, count in word_counts.items():
        senses: tuple[str, ...] = ()
        for answer in reversed(cache[word]):
            senses = senses or task.senses(word, answer, asking.rejected)
        if senses:
            groups.append(Group(word, {task.target: senses}, count, (f"llm:{cache.model}",)))
        else:
            missing.add(*_why_missing(word, cache))
    troubles, words_missing = asking.troubles.counted(), missing.counted()
    if not groups:
        told = [*told_of("trouble", troubles), *told_of("not translated", words_missing)]
        why = "; ".join(line.strip() for line in told)
        raise LexiconError(f"the model `{cache.model}` translates none of the words ({why})")
    lexicon = Lexicon(groups, source=task.source, targets=(task.target,))
    return Translated(lexicon, words_missing, asking.rejected.counted(), troubles, *asking.used)


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


@dataclass
class _Asking:
    """Requests under way, and counts. answered: whether the cache had an answer at first, or a reply came.

    used: replies, tokens sent, tokens received. refused: words, each alone. given_up: batches in a row. last: the reason of
    the last failed try.
    """

    task: Task
    cache: Cache
    traffic: Traffic
    on_steps: OnSteps
    answered: bool
    rejected: Tallies = field(default_factory=Tallies)
    troubles: Tallies = field(default_factory=Tallies)
    used: tuple[int, int, int] = (0, 0, 0)
    refused: int = 0
    given_up: int = 0
    last: str = ""

    async def ask(self, words: Sequence[str], endpoint: Endpoint) -> None:
        """Ask for the open words; the answers are in the cache."""
        async with endpoint.connected(self.traffic.retries, self.traffic.per_minute):
            for number in range(ROUNDS):
                asked = open_words(words, self.task, self.cache)
                size = max(self.traffic.batch >> number, 1)
                batches = deque(asked[i : i + size] for i in range(0, len(asked), size))
                await self._round(batches, len(asked), endpoint, "asking" if number == 0 else "asking again")

    async def _round(self, batches: deque[list[str]], total: int, endpoint: Endpoint, what: str) -> None:
        done = self.given_up = 0

        async def settle(batch: list[str]) -> None:
            nonlocal done
            halves = await self._send(batch, endpoint)
            done += 0 if halves else len(batch)
            if self.given_up >= HOPELESS and done < total:
                raise self._no_answer(endpoint)
            self.on_steps(what, done, total)
            # Halves come before the next batch: if the endpoint refuses every word, it shows early.
            for half in halves:
                await settle(half)

        async def work() -> None:
            while batches:
                await settle(batches.popleft())

        await asyncio.gather(*(work() for _ in range(self.traffic.concurrency)))
        # With an answer of an earlier run, the dictionary is made without these words.
        if self.given_up and not self.answered:
            raise self._no_answer(endpoint)

    async def _send(self, batch: list[str], endpoint: Endpoint) -> list[list[str]]:
        """Ask for a batch and keep the answers; return its halves if the endpoint refuses it."""
        example = f"the batch of {shown(batch[0])}"

        def failed(reason: str) -> None:
            self.last = reason
            self.troubles.add(reason, example)

        try:
            reply = await endpoint.ask(self.task.messages(batch), failed)
        except Refused as refusal:
            if len(batch) == 1:
                self._refuse(batch[0], refusal, endpoint)
                return []
            reason = f"batches refused with status {refusal.status} and asked in halves"
            self.troubles.add(reason, f"{example} ({refusal.told})")
            middle = len(batch) // 2
            return [batch[:middle], batch[middle:]]
        if reply is None:
            self.given_up += 1
            self.troubles.add("batches given up", example)
        else:
            self.given_up = 0
            self._take(reply, batch)
        return []

    def _no_answer(self, endpoint: Endpoint) -> LexiconError:
        return LexiconError(
            f"{endpoint.address}: no answer in {self.traffic.retries + 1} tries a batch, {self.given_up} in a row "
            f"({self.last}). Answers so far are in {self.cache.path}: run this again later to go on"
        )

    def _refuse(self, word: str, refusal: Refused, endpoint: Endpoint) -> None:
        """Keep the refusal of a word, which is not asked again."""
        self.cache.refuse(word, str(refusal), answering=self.answered)
        self.refused += 1
        if self.refused == HOPELESS_WORDS and not self.answered:
            raise LexiconError(
                f"{endpoint.address}: the endpoint refuses every request to the model `{endpoint.model}`, those "
                f"of one word too, with {refusal}. Check --model, --endpoint and the other options"
            )

    def _take(self, reply: Reply, batch: list[str]) -> None:
        """Count a reply and keep its answers."""
        self.answered = True
        replies, sent, received = self.used
        self.used = (replies + 1, sent + reply.prompt_tokens, received + reply.reply_tokens)
        found: dict[str, list[Any]] = {}
        try:
            found = answers(reply.text, batch, self.task.source, self.rejected)
        except ValueError as error:
            self.troubles.add("replies without a JSON object", str(error))
        self.cache.add({word: found.get(word) for word in batch})
