from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prealign.lexicon import Group, Lexicon
from prealign.lexicon.normalise import arabic_key, key_of, keyed

LETTERS = "ابتكهةىيوؤئءأإآٱلـ"
SIGNS = "".join(map(chr, range(0x064B, 0x0653)))


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("كِتَابٌ", "كتاب"),  # kasra, fatha, dammatan
        ("مُدَرِّسَة", "مدرسة"),  # shadda; the ta marbuta stays
        ("أَحْمَد", "احمد"),  # hamza above alef, sukun
        ("إسلام", "اسلام"),  # hamza below alef
        ("آب", "اب"),  # madda
        ("الـعـربـيـة", "العربية"),  # tatweel
        ("ا\u0654حمد", "احمد"),  # alef and a hamza of its own
        ("ا\u0653ب", "اب"),  # alef and a madda of its own
        ("على", "على"),  # not على and علي
        ("مؤمن", "مؤمن"),
        ("شيئًا", "شيئا"),
        ("\u0671لله", "\u0671لله"),  # alef wasla is none of the three
        ("house", "house"),
        ("", ""),
    ],
)
def test_the_key_of_a_word(word: str, key: str) -> None:
    assert arabic_key(word) == key


@given(st.text(LETTERS + SIGNS + "\u0654\u0653aé", max_size=12))
def test_a_key_is_its_own_key_and_signs_do_not_matter(word: str) -> None:
    key = arabic_key(word)
    assert arabic_key(key) == key
    assert not set(key) & set(SIGNS + "ـأإآ")


@given(st.text("ابتكأإآ", max_size=8), st.data())
def test_vowel_signs_and_tatweel_anywhere_leave_the_key(word: str, data: st.DataObject) -> None:
    signed = "".join(char + data.draw(st.text(SIGNS + "ـ", max_size=2)) for char in word)
    assert arabic_key(signed) == arabic_key(word)


def test_only_arabic_has_keys_and_only_if_asked() -> None:
    assert key_of("arabic", "ar") is key_of("arabic", "ar-EG") is arabic_key
    assert key_of("arabic", "fa") is key_of("none", "ar") is None


def test_senses_are_ordered_by_the_frequency_of_all_their_spellings() -> None:
    lexicon = Lexicon([Group("book", {"ar": ("سِفْر", "كِتَاب"), "de": ("Band", "Buch")})], source="en")
    counts = {"كتاب": 3, "كتابٌ": 2, "سفر": 4}
    plain = lexicon.order_senses({"ar": counts})
    assert plain.groups[0].translations["ar"] == ("سِفْر", "كِتَاب")
    ordered = lexicon.order_senses({"ar": keyed(counts, arabic_key), "de": {"Buch": 1}}, {"ar": arabic_key})
    assert dict(ordered.groups[0].translations) == {"ar": ("كِتَاب", "سِفْر"), "de": ("Buch", "Band")}
