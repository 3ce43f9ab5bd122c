"""Relatives of words: worked examples, and the index against a comparison of all pairs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prealign.lexicon.forms import english_bases
from prealign.lexicon.relatives import SHARED, Relatives, shortest_stem, skeleton

ALIKE = [
    ("de", "Häuser", "Haus"), ("de", "Krankenhaus", "Haus"), ("de", "Jahres", "jahr"), ("en", "running", "run"),
    ("en", "unhappy", "happy"), ("en", "deciding", "decide"), ("en", "cities", "city"), ("en", "colour", "color"),
    ("ru", "Уганде", "Уганда"), ("ru", "рабо\u0301та", "работы"), ("zh", "大房子", "房子"), ("zh", "人口", "人"),
    ("ja", "ネコ科", "ネコ"), ("ko", "사람들", "사람"), ("ar", "الكتاب", "كتاب"), ("el", "ΆΝΘΡΩΠΟΣ", "άνθρωποι"),
]  # fmt: skip
DIFFERENT = [
    ("de", "Haus", "Maus"), ("de", "singen", "gesungen"), ("en", "go", "going"), ("en", "thing", "the"),
    ("en", "went", "go"), ("en", "beauty", "beast"), ("ru", "дом", "дома"), ("zh", "学生", "学习"),
    ("ja", "ネコ", "イヌ"), ("ar", "كتب", "كاتب"), ("de", "run", "running"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "one", "other"), ALIKE)
def test_forms_derived_words_and_compounds_are_relatives(language: str, one: str, other: str) -> None:
    assert Relatives([one], language).has(other) and Relatives([other], language).has(one)


@pytest.mark.parametrize(("language", "one", "other"), DIFFERENT)
def test_other_words_are_none(language: str, one: str, other: str) -> None:
    assert not Relatives([one], language).has(other) and not Relatives([other], language).has(one)


def test_a_word_is_no_relative_of_itself_in_any_case() -> None:
    for word in ("house", "House", "HOUSE", "ho\u0301use"):
        assert not Relatives(["house"], "en").has(word)
    assert Relatives(["house", "houses"], "en").has("house")


def _related(one: str, other: str) -> bool:
    """The definition, word by word."""
    a, b = skeleton(one, "en"), skeleton(other, "en")
    if a == b:
        return False
    short, long = sorted((a, b), key=len)
    if len(short) >= shortest_stem(short) and (long.startswith(short) or long.endswith(short)):
        return True
    same = 0
    while same < len(short) and a[same] == b[same]:
        same += 1
    if same >= max(4, SHARED * len(long)):
        return True
    return any(x in {base for base, _ in english_bases(y)} for x, y in ((a, b), (b, a)))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("abes", min_size=1, max_size=9), max_size=6), st.text("abes", min_size=1, max_size=9))
def test_the_index_equals_a_comparison_of_all_pairs(words: list[str], word: str) -> None:
    assert Relatives(words, "en").has(word) == any(_related(word, other) for other in words)
