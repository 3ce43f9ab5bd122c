"""Input-only code-switching: the model reads the foreign word but is never asked to write it.

Let a source word have tokens o_1..o_n and its substitute t_1..t_m, placed at positions p..p+m-1. With labels aligned to
inputs (the label at position j is predicted from position j-1):

    labels[p] = o_1;   labels[p+1 .. p+m-1] = -100 (ignored);   every unswitched token is its own label

1. Find the words of the document (`prealign.text.words`); each has a position, counted from 0.
2. Draw one uniform number u per word from a generator keyed by (seed, epoch, document). The word is a candidate if u <
   rho. Then u / rho is uniform again and picks the translation in step 3. The choice at a word depends on (seed, epoch,
   document, word position) alone.
3. Look the candidates' token sequences up in the lexicon's table (hash, bucket, exact comparison). Switch the
   candidates that are in the table: draw the target language uniformly (or by weight), then the translation uniformly.
4. Write inputs and labels: repeat every token by its count in the output, then fill in the substitutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xxhash
from datasets import Dataset
from numpy.typing import ArrayLike, NDArray

from prealign.errors import LexiconError, RecipeError
from prealign.languages import is_clone
from prealign.lexicon import Lexicon
from prealign.methods.schedule import Schedule
from prealign.methods.switching.table import SwitchTable, switch_table
from prealign.text.arrow import read_tokens
from prealign.text.blocks import Rewritten
from prealign.text.clone import clone_language
from prealign.text.ragged import IntArray, Ragged, spans
from prealign.text.words import Tokenizer, WordTable, word_table

IGNORE = -100
Mode = Literal["input_only", "vanilla"]


@dataclass(frozen=True)
class Switches:
    """The K replaced words, in order: source tokens start..start+n-1 became input tokens p..p+m-1."""

    word: IntArray  # (K,) position of the word in the document
    start: IntArray  # (K,)
    n: IntArray  # (K,)
    p: IntArray  # (K,)
    m: IntArray  # (K,)
    target: IntArray  # (K,) index into CodeSwitcher.targets


@dataclass(frozen=True)
class Switched:
    """A switched document: `input_ids` and `labels` (T',), the replaced words, and counts.

    `switched_words` of `source_words` words and `switched_tokens` of `source_tokens` tokens were replaced.
    """

    input_ids: IntArray
    labels: IntArray
    switched_words: int
    source_words: int
    switched_tokens: int
    source_tokens: int
    switches: Switches


def switch_tokens(
    ids: IntArray,
    starts: IntArray,
    u: NDArray[np.floating[Any]],
    table: SwitchTable,
    ratio: float,
    mode: Mode = "input_only",
) -> tuple[IntArray, IntArray, Switches]:
    """Replace words of `ids` (T,) and return (input_ids (T',), labels (T',), switches): steps 2 to 4 of the module.

    starts (words,): index of each word's first token. u (words,): uniform numbers in [0, 1).
    """
    candidates = np.flatnonzero(u < ratio)
    words = Ragged(ids, np.append(starts, len(ids))).take(candidates)
    entries = table.find(words)
    known = np.flatnonzero(entries >= 0)
    word, n = candidates[known], words.lengths[known]
    start = starts[word]
    slot, translation = table.draw(entries[known], u[word] / ratio if ratio else u[word])
    substitutes = table.translations.take(translation)
    m = substitutes.lengths
    p = start + np.cumsum(m - n) - (m - n)
    input_ids, labels = replace_spans(ids, start, n, p, substitutes, mode)
    return input_ids, labels, Switches(word, start, n, p, m, table.slot_language[slot])


def replace_spans(
    ids: IntArray, start: IntArray, n: IntArray, p: IntArray, substitutes: Ragged, mode: Mode
) -> tuple[IntArray, IntArray]:
    """Replace `n` (K,) tokens from each `start` (K,) of `ids` (T,) by row k of `substitutes`, which begins at p (K,) of the
    result. Returns (input_ids, labels).
    """
    counts = np.ones(len(ids), dtype=np.int64)
    counts[spans(start, n)] = 0
    counts[start] = substitutes.lengths
    input_ids = np.repeat(ids, counts)
    positions = spans(p, substitutes.lengths)
    input_ids[positions] = substitutes.values
    labels = input_ids.copy()
    if mode == "input_only":
        labels[positions] = IGNORE
        labels[p] = ids[start]
    return input_ids, labels


@dataclass(frozen=True)
class Known:
    """Coverage of a text by a switcher's lexicon.

    words: words of the text. known: words of them that the lexicon translates. targets: for each target language, the
    expected number of known words that draw it.
    """

    words: int
    known: int
    targets: dict[str, float]

    @property
    def coverage(self) -> float:
        """Share of the words that the lexicon translates; rho · coverage is the expected switch rate."""
        return self.known / self.words if self.words else 0.0


class CodeSwitcher:
    """Switches documents of the source language. Deterministic in (seed, epoch, document, word position).

    ratio: rho, the probability that a word of the lexicon is replaced; 0..1, else RecipeError. mode: "input_only"
    (labels stay in the source language) or "vanilla" (labels are the switched inputs); else RecipeError. source:
    language of the documents; it must be the lexicon's source language, else LexiconError. targets: languages to switch
    into; None for all target languages of the lexicon. Others are a LexiconError. weights: relative frequency of each
    target among the targets that translate a word. A missing target has weight 1, a target with weight 0 is never
    drawn. None draws all alike. schedule: factor on the ratio over the course of a phase; the product is cut at 1. None
    for a constant ratio.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        lexicon: Lexicon,
        *,
        ratio: float = 0.05,
        mode: Mode = "input_only",
        source: str = "en",
        targets: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        seed: int = 0,
        schedule: Schedule | None = None,
    ) -> None:
        if not 0 <= ratio <= 1:
            raise RecipeError(f"switch ratio {ratio} is not in 0..1: it is the probability of replacing a known word.")
        if mode not in ("input_only", "vanilla"):
            raise RecipeError(f"switch mode {mode!r} is unknown; use 'input_only' or 'vanilla'.")
        if source != lexicon.source:
            raise LexiconError(f"the lexicon translates from {lexicon.source!r}, the text is {source!r}.")
        self.targets = tuple(lexicon.targets if targets is None else targets)
        unknown = set(self.targets) - set(lexicon.targets)
        if unknown:
            raise LexiconError(
                f"the lexicon has no translations into {', '.join(sorted(unknown))}; it has {', '.join(lexicon.targets)}."
            )
        self.ratio, self.mode, self.seed, self.schedule = ratio, mode, seed, schedule
        self.uses_progress = schedule is not None
        self.words: WordTable = word_table(tokenizer)
        self._clone = clone_language(tokenizer) if is_clone(source) else None
        if weights:
            self.targets = tuple(target for target in self.targets if weights.get(target, 1.0))
        self.table = switch_table(tokenizer, lexicon, self.targets)
        if weights:
            self.table = replace(self.table, weights=tuple(weights.get(target, 1.0) for target in self.targets))

    @property
    def independent(self) -> bool:
        """Whether each word is drawn by itself at one ratio. A schedule gives whole documents a ratio."""
        return self.schedule is None

    @property
    def mean_ratio(self) -> float:
        """The mean ratio over the course of a phase."""
        return self.ratio * (self.schedule.mean if self.schedule else 1.0)

    def switch(
        self,
        ids: ArrayLike,
        *,
        epoch: int = 0,
        document: int = 0,
        progress: float = 0.0,
        starts: ArrayLike | None = None,
    ) -> Switched:
        """Switch the token ids (T,) of one document. Ids outside the vocabulary are a ValueError.

        epoch: number of the pass over the text. document: number of the document; documents with the same number have
        the same draws. progress: finished share of the phase (0..1), used by the schedule. starts: indices of the
        words' first tokens, if a segmenter found them; None finds the words with the tokenizer.
        """
        ids = np.asarray(ids, dtype=np.int64)
        begins = self._begins(ids, starts)
        starts = np.flatnonzero(begins)
        u = self.draws(ids, starts, epoch, document)
        ratio = self.ratio if self.schedule is None else min(1.0, self.ratio * self.schedule(progress))
        input_ids, labels, switches = switch_tokens(ids, starts, u, self.table, ratio, self.mode)
        return Switched(
            input_ids=input_ids,
            labels=labels,
            switched_words=len(switches.word),
            source_words=self._count_words(ids, begins),
            switched_tokens=int(switches.n.sum()),
            source_tokens=len(ids),
            switches=switches,
        )

    def rewrite(
        self,
        ids: NDArray[Any],
        *,
        epoch: int = 0,
        document: int = 0,
        progress: float = 0.0,
        starts: NDArray[Any] | None = None,
    ) -> Rewritten:
        """Switch a document as `switch` does, for `prealign.text.blocks` (its `Rewriter` protocol)."""
        switched = self.switch(ids, epoch=epoch, document=document, progress=progress, starts=starts)
        into = np.bincount(switched.switches.target, minlength=len(self.targets)).tolist()
        return Rewritten(
            switched.input_ids,
            switched.labels,
            words=switched.source_words,
            switched_words=switched.switched_words,
            tokens=switched.source_tokens,
            switched_tokens=switched.switched_tokens,
            into=dict(zip(self.targets, into, strict=True)),
        )

    def known(self, documents: Iterable[tuple[ArrayLike, ArrayLike | None]]) -> Known:
        """Return the lexicon's coverage of documents, each given as (ids (T,), `starts` as in `switch`)."""
        return self.total([self.tally(documents)])

    def tally(self, documents: Iterable[tuple[ArrayLike, ArrayLike | None]]) -> tuple[int, IntArray]:
        """Return the number of words of the documents, and the count of each table entry (E,) among them."""
        times, words = np.zeros(len(self.table.keys), dtype=np.int64), 0
        for document, starts in documents:
            ids = np.asarray(document, dtype=np.int64)
            begins = self._begins(ids, starts)
            entries = self.table.find(Ragged(ids, np.append(np.flatnonzero(begins), len(ids))))
            times += np.bincount(entries[entries >= 0], minlength=len(times))
            words += self._count_words(ids, begins)
        return words, times

    def total(self, tallies: Iterable[tuple[int, IntArray]]) -> Known:
        """Return the coverage of all documents together, from the results of `tally`."""
        words, times = 0, np.zeros(len(self.table.keys), dtype=np.int64)
        for more_words, more_times in tallies:
            words += more_words
            times += more_times
        return Known(words, int(times.sum()), self.table.shares(times))

    def _begins(self, ids: IntArray, starts: ArrayLike | None) -> NDArray[np.bool_]:
        if starts is None:
            return self.words.starts(self._tokenizer_ids(ids))
        begins = np.zeros(len(ids), dtype=bool)
        begins[np.asarray(starts, dtype=np.int64)] = True
        return begins

    def _tokenizer_ids(self, ids: IntArray) -> IntArray:
        """Map ids of a clone back to the ids of the tokenizer; return others unchanged."""
        return ids if self._clone is None else self._clone.unmap(ids)

    def _count_words(self, ids: IntArray, begins: NDArray[np.bool_]) -> int:
        """Count the words with a letter or digit; the others are punctuation.

        The last token of a word decides: a new word begins wherever letters and signs meet, so no word mixes them.
        """
        wordlike = self.words.wordlike[self._tokenizer_ids(ids)]
        return int(np.count_nonzero(wordlike[:-1] & begins[1:]) + np.count_nonzero(wordlike[-1:]))

    def draws(self, ids: IntArray, starts: IntArray, epoch: int, document: int) -> NDArray[np.float32]:
        """Return one number in 0..1 for each word of a document: below the ratio, the word is a candidate.

        starts: the words' first tokens. A longer document begins with the same numbers.
        """
        return generator_of(f"{self.seed}/{epoch}", document).random(len(starts), dtype=np.float32)


def generator_of(purpose: str, document: int) -> np.random.Generator:
    """Return the random generator of a purpose, such as "seed/epoch", and a document."""
    return np.random.Generator(np.random.Philox(key=[xxhash.xxh64_intdigest(purpose.encode()), document]))


def tally(switcher: Any, tokens: Dataset, rows: range) -> tuple[int, IntArray]:
    """Return `CodeSwitcher.tally` of rows of a tokenised dataset."""
    # It stands in this module because worker processes import it, and this module does not import torch.
    return switcher.tally(read_tokens(tokens, rows))
