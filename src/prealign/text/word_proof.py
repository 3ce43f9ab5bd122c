"""Proof that a tokenizer's tokens tell where words begin.

1. Take words from the vocabulary: surfaces of lower-case letters, alone and joined in pairs.
2. Encode pairs of them joined (`carpet`) and parted (`car pet`), with the tokenizer's own offsets.
3. The same tokens for both: no table can tell words, and the tokenizer is refused.
4. A word of the text has to begin at its first token, or at the white space before it, and nowhere else.

Texts with an unknown or special token prove nothing and are passed over, and so is a word that begins within a token. Added
tokens are not among the words: tokenizers find them inside words too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from prealign.errors import TokenizerError

_SAMPLE = 100
"""Words, spread over the vocabulary."""
_WORD = re.compile(r"\S+")
_REMEDY = (
    "Use one whose tokens keep the space before a word (byte-level, SentencePiece), mark the end of a word (`</w>`) or what "
    "continues it (`##`), and whose decoder is set."
)

Starts = Callable[[Any], Any]
"""ids (T,) -> (T,) bool: the table under test."""


def prove(tokenizer: Any, surfaces: Sequence[str], starts: Starts) -> None:
    """Compare a table's word starts with the tokenizer's offsets; TokenizerError with the reason if they differ.

    surfaces: each token as it reads in running text.
    """
    added = tokenizer.added_tokens_decoder
    pairs = list(pairwise(_words([surface for i, surface in enumerate(surfaces) if i not in added])))
    parted, joined = ([gap.join(pair) for pair in pairs] for gap in (" ", ""))
    texts = [*parted, *joined]
    if not texts:
        return
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    nothing = {*tokenizer.all_special_ids}
    ids = [found if nothing.isdisjoint(found) else [] for found in encoded["input_ids"]]
    for i, text in enumerate(parted):
        if ids[i] and ids[i] == ids[len(parted) + i]:
            raise TokenizerError(
                f"the tokenizer's tokens do not tell where words begin: `{text}` and `{joined[i]}` are the same tokens, so "
                f"parts of words would be taken for words. {_REMEDY}"
            )
    for text, tokens, offsets in zip(texts, ids, encoded["offset_mapping"], strict=True):
        if tokens and (at := _wrong(text, offsets, starts(np.array(tokens, dtype=np.int64)))) is not None:
            written = " ".join(tokenizer.convert_ids_to_tokens(tokens))
            kinds = (tokenizer.backend_tokenizer.pre_tokenizer, tokenizer.backend_tokenizer.decoder)
            names = [type(part).__name__ if part is not None else "none" for part in kinds]
            raise TokenizerError(
                f"the tokenizer's tokens do not tell where words begin: in `{text}`, written as {written}, they are wrong "
                f"about `{text[at:]}` (pre-tokenizer: {names[0]}, decoder: {names[1]}). {_REMEDY}"
            )


def _words(surfaces: Sequence[str]) -> list[str]:
    """Return words of lower-case letters that the vocabulary has, each once."""
    found = dict.fromkeys(
        word for word in map(str.strip, surfaces) if word.isascii() and word.isalpha() and word.islower()
    )
    whole = [word for word in found if len(word) > 1]
    sample = (whole or list(found))[:: max(1, len(whole or found) // _SAMPLE)]
    return [*(sample if whole else []), *map("".join, pairwise(sample))]


def _wrong(text: str, offsets: Sequence[tuple[int, int]], starts: Any) -> int | None:
    """Return the place in the text of the first token that the table is wrong about."""
    blank = [not text[begin:end].strip() for begin, end in offsets]
    for word in _WORD.finditer(text):
        first, *others = _tokens_of(word.span(), offsets, blank)
        if others and any(starts[token] for token in others):
            return offsets[next(token for token in others if starts[token])][0]
        over = word.start() > 0 and offsets[first][0] < word.start() - 1
        if not over and not starts[first] and not (first and blank[first - 1] and starts[first - 1]):
            return word.start()
    return None


def _tokens_of(span: tuple[int, int], offsets: Sequence[tuple[int, int]], blank: Sequence[bool]) -> Iterator[int]:
    for token, (begin, end) in enumerate(offsets):
        if begin < span[1] and end > span[0] and not blank[token]:
            yield token
