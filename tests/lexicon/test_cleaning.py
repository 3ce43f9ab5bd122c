from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prealign.lexicon.cleaning import LONGEST_TERM, Unusable, clean

NOTE = "parenthesised notes"
MARK = "part-of-speech or subject marks"
STOP = "full stops"
INVISIBLE = "invisible characters"
AROUND = "punctuation around words"


@pytest.mark.parametrize(
    ("term", "language", "expected", "changes"),
    [
        ("house", "en", "house", []),
        ("house (building)", "en", "house", [NOTE]),
        ("房子（建筑）", "zh", "房子", [NOTE]),
        ("x ((b) c) y", "en", "x y", [NOTE]),
        ("colo(u)r", "en", "color", [NOTE]),
        ("Haus {n}", "de", "Haus", [MARK]),
        ("mkono <n>", "sw", "mkono", [MARK]),
        ("Aal [zool.]", "de", "Aal", [MARK]),
        ("拜拜[bai2 bai2]", "zh", "拜拜", ["pinyin readings"]),
        ("to run away", "en", "run away", ["infinitive particles"]),
        ("to", "en", "to", []),
        ("to the day", "en", "to the day", []),
        ("to run", "de", "to run", []),
        ("the house", "en", "house", ["articles"]),
        ("the old house", "en", "the old house", []),
        ("The Hague", "en", "The Hague", []),
        ("the Hague", "en", "the Hague", []),
        ("a few", "en", "a few", []),
        ("a priori", "en", "a priori", []),
        ("to and fro", "en", "to and fro", []),
        ("das Haus", "de", "Haus", ["articles"]),
        ("la casa", "es", "casa", ["articles"]),
        ("etw. bauen", "de", "bauen", ["placeholders"]),
        ("to build sth. (up)", "en", "build", [NOTE, "placeholders", "infinitive particles"]),
        ("sb.", "en", "sb.", []),
        ("ho\u200buse\u200e", "en", "house", [INVISIBLE]),
        ("\ufeffhouse", "en", "house", [INVISIBLE]),
        ("می\u200cخواهم", "fa", "می\u200cخواهم", []),
        ("a\u200cb", "en", "ab", [INVISIBLE]),
        ("free \u00a0 of\u3000charge", "en", "free of charge", []),
        ("cafe\u0301", "en", "café", []),
        ("кни\u0301га", "ru", "книга", ["marks of pronunciation"]),
        ("кни\u0301га", "bg", "книга", ["stress marks"]),
        ("ќе е\u0301 ѓ", "mk", "ќе е ѓ", ["stress marks"]),
        (":(", "en", ":(", []),
        ("ladder:", "en", "ladder", [AROUND]),
        ("Leiter ,", "de", "Leiter", [AROUND]),
        ("梯子：", "zh", "梯子", [AROUND]),
        ('"the ladder"', "en", "ladder", [AROUND, "articles"]),
        ("„Leiter“", "de", "Leiter", [AROUND]),
        ("»Leiter«", "de", "Leiter", [AROUND]),
        ("« échelle »", "fr", "échelle", [AROUND]),
        ("「梯子」", "ja", "梯子", [AROUND]),
        ('the "it"', "en", 'the "it"', []),
        ('"a" and "b"', "en", '"a" and "b"', []),
        ("'tis", "en", "'tis", []),
        ("S:t", "sv", "S:t", []),
        (";", "en", ";", []),
        ("merdiven.", "tr", "merdiven", [STOP]),
        ("fazlalık .", "tr", "fazlalık", [STOP]),
        ("bir şey.", "tr", "bir şey", [STOP]),
        ("bakınız vb.", "tr", "bakınız vb.", []),
        ("vb.", "tr", "vb.", []),
        ("U.S.A.", "en", "U.S.A.", []),
        ("at 10.", "en", "at 10.", []),
        ("3.14", "en", "3.14", []),
        ("梯。", "zh", "梯", [STOP]),
        ("집.", "ko", "집", [STOP]),
        ("सीढ़ी।", "hi", "सीढ़ी", [STOP]),
        ("سیڑھی۔", "ur", "سیڑھی", [STOP]),
        (".", "en", ".", []),
    ],
)
def test_by_hand(term: str, language: str, expected: str, changes: list[str]) -> None:
    noted: list[tuple[str, str, str]] = []
    assert clean(term, language, lambda *note: noted.append(note)) == expected
    assert [what for what, _, _ in noted] == changes
    for (_, _, after), (_, before, _) in pairwise(noted):
        assert after == before


@pytest.mark.parametrize(
    ("term", "reason"),
    [
        ("(see there)", "nothing but marks"),
        ("\u200b", "nothing but marks"),
        ("a\u0378", "unassigned"),
        ("a\ue000", "private"),
        ("a\x00b", "control"),
        ("\ud800", "unassigned"),
        ("x" * (LONGEST_TERM + 1), "longer than 200"),
    ],
)
def test_what_is_no_word_is_refused_with_the_reason(term: str, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        clean(term, "en", lambda *note: None)


@settings(deadline=None)
@given(st.text(max_size=30), st.sampled_from(["en", "de", "zh"]))
def test_what_is_left_is_clean_text(term: str, language: str) -> None:
    try:
        cleaned = clean(term, language, lambda *note: None)
    except Unusable:
        return
    assert cleaned == cleaned.strip() != ""
    assert unicodedata.is_normalized("NFC", cleaned)
    assert all(unicodedata.category(char)[0] != "C" or char in "\u200c\u200d" for char in cleaned)
    cleaned.encode()
