"""How text, and a word of a language as it would be in running text, are written in tokens.

1. A word stands either after a space (*spaced*) or directly after a sign, a line break or another word (*bare*).
2. Spaced: the tokens that `a word` has beyond those of `a`. Bare: those that `(word` has beyond those of `(`.
3. Scripts without spaces know the bare form only.
4. A word of a clone language (`en-clone`) is the source word's tokens, mapped to their twins.
5. Running text gets no special tokens. Those written in it (`<|endoftext|>`) are characters, and do not separate documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prealign.languages import UNSPACED_LANGUAGES, is_clone
from prealign.text.clone import clone_language
from prealign.text.ragged import Ragged
from prealign.text.words import Tokenizer

CONTEXTS = ("spaced", "bare")

_OPENERS = {"spaced": ("a", "a "), "bare": ("(", "(")}


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], *, offsets: bool = False) -> Any:
    """Tokenise running text; `input_ids` of the result has a list a text, `offset_mapping` the characters if asked for."""
    return tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        return_offsets_mapping=offsets,
        verbose=False,
    )


def encode_words(tokenizer: Tokenizer, words: Sequence[str], language: str, context: str = "spaced") -> Ragged:
    """Return each word's token ids, a row a word, in running text of `language`; no special tokens.

    `context` is "spaced" or "bare" (see above); unspaced languages give the bare form in both.
    """
    if not words:
        return Ragged.of([])
    if language.split("-")[0] in UNSPACED_LANGUAGES:
        context = "bare"
    opener, before = _OPENERS[context]
    head = tokenizer.encode(opener, add_special_tokens=False)
    encoded = _batch(tokenizer, [before + word for word in words])
    # A tokenizer that merges across the sign has no bare form of its own: there the word as encoded alone is used.
    merged = [i for i, ids in enumerate(encoded) if ids[: len(head)] != head or len(ids) == len(head)]
    alone = dict(zip(merged, _batch(tokenizer, [words[i] for i in merged]), strict=True)) if merged else {}
    rows = Ragged.of([alone[i] if i in alone else ids[len(head) :] for i, ids in enumerate(encoded)])
    return replace(rows, values=clone_language(tokenizer).map(rows.values)) if is_clone(language) else rows


def _batch(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
