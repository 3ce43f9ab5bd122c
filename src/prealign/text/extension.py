"""Extend a BPE tokenizer by tokens of target languages; the source's text is tokenised exactly as before.

1. Count the words of both texts as runs of the base tokenizer's tokens: a word ends where its pre-tokenizer splits, or where
   `prealign.text.words` sees a boundary.
2. Go on with BPE on the targets' words where the base stopped (Purason et al. 2025): the most frequent pair of neighbours
   becomes a token, again and again. So does a character, if frequent enough, that the base writes in bytes or as unknown.
3. Barred are pairs and characters that the source's text has, and strings that are a token of the base or a whole word of
   the source.
4. Append the tokens to the vocabulary, and their merges to the merges.

Merges of the base come first: every text is tokenised as before, then new merges join tokens of the base. In the source's
text the first to do so would need a pair that it has, and those are barred.
"""

from __future__ import annotations

import copy
import heapq
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer as FastTokenizer

from prealign.errors import TokenizerError
from prealign.text.encode import AS_CHARACTERS, encode_words
from prealign.text.words import Tokenizer, word_table

Word = tuple[int, ...]
Pattern = tuple[int, ...]
"""What becomes one token: a pair of neighbours, or a character that is no token yet."""

_LEAST_COUNT = 2
_BATCH = 256


def extend_tokenizer(
    base: Tokenizer, number: int, source: Iterable[str], targets: Callable[[], Iterable[str]]
) -> tuple[Tokenizer, list[list[int]]]:
    """Return `base` with up to `number` new tokens, and for each of them the tokens of `base` that it stands for.

    Their ids follow those of `base`. They are fewer if no more pairs occur twice. source: the text that stays as it is;
    targets: returns the text to learn from, anew at each call. TokenizerError if `base` is not of the kind that can be.
    """
    settings = _settings(base)
    lacking = _lacking(base, settings["model"], targets())
    wide = _with(base, settings, lacking, []) if lacking else base
    strings = dict(enumerate(wide.convert_ids_to_tokens(list(range(len(wide))))))
    bpe = _Continued(
        _words(targets(), wide),
        _words(source, wide),
        strings,
        characters=range(len(base), len(wide)),
        closed={*base.get_added_vocab().values(), *_substitutes(settings["model"])},
    )
    joined = bpe.learn(number)
    alone = dict(zip(lacking, encode_words(base, lacking, "und", "bare"), strict=True))
    pieces: dict[str, list[int]] = {}
    for string, pattern in joined:
        parts = [[symbol] if symbol < len(base) else pieces.get(strings[symbol]) for symbol in pattern]
        pieces.setdefault(string, [i for part in parts for i in (alone[string].tolist() if part is None else part)])
    merges = [[strings[symbol] for symbol in pattern] for _, pattern in joined if len(pattern) == 2]
    return _with(base, settings, list(pieces), merges), list(pieces.values())


def _settings(base: Tokenizer) -> dict[str, Any]:
    """Return the tokenizer as its file has it. TokenizerError if it cannot be extended."""
    settings: dict[str, Any] = json.loads(base.backend_tokenizer.to_str())
    model = settings["model"]
    if model["type"] != "BPE" or model["continuing_subword_prefix"] or model["end_of_word_suffix"]:
        raise TokenizerError(
            f"tokenizer.extend: only a BPE tokenizer whose word begin is part of its tokens can be extended, and this is "
            f"{model['type']}{' with affixes' if model['type'] == 'BPE' else ''}. Remove tokenizer.extend, or train one: "
            "without tokenizer.path."
        )
    ids = {*model["vocab"].values(), *base.get_added_vocab().values()}
    if ids != set(range(len(base))):
        raise TokenizerError(
            f"tokenizer.extend: the tokenizer's {len(base):,} ids do not run from 0 to {len(base) - 1:,} without a gap."
        )
    return settings


def _lacking(base: Tokenizer, model: dict[str, Any], texts: Iterable[str]) -> list[str]:
    """Return the characters of texts that are no token; those of bytes lack none."""
    if not model["byte_fallback"] and not model["unk_token"]:
        return []
    normalizer = base.backend_tokenizer.normalizer
    found: set[str] = set()
    for text in texts:
        found.update(normalizer.normalize_str(text) if normalizer else text)
    return sorted(char for char in found - model["vocab"].keys() if not char.isspace())


def _substitutes(model: dict[str, Any]) -> set[int]:
    """Return the ids of what is written in place of a character that is no token."""
    names = [f"<0x{byte:02X}>" for byte in range(256)] if model["byte_fallback"] else []
    return {model["vocab"][name] for name in (*names, model["unk_token"]) if name in model["vocab"]}


def _with(base: Tokenizer, settings: dict[str, Any], tokens: Sequence[str], merges: list[list[str]]) -> Tokenizer:
    """Return `base` with tokens and merges put after its own."""
    model = dict(settings["model"])
    # Added tokens that the vocabulary lacks would be numbered anew, after the new tokens.
    own = {token["content"]: token["id"] for token in settings["added_tokens"]} | model["vocab"]
    model["vocab"] = own | {token: len(base) + i for i, token in enumerate(tokens)}
    model["merges"] = [*model["merges"], *merges]
    extended = copy.deepcopy(base)
    extended._tokenizer = FastTokenizer.from_str(json.dumps({**settings, "model": model}))
    return extended


def _words(texts: Iterable[str], tokenizer: Tokenizer) -> Counter[Word]:
    """Count the words of texts, in tokens."""
    table, counts, left = word_table(tokenizer), Counter[Word](), iter(texts)
    while batch := list(islice(left, _BATCH)):
        for encoding in tokenizer(batch, **AS_CHARACTERS).encodings:
            ids, part = encoding.ids, np.array([-1 if word is None else word for word in encoding.word_ids])
            starts = table.starts(np.array(ids, dtype=np.int64))
            starts[1:] |= part[1:] != part[:-1]
            edges = [*np.flatnonzero(starts).tolist(), len(ids)]
            counts.update(tuple(ids[begin:end]) for begin, end in pairwise(edges))
    return counts


class _Continued:
    """BPE on words that are written in tokens already.

    words: to learn from; kept: words of the source; strings: of each id, which new ones are added to; characters: ids that
    are no tokens yet; closed: ids that are never joined.
    """

    def __init__(
        self,
        words: Counter[Word],
        kept: Counter[Word],
        strings: dict[int, str],
        *,
        characters: range,
        closed: Collection[int],
    ) -> None:
        self.strings, self.characters, self.closed = strings, characters, closed
        self.barred: set[Pattern] = {pair for word in kept for pair in pairwise(word)}
        self.barred |= {(symbol,) for word in kept for symbol in word if symbol in characters}
        self.taken = {string for i, string in strings.items() if i not in characters}
        self.taken |= {"".join(strings[symbol] for symbol in word) for word in kept}
        self.words, self.weights = [list(word) for word in words], list(words.values())
        self.allowed: dict[Pattern, bool] = {}
        self.counts: Counter[Pattern] = Counter()
        self.where: dict[Pattern, set[int]] = {}
        for i in range(len(self.words)):
            self._count(i)
        self.heap = [(-count, pattern) for pattern, count in self.counts.items()]
        heapq.heapify(self.heap)

    def learn(self, number: int) -> list[tuple[str, Pattern]]:
        """Return up to `number` new tokens, with what joins to them; one that joins in two ways comes twice."""
        learned: list[tuple[str, Pattern]] = []
        ids: dict[str, int] = {}
        while (pattern := self._most_frequent()) is not None:
            string = self._string(pattern)
            if string not in ids and len(ids) == number:
                break
            self.strings.setdefault(new := ids.setdefault(string, len(self.strings)), string)
            learned.append((string, pattern))
            self._join(pattern, new)
        return learned

    def _string(self, pattern: Pattern) -> str:
        return "".join(self.strings[symbol] for symbol in pattern)

    def _is_allowed(self, pattern: Pattern) -> bool:
        if pattern not in self.allowed:
            if len(pattern) == 1:
                good = pattern[0] in self.characters
            else:
                good = not any(symbol in self.closed or symbol in self.characters for symbol in pattern)
                good = good and self._string(pattern) not in self.taken
            self.allowed[pattern] = good and pattern not in self.barred
        return self.allowed[pattern]

    def _patterns(self, word: list[int]) -> Iterator[Pattern]:
        every = (*((symbol,) for symbol in word if symbol in self.characters), *pairwise(word))
        return (pattern for pattern in every if self._is_allowed(pattern))

    def _count(self, i: int) -> None:
        for pattern in self._patterns(self.words[i]):
            self.counts[pattern] += self.weights[i]
            self.where.setdefault(pattern, set()).add(i)

    def _most_frequent(self) -> Pattern | None:
        while self.heap:
            negative, pattern = heapq.heappop(self.heap)
            count = self.counts[pattern]
            if count == -negative >= _LEAST_COUNT:
                return pattern
            if _LEAST_COUNT <= count < -negative:
                heapq.heappush(self.heap, (-count, pattern))
        return None

    def _join(self, pattern: Pattern, new: int) -> None:
        touched: set[Pattern] = set()
        for i in self.where.pop(pattern):
            for old in self._patterns(self.words[i]):
                self.counts[old] -= self.weights[i]
            self.words[i] = _joined(self.words[i], pattern, new)
            self._count(i)
            touched.update(self._patterns(self.words[i]))
        for other in touched:
            heapq.heappush(self.heap, (-self.counts[other], other))


def _joined(word: list[int], pattern: Pattern, new: int) -> list[int]:
    """Return the word with the pattern replaced, from left to right."""
    written: list[int] = []
    i = 0
    while i < len(word):
        found = tuple(word[i : i + len(pattern)]) == pattern
        written.append(new if found else word[i])
        i += len(pattern) if found else 1
    return written
