"""Token ids of texts, and of words as in running text.

1. A word follows a space (*spaced*), or directly a sign, a line break or another word (*bare*).
2. Spaced: the tokens of `a word` after those of `a`. Bare: the tokens of `(word` after those of `(`.
3. Scripts without spaces have the bare form only.
4. A word of a clone language (`en-clone`) has the source word's tokens, mapped to their twins.
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

AS_CHARACTERS: dict[str, Any] = {
    "add_special_tokens": False,
    "split_special_tokens": True,
    "return_attention_mask": False,
    "verbose": False,
}
"""How a tokenizer is called for running text: a special token that is written in it (`<|endoftext|>`) is characters."""

_OPENERS = {"spaced": ("a", "a "), "bare": ("(", "(")}


def text_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each text, without special tokens."""
    return tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"] if texts else []


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
    encoded = text_ids(tokenizer, [before + word for word in words])
    # A tokenizer that merges across the sign has no bare form: encode such a word alone.
    merged = [i for i, ids in enumerate(encoded) if ids[: len(head)] != head or len(ids) == len(head)]
    alone = dict(zip(merged, text_ids(tokenizer, [words[i] for i in merged]), strict=True))
    rows = Ragged.of([alone[i] if i in alone else ids[len(head) :] for i, ids in enumerate(encoded)])
    return replace(rows, values=clone_language(tokenizer).map(rows.values)) if is_clone(language) else rows
