"""Where words begin in a token sequence, for any fast tokenizer.

A *word* is a run of tokens between two boundaries; the words of a sequence tile it, punctuation being words too. There
is a boundary where the tokenizer's own pre-tokenizer splits, and where a run of letters or digits meets something else
(SentencePiece-style tokenizers split at spaces only, and a dictionary knows "house", not "house,"). There is none beside
a mark within a run: pre-tokenizers of GPT-2's kind part vowel signs from their letters (हिन्दी, كِتَاب), dictionaries do not.

1. Decode every token after an anchor letter: its *surface* in running text, with the space it brings along. Tokens that
   end a word (`</w>`) bring the space behind them. The unknown token is a letter: it stands for a part of a word.
2. Sort the heads and the tails of all surfaces into a few classes: two heads are alike if the pre-tokenizer splits them
   alike from each of a set of probe strings and they start with the same kind of character; likewise tails.
3. Ask the pre-tokenizer once about each pair (tail class, head class).
4. Prove the table on words of the vocabulary (`prealign.text.word_proof`): a tokenizer that it fails for is refused.
5. At use, a boundary before token j is one table look-up on (tail class of j-1, head class of j), vectorised.

No marker ("▁", "Ġ", "##", "</w>") and no token id is written here; all of it comes from the tokenizer's model, decoder and
pre-tokenizer.
"""

from __future__ import annotations

import json
import unicodedata
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers.models import Unigram, WordLevel, WordPiece
from tokenizers.pre_tokenizers import Metaspace

from prealign.errors import TokenizerError
from prealign.text.word_proof import prove

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
    """What a vocabulary of V rows says about word boundaries; ids in its holes are alone, as special tokens are.

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
    """Return the tokenizer's table, computed at first use and again when tokens were added.

    TokenizerError for a tokenizer without a fast implementation, or whose tokens do not tell where words begin.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise TokenizerError(
            f"{type(tokenizer).__name__} has no fast (Rust) implementation, and word boundaries come from its "
            "pre-tokenizer. Load it with AutoTokenizer, or convert it to a tokenizer.json."
        )
    size, table = _TABLES.get(tokenizer, (0, None))
    if table is None or size != len(tokenizer):
        table = _build(tokenizer)
        prove(tokenizer, table.surfaces, table.starts)
        _TABLES[tokenizer] = (len(tokenizer), table)
    return table


_ROWS: weakref.WeakKeyDictionary[Any, tuple[int, int]] = weakref.WeakKeyDictionary()


def rows(tokenizer: Tokenizer) -> int:
    """Return how many embedding rows a vocabulary needs: its highest id + 1, which is more than its size if it has holes."""
    size, found = _ROWS.get(tokenizer, (0, 0))
    if size != len(tokenizer):
        found = max(tokenizer.get_vocab().values()) + 1
        _ROWS[tokenizer] = (len(tokenizer), found)
    return found


def special_ids(tokenizer: Tokenizer) -> set[int]:
    """Return the ids of special tokens, the unknown token among them."""
    added = (i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    return {*tokenizer.all_special_ids, *added}


def text_of(tokenizer: Tokenizer) -> Callable[[Sequence[int]], str]:
    """Return the function that writes tokens as text.

    It is the tokenizer's decoder, but for what the model knows better: after the end of a word (`house</w>`) is a space, and
    without a decoder before all that does not continue one (`##s`).
    """
    backend = tokenizer.backend_tokenizer
    suffix, decoder = _suffix(tokenizer), backend.decoder
    prefix = getattr(backend.model, "continuing_subword_prefix", None)

    def ended(ids: Sequence[int]) -> str:
        words: list[list[str]] = [[]]
        for string in filter(None, map(backend.id_to_token, ids)):
            words[-1].append(string.removesuffix(suffix))
            if string.endswith(suffix):
                words.append([])
        return " ".join(decoder.decode(word) if decoder and word else "".join(word) for word in words)

    def continued(ids: Sequence[int]) -> str:
        strings = filter(None, map(backend.id_to_token, ids))
        return "".join(s.removeprefix(prefix) if s.startswith(prefix) else f" {s}" for s in strings)

    if suffix:
        return ended
    return continued if prefix and decoder is None else partial(backend.decode, skip_special_tokens=False)


def _suffix(tokenizer: Tokenizer) -> str | None:
    """Return what the model writes at the end of words, as in `house</w>`."""
    return getattr(tokenizer.backend_tokenizer.model, "end_of_word_suffix", None)


def _build(tokenizer: Tokenizer) -> WordTable:
    unknown = _unknown(tokenizer)
    special = special_ids(tokenizer) - unknown.keys()
    surfaces = tuple("" if i in special else unknown.get(i, s) for i, s in enumerate(_surfaces(tokenizer)))
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
    # Where the end of a word is marked, what comes before a token says nothing about it.
    anchor = [] if _suffix(tokenizer) else tokenizer.encode(_ANCHOR, add_special_tokens=False)
    decode = text_of(tokenizer)
    prefix = decode(anchor)
    surfaces = []
    for token in range(rows(tokenizer)):
        text = decode([*anchor, token])
        text = text[len(prefix) :] if text.startswith(prefix) else decode([token])
        surfaces.append(text.replace(_REPLACEMENT, _FRAGMENT))
    return surfaces


def _unknown(tokenizer: Tokenizer) -> dict[int, str]:
    """Return the surface of the unknown token: a letter, of a word of its own where models know whole words only.

    Empty if there is none, or if it is the document separator too, which byte-level models never write for a text.
    """
    model = tokenizer.backend_tokenizer.model
    if isinstance(model, Unigram):
        unknown = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["unk_id"]
    else:
        unknown = model.token_to_id(model.unk_token) if model.unk_token else None
    if unknown is None or unknown == tokenizer.eos_token_id:
        return {}
    return {unknown: f" {_FRAGMENT}" if isinstance(model, WordPiece | WordLevel) else _FRAGMENT}


def _splitter(tokenizer: Tokenizer) -> Any:
    """Return split(before, after): does a word begin where two strings meet? Empty strings (specials) always split."""
    # A tokenizer without one (Llama 2's kind) has its words begin at every space.
    own = tokenizer.backend_tokenizer.pre_tokenizer or Metaspace(prepend_scheme="never")
    pre_tokenize = own.pre_tokenize_str
    ends_marked = bool(_suffix(tokenizer))

    def split(before: str, after: str) -> bool:
        if not before or not after or _kinds_split(kind(before[-1]), kind(after[0])):
            return True
        if ends_marked:
            # A mark that the pre-tokenizer parts from its letter ends no word.
            return before[-1] == " " and not _is_mark(after[0]) and not _is_mark(before[-2:][0])
        if kind(before[-1]) == "w" and (_is_mark(before[-1]) or _is_mark(after[0])):
            return False
        middle = len(before)
        pieces = [span for _, span in pre_tokenize(before + after)]
        if before[-1] == " " and not any(start < middle <= end for start, end in pieces):
            return False  # the pre-tokenizer drops spaces, and this one is written as a token: it belongs to its word
        return not any(start < middle < end for start, end in pieces)

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
