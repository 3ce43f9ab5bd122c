from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tokenizers_in_memory as memory
from prealign.languages import is_clone
from prealign.text.clone import clone_language
from prealign.text.encode import encode_words
from prealign.text.words import word_table


def plain(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def lists(rows: Any) -> list[list[int]]:
    return [row.tolist() for row in rows]


@pytest.mark.parametrize("language", ["en", "de", "ru", "ar"])
def test_a_word_is_written_as_it_is_in_running_text(tokenizer: Any, language: str) -> None:
    """Every word of real text has, at its place, the tokens of its spaced form after a space, else of its bare form."""
    text = memory.SNIPPETS[language]
    table = word_table(tokenizer)
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = np.array(encoding["input_ids"]), encoding["offset_mapping"]
    edges = [*np.flatnonzero(table.starts(ids)).tolist(), len(ids)]
    checked = 0
    for first, last in pairwise(edges):
        start, end = offsets[first][0], offsets[last - 1][1]
        word = text[start:end].strip()
        if not re.fullmatch(r"[^\W\d_]+", word) or start == 0:
            continue
        start += len(text[start:end]) - len(text[start:end].lstrip())
        context = "spaced" if text[start - 1] == " " else "bare"
        assert lists(encode_words(tokenizer, [word], language, context)) == [ids[first:last].tolist()]
        checked += 1
    assert checked >= 15


def test_unspaced_languages_have_the_bare_form_only(tokenizer: Any) -> None:
    words = ["房子", "水"]
    spaced, bare = (lists(encode_words(tokenizer, words, "zh", context)) for context in ("spaced", "bare"))
    assert spaced == bare
    assert lists(encode_words(tokenizer, words, "zh-Hant")) == bare
    head = plain(tokenizer, "(")
    assert [plain(tokenizer, f"({word}") for word in words] == [head + row for row in bare]


def test_a_phrase_is_written_with_its_spaces(byte_bpe: Any) -> None:
    [row] = lists(encode_words(byte_bpe, ["old house"], "en"))
    assert byte_bpe.decode(row) == " old house"


def test_clone_words_are_the_source_words_twins(tokenizer: Any) -> None:
    words = ["house", "House", "the", "water"]
    for context in ("spaced", "bare"):
        own = encode_words(tokenizer, words, "en", context)
        twins = encode_words(tokenizer, words, "en-clone", context)
        assert lists(twins) == [clone_language(tokenizer).map(row).tolist() for row in own]
        assert not set(twins.values.tolist()) & set(own.values.tolist())


def test_a_tokenizer_that_merges_across_signs_uses_the_word_alone() -> None:
    tokenizer = memory.metaspace_bpe()
    tokenizer.add_tokens(["(house"])  # stands for a merge of "(" and "house"
    assert lists(encode_words(tokenizer, ["house", "tree"], "en", "bare")) == [
        plain(tokenizer, "house"),
        plain(memory.load("metaspace"), "(tree")[len(plain(tokenizer, "(")) :],
    ]


def test_no_words() -> None:
    assert len(encode_words(memory.load("byte_bpe"), [], "en")) == 0


def test_is_clone() -> None:
    assert is_clone("en-clone")
    assert not is_clone("en")
    assert not is_clone("clone")
