"""Segmenters, and the token spans of their words, against rules applied one token at a time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tokenizers_in_memory as memory
from prealign.errors import RecipeError
from prealign.text import segment
from prealign.text.segment import LongestMatch, Segmenter, load_segmenter, resolve_segmenter, token_starts
from prealign.text.words import kind, word_starts

PARAGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "wiki_paragraphs"
LANGUAGES = ("en", "de", "ru", "zh", "ar")
KNOWN = {
    "en": ["house", "The"],
    "de": ["Haus", "häuser"],
    "ru": ["дом", "год"],
    "zh": ["房子", "老房子", "河边", "水", "面包", "中国", "国家", "一个", "大学", "北京"],
    "ar": ["البيت", "الماء"],
}
TEXTS = st.lists(
    st.sampled_from(
        ["老房子在河边", "面包", "house", "ภาษาไทย", "T恤", "12", "3.14", " ", "\n", "。", "😀", "é", "ø", "한국"]
    )
    | st.characters(codec="utf-8", exclude_characters="\x00"),
    max_size=15,
).map("".join)


def installed(name: str, language: str = "zh") -> Segmenter:
    pytest.importorskip({"rjieba": "rjieba", "icu": "icu4py"}.get(name, "sys"), reason=f"{name} is not installed")
    return load_segmenter(name, language, KNOWN["zh"])


def paragraphs(language: str, number: int) -> list[str]:
    file = PARAGRAPHS / f"{language}.tsv"
    if not file.exists():
        pytest.skip("the paragraphs of ../shared/data/wiki_paragraphs are not here")
    with file.open(encoding="utf-8") as lines:
        return [line.rstrip("\n").partition("\t")[2] for line, _ in zip(lines, range(number), strict=False)]


def encode(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return encoding["input_ids"], encoding["offset_mapping"]


def naive_starts(edges: list[int], offsets: list[tuple[int, int]]) -> list[bool]:
    """Rule 3 of the module, an edge at a time and a token at a time."""
    starts = [j == 0 for j in range(len(offsets))]
    for edge in edges:
        for j, (begin, _) in enumerate(offsets):
            if begin >= edge:
                if all(end <= edge for _, end in offsets[:j]):
                    starts[j] = True
                break
    return starts


def check_spans(tokenizer: Any, segmenter: Segmenter, text: str) -> int:
    """Check that words tile text and tokens, and that each word of tokens is one or more whole words of the text."""
    edges = segmenter.edges(text)
    assert "".join(segmenter.words(text)) == text
    assert all(segmenter.words(text)) or not text
    ids, offsets = encode(tokenizer, text)
    starts = token_starts(edges, offsets)
    assert starts.shape == (len(ids),)
    assert starts[:1].all()
    assert starts.tolist() == naive_starts(edges.tolist(), offsets)
    known = set(edges.tolist())
    spans = [*np.flatnonzero(starts).tolist(), len(ids)]
    assert [i for first, last in pairwise(spans) for i in ids[first:last]] == ids
    for first in spans[1:-1]:
        before, after = max(end for _, end in offsets[:first]), offsets[first][0]
        # White space that no token was made from may lie between the edge and the token.
        assert any(edge in known for edge in range(before, after + 1)), (text, before, after)
    return len(spans) - 1


@pytest.mark.parametrize("name", ["whitespace", "rjieba", "icu", "longest_match"])
@given(data=st.data())
@settings(max_examples=40)
def test_words_tile_any_text_and_its_tokens(tokenizer: Any, name: str, data: st.DataObject) -> None:
    check_spans(tokenizer, installed(name), data.draw(TEXTS))


@pytest.mark.parametrize("name", ["whitespace", "rjieba", "icu", "longest_match"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_words_tile_real_text_and_its_tokens(tokenizer: Any, name: str, language: str) -> None:
    installed(name)
    segmenter = load_segmenter(name, language, KNOWN[language])
    assert sum(check_spans(tokenizer, segmenter, text) for text in paragraphs(language, 4)) > 100


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12),
    st.sets(st.integers(0, 30)),
)
def test_a_word_begins_at_the_first_token_from_its_edge_on(steps: list[tuple[int, int]], cuts: set[int]) -> None:
    """Any offsets: tokens that overlap as parts of characters do, gaps, tokens of no character."""
    begins = np.cumsum([step for step, _ in steps]).tolist()
    offsets = [(begin, begin + length) for begin, (_, length) in zip(begins, steps, strict=True)]
    edges = sorted({0, *cuts})
    assert token_starts(np.array(edges), offsets).tolist() == naive_starts(edges, offsets)


def test_what_shares_a_token_is_one_word() -> None:
    edges = np.array([0, 2, 4, 9])  # 来到|北京|清华大学
    whole = [(0, 2), (2, 3), (3, 4), (4, 9)]
    across = [(0, 1), (1, 3), (3, 4), (4, 9)]
    parts = [(0, 2), (2, 3), (2, 3), (2, 3), (3, 4), (4, 9)]
    parts_across = [(0, 1), (1, 2), (1, 3), (2, 3), (3, 4), (4, 9)]
    assert token_starts(edges, whole).tolist() == [True, True, False, True]
    assert token_starts(edges, across).tolist() == [True, False, False, True]
    assert token_starts(edges, parts).tolist() == [True, True, False, False, False, True]
    assert token_starts(edges, parts_across).tolist() == [True, False, False, False, False, True]


@pytest.mark.parametrize("name", ["metaspace", "wordpiece"])
def test_whitespace_words_are_those_of_the_tokens(name: str) -> None:
    """Where the tokenizer splits at spaces and signs, `word_starts` finds the same; between signs the tokenizer decides."""
    tokenizer = memory.load(name)
    for language in ("en", "de", "ru", "ar"):
        text = memory.SNIPPETS[language]
        ids, offsets = encode(tokenizer, text)
        starts = token_starts(load_segmenter("whitespace", language).edges(text), offsets)
        for j in np.flatnonzero(starts != word_starts(tokenizer, ids)).tolist():
            around = text[offsets[j - 1][1] - 1], text[offsets[j][0]]
            assert not any(char.isalnum() for char in around), around


@pytest.mark.parametrize(
    ("known", "text", "words"),
    [
        (["房子", "老房子", "老"], "老房子。", ["老房子", "。"]),
        (["房子"], "老房子在河边", ["老", "房子", "在河边"]),
        (["研究", "研究生", "生命"], "研究生命", ["研究生", "命"]),  # greedy, as documented
        (["T恤", "恤"], "T恤LET恤", ["T恤", "LET", "恤"]),
        (["手机", "12"], "iPhone手机 123", ["iPhone", "手机", " ", "123"]),
        (["ภา", "ไทย"], "ภาษาไทย", ["ภา", "ษา", "ไทย"]),
        (["ท"], "ทีม", ["ทีม"]),  # the vowel sign stays with its letter
        (["in the", "the"], "in the", ["in", " ", "the"]),
        ([], "老房子 在\n", ["老房子", " ", "在", "\n"]),
        (["a"], "", []),
    ],
)
def test_longest_match_by_hand(known: list[str], text: str, words: list[str]) -> None:
    assert load_segmenter("longest_match", "zh", known).words(text) == words


@given(st.lists(st.text("ab房子水", min_size=1, max_size=3), max_size=6), st.text("ab房子水 。", max_size=12))
def test_longest_match_finds_what_a_loop_over_all_words_finds(known: list[str], text: str) -> None:
    found, start = [], 0
    while start < len(text):
        fits = [
            word
            for word in known
            if text.startswith(word, start)
            and not (start and text[start - 1].isascii() and text[start - 1].isalnum() and word[0].isascii())
            and not (
                word[-1].isascii()
                and text[start + len(word) :][:1].isascii()
                and text[start + len(word) :][:1].isalnum()
            )
        ]
        longest = max(map(len, fits), default=0)
        found += [start, start + longest] if longest else []
        start += longest or 1
    assert list(LongestMatch(known)(text)) == found


@pytest.mark.parametrize(
    ("name", "language", "text", "words"),
    [
        ("rjieba", "zh", "我来到北京清华大学。", ["我", "来到", "北京", "清华大学", "。"]),
        ("rjieba", "zh", "😀世界 3.14", ["😀", "世界", " ", "3", ".", "14"]),
        ("icu", "zh-Hant", "我來到北京😀大學", ["我", "來到", "北京", "😀", "大學"]),
        ("icu", "th", "ภาษาไทยเป็นภาษา", ["ภาษา", "ไทย", "เป็น", "ภาษา"]),
        ("icu", "ja", "私は東京😀大学に行きます", ["私", "は", "東京", "😀", "大学", "に", "行き", "ます"]),
        ("icu", "km", "ខ្ញុំទៅផ្សារ", ["ខ្ញុំ", "ទៅ", "ផ្សារ"]),
    ],
)
def test_the_words_of_dictionary_segmenters(name: str, language: str, text: str, words: list[str]) -> None:
    assert installed(name, language).words(text) == words


def test_the_kind_of_a_segmenter_is_named_with_its_version() -> None:
    assert installed("rjieba").name == segment.segmenter_version("rjieba")
    assert installed("rjieba").name.startswith("rjieba 0.")


@pytest.mark.parametrize(
    ("there", "language", "name"),
    [
        ({"rjieba", "icu4py"}, "zh", "rjieba"),
        ({"icu4py"}, "zh", "icu"),
        ({"rjieba"}, "zh", "rjieba"),
        ({"rjieba", "icu4py"}, "zh-Hant", "icu"),
        ({"rjieba"}, "zh-TW", "longest_match"),
        ({"rjieba", "icu4py"}, "th", "icu"),
        ({"rjieba"}, "th", "longest_match"),
        ({"rjieba", "icu4py"}, "bo", "longest_match"),
        (set(), "zh", "longest_match"),
        ({"rjieba", "icu4py"}, "de", "whitespace"),
        (set(), "ar", "whitespace"),
    ],
)
def test_auto_takes_what_fits_and_is_installed(
    monkeypatch: pytest.MonkeyPatch, there: set[str], language: str, name: str
) -> None:
    monkeypatch.setattr(segment, "find_spec", lambda package: package in there or None)
    assert resolve_segmenter("auto", language) == name
    assert resolve_segmenter("whitespace", language) == "whitespace"
    assert resolve_segmenter("longest_match", language) == "longest_match"


@pytest.mark.parametrize(("name", "package"), [("rjieba", "rjieba"), ("icu", "icu4py")])
def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch, name: Any, package: str) -> None:
    def fail(name: str) -> None:
        raise ImportError("No module named x")

    monkeypatch.setattr(segment, "import_module", fail)
    with pytest.raises(RecipeError, match=rf"{name}' needs the package {package}.*pip install 'prealign\[segment\]'"):
        resolve_segmenter(name, "zh")
    with pytest.raises(RecipeError, match="longest_match"):
        load_segmenter(name, "zh")
    with pytest.raises(RecipeError, match="no segmenter 'jieba'"):
        load_segmenter("jieba", "zh")


def test_a_word_of_the_list_has_letters_and_digits_only() -> None:
    assert all(kind(char) == "w" for char in "房é12")
    assert list(LongestMatch(["房。", "a b"])("房。a b")) == []
