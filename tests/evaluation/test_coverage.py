"""Words inside and outside the lexicon, against a loop over the words as text."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tokenizers_in_memory as memory
from prealign.evaluation.lm.coverage import KINDS, lexicon_forms, nats_of_kinds, spelled_forms, token_kinds
from prealign.lexicon import Group, Lexicon
from prealign.lexicon.normalise import arabic_key
from prealign.text.clone import clone_language
from prealign.text.segment import load_segmenter, token_starts
from prealign.text.words import word_table

WORDS = {"house": ("Haus", "Gebäude"), "water": ("Wasser",), "it": ("es",), "Anna": ("Anna",), "not used": ("am Fluß",)}
GERMAN = Lexicon([Group(word, {"de": senses}) for word, senses in WORDS.items()], source="en", targets=("de", "ru"))
TEXT = memory.DE + "ES „Es“ WASSER, wasser (Wasser)\nHaus 12 am Fluß Hausboot ANNA"


def naive_kinds(tokenizer: Any, ids: np.ndarray, forms: set[str]) -> list[int]:
    """The kind of each token of a source or target text: one word at a time, decoded."""
    kinds: list[int] = []
    for word in np.split(ids, np.flatnonzero(word_table(tokenizer).starts(ids))[1:]):
        text = word_table(tokenizer).text(word)
        kind = 0 if text in forms else 1 if any(c.isalnum() for c in text) else 2
        kinds += [kind] * len(word)
    return kinds


def cased(words: list[str]) -> set[str]:
    return {form for word in words for form in (word, word[:1].upper() + word[1:], word.upper())}


@pytest.mark.parametrize("name", ["byte_bpe", "metaspace", "deepseek"])
def test_kinds_are_those_of_a_loop_over_words(name: str) -> None:
    tokenizer = memory.load(name)
    ids = np.array(tokenizer.encode(TEXT, add_special_tokens=False))
    found = token_kinds(ids, lexicon_forms(tokenizer, GERMAN, "de"), tokenizer, "de")
    expected = naive_kinds(tokenizer, ids, cased(["Haus", "Gebäude", "Wasser", "es"]) | {"Anna"})
    assert found.tolist() == expected
    assert set(expected) == {0, 1, 2}


def test_a_clone_has_the_kinds_of_its_source(byte_bpe: Any) -> None:
    clone = clone_language(byte_bpe)
    lexicon = clone.lexicon(["house", "water", "the", "Anna"])
    ids = np.array(byte_bpe.encode(memory.EN, add_special_tokens=False))
    found = token_kinds(clone.map(ids), lexicon_forms(byte_bpe, lexicon, "en-clone"), byte_bpe, "en-clone")
    assert found.tolist() == naive_kinds(byte_bpe, ids, cased(["house", "water", "the"]) | {"Anna"})
    source_ids = token_kinds(ids, lexicon_forms(byte_bpe, lexicon, "en-clone"), byte_bpe, "en-clone")
    assert 0 not in source_ids, "the source's words are not the clone's"


def test_without_a_translation_nothing_is_inside(byte_bpe: Any) -> None:
    forms = lexicon_forms(byte_bpe, GERMAN, "ru")
    assert len(forms) == 0
    ids = np.array(byte_bpe.encode(memory.RU, add_special_tokens=False))
    assert set(token_kinds(ids, forms, byte_bpe, "ru").tolist()) == {1, 2}
    assert token_kinds(ids[:0], forms, byte_bpe, "ru").shape == (0,)


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 9)), max_size=12), max_size=5), st.booleans())
def test_nats_of_kinds_are_those_of_a_loop(documents: list[list[tuple[int, float]]], first: bool) -> None:
    skipped = int(not first)  # without a prefix the first token is not scored
    nats = [np.array([cost for _, cost in document[skipped:]]) for document in documents]
    kinds = [np.array([kind for kind, _ in document], dtype=np.int64) for document in documents]
    summed, counted = nats_of_kinds(nats, kinds)
    for row, document in enumerate(documents):
        for kind in range(len(KINDS)):
            own = [cost for k, cost in document[skipped:] if k == kind]
            assert summed[row, kind] == pytest.approx(sum(own))
            assert counted[row, kind] == len(own)


@pytest.mark.parametrize("name", memory.ALL)
def test_words_without_spaces_are_inside_where_a_segmenter_finds_them(name: str) -> None:
    tokenizer = memory.load(name)
    lexicon = Lexicon([Group("house", {"zh": ("房子",)}), Group("water", {"zh": ("水", "河边")})], source="en")
    known = load_segmenter("longest_match", "zh", ["房子", "水", "河边"])
    encoding = tokenizer(memory.ZH, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = np.array(encoding["input_ids"]), encoding["offset_mapping"]
    starts = np.flatnonzero(token_starts(known.edges(memory.ZH), offsets))
    forms = lexicon_forms(tokenizer, lexicon, "zh")
    found = token_kinds(ids, forms, tokenizer, "zh", starts)
    inside = [
        memory.ZH[offsets[first][0] : offsets[last - 1][1]]
        for first, last in pairwise([*starts.tolist(), len(ids)])
        if found[first] == KINDS.index("inside")
    ]
    assert set(inside) <= {"房子", "水", "河边"}
    if name in ("metaspace", "wordpiece", "deepseek"):  # the others' tokens are whole phrases, or unknown
        assert {"房子", "河边"} <= set(inside)
    if name != "wordpiece":  # which splits Chinese into single characters by itself
        assert 0 not in token_kinds(ids, forms, tokenizer, "zh")[: len(ids) // 2]


@pytest.mark.parametrize("name", ["byte_bpe", "metaspace", "deepseek"])
def test_words_spelled_otherwise_are_inside(name: str) -> None:
    tokenizer = memory.load(name)
    lexicon = Lexicon([Group("house", {"ar": ("البَيْت",)}), Group("prices", {"ar": ("الأَسعار",)})], source="en")
    ids = np.array(tokenizer.encode(memory.AR, add_special_tokens=False))
    plain = lexicon_forms(tokenizer, lexicon, "ar")
    assert KINDS.index("inside") not in token_kinds(ids, plain, tokenizer, "ar")
    forms = np.union1d(plain, spelled_forms([ids[:0], ids], tokenizer, lexicon, "ar", arabic_key))
    found = token_kinds(ids, forms, tokenizer, "ar") == KINDS.index("inside")
    starts = np.flatnonzero(word_table(tokenizer).starts(ids))
    words = np.split(ids, starts[1:])
    inside = {tokenizer.decode(word).strip() for word, own in zip(words, found[starts], strict=True) if own}
    assert inside == {"البيت", "الأسعار"}
