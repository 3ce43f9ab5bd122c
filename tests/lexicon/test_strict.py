"""The training lexicon without the words of test dictionaries."""

from __future__ import annotations

from typing import Any

from prealign.lexicon import Group, Lexicon
from prealign.lexicon.normalise import arabic_key
from prealign.lexicon.reading_report import Tallies
from prealign.lexicon.strict import ANSWERS, EMPTIED, WORDS, without_tests


def lexicon(language: str = "de", **groups: Any) -> Lexicon:
    made = (Group(w, senses if isinstance(senses, dict) else {language: tuple(senses)}) for w, senses in groups.items())
    return Lexicon(made, source="en", targets=[language, "nl"])


def kept(lexicon: Lexicon) -> dict[str, dict[str, tuple[str, ...]]]:
    return {group.word: dict(group.translations) for group in lexicon}


WHOLE = lexicon(
    house=["Haus"],
    home=["Heim", "HAUS", "zu Hause"],
    Building=["haus"],
    flat={"de": ("Haus",), "nl": ("haus",)},
    houses=["Häuser"],
    at=["im Haus"],
)
TESTS = lexicon(HOUSE=["haus", "heim"])


def test_answers_leave_whatever_word_has_them_and_relatives_stay() -> None:
    tallies = Tallies()
    rest = without_tests(WHOLE, TESTS, {}, tallies, answers=True)
    assert kept(rest) == {"home": {"de": ("zu Hause",)}, "flat": {"nl": ("haus",)}, "houses": {"de": ("Häuser",)}}
    counted = {reason: (tally.count, tally.examples) for reason, tally in tallies.counted().items()}
    assert counted == {
        WORDS: (1, ("house",)),
        ANSWERS: (5, ("home → Heim", "home → HAUS", "Building → haus")),
        EMPTIED: (2, ("Building", "at")),
    }


def test_only_the_words_leave_where_answers_may_stay() -> None:
    tallies = Tallies()
    rest = without_tests(WHOLE, TESTS, {}, tallies, answers=False)
    assert kept(rest) == {word: own for word, own in kept(WHOLE).items() if word != "house"}
    assert list(tallies.counted()) == [WORDS]


def test_spellings_are_compared_by_their_key() -> None:
    whole, tests = lexicon("ar", letter=["كِتَاب"], pen=["قلم"]), lexicon("ar", book=["كتاب"])
    rest = without_tests(whole, tests, {"ar": arabic_key}, Tallies(), answers=True)
    assert kept(rest) == {"pen": {"ar": ("قلم",)}}


def test_an_answer_leaves_inside_a_word_with_signs() -> None:
    """Running text is cut at signs, so that these train the tokens of the answer itself."""
    whole = lexicon("fr", college=["l'école", "collège"], letter=["e-mail", "lettre"], schooling=["écolage"])
    rest = without_tests(whole, lexicon("fr", school=["école"], post=["mail"]), {}, Tallies(), answers=True)
    assert kept(rest) == {
        "college": {"fr": ("collège",)},
        "letter": {"fr": ("lettre",)},
        "schooling": {"fr": ("écolage",)},
    }


def test_without_tests_nothing_leaves() -> None:
    empty = Lexicon([], source="en")
    assert without_tests(WHOLE, empty, {}, Tallies(), answers=True) == WHOLE
