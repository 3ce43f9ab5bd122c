"""Where words begin in a token sequence, for any fast tokenizer.

A *word* is a run of tokens between two boundaries; the words of a sequence tile it, punctuation being words too. There
is a boundary where the tokenizer's own pre-tokenizer splits, and where a run of letters or digits meets something else
(SentencePiece-style tokenizers split at spaces only, and a dictionary knows "house", not "house,"). There is none beside
a mark within a run: pre-tokenizers of GPT-2's kind part vowel signs from their letters (हिन्दी, كِتَاب), dictionaries do not.

1. Decode every token after an anchor letter: its *surface* in running text, with the space it brings along.
2. Sort the heads and the tails of all surfaces into a few classes: two heads are alike if the pre-tokenizer splits them
   alike from each of a set of probe strings and they start with the same kind of character; likewise tails.
3. Ask the pre-tokenizer once about each pair (tail class, head class).
4. At use, a boundary before token j is one table look-up on (tail class of j-1, head class of j), vectorised.

No marker ("▁", "Ġ", "##") and no token id is written here; all of it comes from the tokenizer's decoder and
pre-tokenizer.
"""

from __future__ import annotations

import unicodedata
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import Metaspace

from prealign.errors import TokenizerError

Ids = NDArray[np.integer[Any]]
Tokenizer = Any  # transformers.PreTrainedTokenizerFast; typed loosely because transformers ships no usable stubs

_ANCHOR = "a"
SIGN_MARKS = "".join(map(chr, (*range(0xFE00, 0xFE10), 0x20E3)))
"""The variation selectors and the key cap: marks by category, of signs in text."""
_PROBES = ("a", "A", "s", "é", "中", "1", " ", " a", "  ", "\n", "'", ".", "(", "-", "_", "$", "́")
_REPLACEMENT = "�"  # what decoders print for bytes that are only part of a character
_FRAGMENT = "ø"  # a part of a character is treated as a letter: most multi-byte characters are


def kind(char: str) -> str:
    """Coarse class of a character: 'w' letter, mark or digit; ' ' plain space; 'n' other white space; 'o' the rest.

    Marks that choose the look of a sign (❤️, 1️⃣) are signs.
    """
    if char == " ":
        return " "
    if char.isspace():
        return "n"
    return "w" if unicodedata.category(char)[0] in "LMN" and char not in SIGN_MARKS else "o"


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"


def _kinds_split(before: str, after: str) -> bool:
    """Whether characters of these kinds belong to different words; a plain space goes with what follows it."""
    return before == "n" or (before != " " and before != after)


@dataclass(frozen=True)
class WordTable:
    """What a vocabulary says about word boundaries.

    `tail` and `head` (V,) are the classes of each token's last and first characters; `boundary` (tails · heads,) says
    whether a word begins between them; `wordlike` (V,) marks tokens with a letter or digit; `surfaces` are the tokens
    as they read in running text. Tail classes are premultiplied by the number of head classes.
    """

    tail: NDArray[np.uint32]
    head: NDArray[np.uint32]
    boundary: NDArray[np.bool_]
    wordlike: NDArray[np.bool_]
    surfaces: tuple[str, ...]

    def starts(self, ids: Ids) -> NDArray[np.bool_]:
        """Return (T,) bool: True where a word begins. Ids beyond the vocabulary are a ValueError."""
        if len(ids) and (ids.min() < 0 or ids.max() >= len(self.tail)):
            raise ValueError(f"token ids must lie in 0..{len(self.tail) - 1}, got {ids.min()}..{ids.max()}")
        starts = np.ones(len(ids), dtype=bool)
        np.take(self.boundary, self.tail[ids[:-1]] + self.head[ids[1:]], out=starts[1:])
        return starts

    def text(self, ids: Ids) -> str:
        """Return the surface of a word, without the white space around it."""
        return "".join(self.surfaces[i] for i in ids).strip()


def word_starts(tokenizer: Tokenizer, ids: Ids | Sequence[int] | str) -> NDArray[np.bool_]:
    """Return (T,) bool, True where a word begins; a text is tokenised first, without special tokens."""
    if isinstance(ids, str):
        ids = tokenizer.encode(ids, add_special_tokens=False)
    return word_table(tokenizer).starts(np.asarray(ids, dtype=np.int64))


_TABLES: weakref.WeakKeyDictionary[Any, tuple[int, WordTable]] = weakref.WeakKeyDictionary()


def word_table(tokenizer: Tokenizer) -> WordTable:
    """Return the tokenizer's table, computed at first use and again when tokens were added."""
    if not getattr(tokenizer, "is_fast", False):
        raise TokenizerError(
            f"{type(tokenizer).__name__} has no fast (Rust) implementation, and word boundaries come from its "
            "pre-tokenizer. Load it with AutoTokenizer, or convert it to a tokenizer.json."
        )
    size, table = _TABLES.get(tokenizer, (0, None))
    if table is None or size != len(tokenizer):
        table = _build(tokenizer)
        _TABLES[tokenizer] = (len(tokenizer), table)
    return table


def _build(tokenizer: Tokenizer) -> WordTable:
    special = set(tokenizer.all_special_ids)
    surfaces = tuple("" if i in special else s for i, s in enumerate(_surfaces(tokenizer)))
    split = _splitter(tokenizer)
    tails, tail_names = _classes([s[-2:] for s in surfaces], lambda tail, probe: split(tail, probe), last=True)
    heads, head_names = _classes([s[:2] for s in surfaces], lambda head, probe: split(probe, head), last=False)
    boundary = np.array([[split(t, h) for h in head_names] for t in tail_names], dtype=bool)
    wordlike = np.array([any(kind(c) == "w" for c in s) for s in surfaces], dtype=bool)
    return WordTable(
        tail=(tails * len(head_names)).astype(np.uint32),
        head=heads.astype(np.uint32),
        boundary=boundary.ravel(),
        wordlike=wordlike,
        surfaces=surfaces,
    )


def _surfaces(tokenizer: Tokenizer) -> list[str]:
    """Decode each token as it reads after a letter; parts of characters read as a letter."""
    anchor = tokenizer.encode(_ANCHOR, add_special_tokens=False)
    decode = tokenizer.backend_tokenizer.decode
    prefix = decode(anchor, skip_special_tokens=False)
    surfaces = []
    for token in range(len(tokenizer)):
        text = decode([*anchor, token], skip_special_tokens=False)
        text = text[len(prefix) :] if text.startswith(prefix) else decode([token], skip_special_tokens=False)
        surfaces.append(text.replace(_REPLACEMENT, _FRAGMENT))
    return surfaces


def _splitter(tokenizer: Tokenizer) -> Any:
    """Return split(before, after): does a word begin where two strings meet? Empty strings (specials) always split."""
    # A tokenizer without one (Llama 2's kind) has its words begin at every space.
    own = tokenizer.backend_tokenizer.pre_tokenizer or Metaspace(prepend_scheme="never")
    pre_tokenize = own.pre_tokenize_str

    def split(before: str, after: str) -> bool:
        if not before or not after or _kinds_split(kind(before[-1]), kind(after[0])):
            return True
        if kind(before[-1]) == "w" and (_is_mark(before[-1]) or _is_mark(after[0])):
            return False
        middle = len(before)
        return not any(start < middle < end for _, (start, end) in pre_tokenize(before + after))

    return split


def _classes(ends: list[str], split: Any, *, last: bool) -> tuple[NDArray[np.int64], list[str]]:
    """Group strings by how they split from the probes and by their outer character's kind.

    Returns each string's class (V,) and one member of every class.
    """
    signatures: dict[str, tuple[Any, ...]] = {}
    for end in set(ends):
        outer = (end[-1] if last else end[0]) if end else ""
        # A space in front decides differently when a letter, a sign or nothing comes after it.
        inner = tuple(kind(c) for c in end)
        signatures[end] = (kind(outer) if outer else "", inner, *(split(end, probe) for probe in _PROBES))
    names: dict[tuple[Any, ...], int] = {}
    members: list[str] = []
    for end in sorted(signatures):
        if signatures[end] not in names:
            names[signatures[end]] = len(members)
            members.append(end)
    return np.array([names[signatures[end]] for end in ends], dtype=np.int64), members
