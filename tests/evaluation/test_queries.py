"""Selection of queries and candidates from a test dictionary, and how a text writes words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prealign.evaluation.retrieval.queries import select_queries
from prealign.lexicon import Group, Lexicon
from prealign.lexicon.normalise import arabic_key
from prealign.lexicon.reading_report import IDENTICAL
from prealign.lexicon.spelling import as_written, spellings

ENGLISH = {"the": 90, "house": 7, "House": 2, "12": 50, "tree": 5, "Monday": 4, "monday": 1, "rare": 1, "water": 3}
GERMAN = {"das": 80, "Haus": 6, "haus": 1, "Gebäude": 3, "Baum": 1, "Montag": 9, "42": 30, "Wasser": 3}


def lexicon(**translations: str) -> Lexicon:
    groups = [Group(word, {"de": tuple(senses.split())}) for word, senses in translations.items()]
    return Lexicon(groups, source="en", targets=["de"])


def test_by_hand() -> None:
    dictionary = lexicon(house="haus gebäude", tree="baum", monday="montag", rare="das", unknown="haus")
    found = select_queries(dictionary, "de", ENGLISH, GERMAN, floor=3, size=1)
    # In the most frequent spelling, by frequency; 12 and 42 have no letter, tree and rare are not asked for.
    assert found.sources == ["the", "house", "Monday"]
    assert found.targets == ["das", "Montag", "Haus", "Gebäude"]
    assert found.pairs.tolist() == [[1, 2], [1, 3], [2, 1]]
    assert found.gold().tolist() == [[False] * 4, [False, False, True, True], [False, True, False, False]]
    assert (found.forward.tolist(), found.backward.tolist()) == ([1, 2], [1, 2, 3])
    assert found.dropped == {
        "fewer than 3 times in the en text": 2,
        "without a translation that is 3 times in the de text": 1,
    }
    assert found.summary == (
        "2 of 5 words (40%) are asked for, 3 pairs with 3 de words, among 4 candidates; "
        "1 without a translation that is 3 times in the de text; 2 fewer than 3 times in the en text"
    )


def test_spellings_that_a_key_makes_one_are_one_word() -> None:
    dictionary = Lexicon([Group("book", {"ar": ("كِتَاب",)})], source="en", targets=["ar"])
    counts = {"كتاب": 4, "كِتاب": 1}
    found = select_queries(dictionary, "ar", {"book": 9}, counts, floor=5, size=0, keys=(None, arabic_key))
    assert (found.sources, found.targets, found.pairs.tolist()) == (["book"], ["كتاب"], [[0, 0]])
    assert not len(select_queries(dictionary, "ar", {"book": 9}, counts, floor=5, size=0).pairs)


def test_a_word_written_alike_is_a_right_answer_but_no_question(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_text("hotel hotel\nhotel gasthof\ninn hotel\nradio radio\nradio rundfunk\ntaxi taxi\n")
    counts = [dict.fromkeys(own.split(), 9) for own in ("hotel inn radio taxi", "Hotel Gasthof Radio Taxi")]
    dictionary = Lexicon.read(path, format="muse", source="en", target="de", keep_identical=True)
    assert dictionary.report is not None
    assert [dict(group.translations)["de"] for group in dictionary] == [
        ("gasthof", "hotel"), ("hotel",), ("rundfunk", "radio"),
    ]  # fmt: skip
    assert (dictionary.report.entries, dictionary.report.kept, dictionary.report.dropped[IDENTICAL].count) == (6, 5, 1)
    assert "such as line 6 'taxi'" in dictionary.report.text
    found = select_queries(dictionary, "de", *counts, floor=5, size=9)
    named = {(found.sources[i], found.targets[j]) for i, j in found.pairs.tolist()}
    # Of radio only the word itself is left in the text; hotel answers hotel, both ways, beside what is asked.
    assert named == {("hotel", "Hotel"), ("hotel", "Gasthof"), ("inn", "Hotel")}
    assert [found.sources[i] for i in found.forward] == ["hotel", "inn"]
    assert sorted(found.targets[j] for j in found.backward) == ["Gasthof", "Hotel"]
    assert found.dropped == {"without such a translation that is written otherwise in de": 1}


WORDS = st.sampled_from(["a", "A", "b", "B", "ab", "AB", "c", "1", "d e"])
COUNTS = st.dictionaries(WORDS, st.integers(1, 6), max_size=9)


@given(st.dictionaries(WORDS, st.lists(WORDS, min_size=1, max_size=3, unique=True), max_size=6), COUNTS, COUNTS,
       st.integers(1, 6), st.integers(0, 5))  # fmt: skip
def test_every_word_is_a_query_or_counted_and_no_pair_is_made_up(
    pairs: dict[str, list[str]], source: dict[str, int], target: dict[str, int], floor: int, size: int
) -> None:
    dictionary = Lexicon([Group(w, {"de": tuple(s)}) for w, s in pairs.items()], source="en", targets=["de"])
    found = select_queries(dictionary, "de", source, target, floor=floor, size=size)
    assert found.words == len({word.lower() for word in pairs}) == len(found.forward) + sum(found.dropped.values())
    there = {(word.lower(), sense.lower()) for word, senses in pairs.items() for sense in senses}
    counts = [Counter[str](), Counter[str]()]
    for own, given_counts in zip(counts, (source, target), strict=True):
        for word, count in given_counts.items():
            own[word.lower()] += count
    # The definition, pair by pair.
    both = {(s, t) for s, t in there if counts[0][s] >= floor and counts[1][t] >= floor}
    questions = {(s, t) for s, t in both if s != t}
    assert {found.sources[i].lower() for i in found.forward} == {s for s, _ in questions}
    assert {found.targets[j].lower() for j in found.backward} == {t for _, t in questions}
    expected = {(s, t) for s, t in both if {s} & {q for q, _ in questions} or {t} & {q for _, q in questions}}
    assert {(found.sources[i].lower(), found.targets[j].lower()) for i, j in found.pairs.tolist()} == expected
    for words, own, given_counts in zip((found.sources, found.targets), counts, (source, target), strict=True):
        folded = [word.lower() for word in words]
        assert len(set(folded)) == len(folded), "no word is its own rival in another case"
        assert set(words) <= given_counts.keys() and all(own[word] >= floor for word in folded)
        assert [-own[word] for word in folded] == sorted(-own[word] for word in folded)


def test_the_most_frequent_spelling_stands_for_all() -> None:
    found = spellings({"Haus": 2, "haus": 1, "HAUS": 2, "im": 9}, "de")
    assert [(key, own.word, own.count) for key, own in found.items()] == [("im", "im", 9), ("haus", "HAUS", 5)]


def test_translations_are_written_as_the_text_has_them() -> None:
    dictionary = lexicon(house="haus Haus häuschen", go="gehen")
    written = as_written(dictionary, {"de": {"Haus": 3, "haus": 1, "gehen": 5, "Gehen": 1}})
    assert [dict(group.translations) for group in written] == [{"de": ("Haus", "häuschen")}, {"de": ("gehen",)}]
    assert as_written(dictionary, {}) == dictionary
    arabic = as_written(lexicon(book="كِتَاب"), {"de": {"كتاب": 3, "كِتَاب": 1}}, {"de": arabic_key})
    assert [dict(group.translations) for group in arabic] == [{"de": ("كتاب",)}]


@pytest.mark.parametrize("key", [None, str])
def test_forms_of_unicode_are_no_differences_between_words(key: Callable[[str], str] | None) -> None:
    """é as one character and as e with a mark; J with a caron is two characters, its lower case is one or two."""
    for composed, apart in (("café", "cafe\u0301"), ("\u01f0ar", "J\u030car")):
        assert composed != apart
        for kept, out in ((composed, apart), (apart, composed)):
            assert not len(Lexicon([Group(kept, {"de": ("x",)})], source="en").without([out], key))
        assert [(w.word, w.count) for w in spellings({composed: 3, apart: 1}, "ar", key).values()] == [(composed, 4)]


# The lexicon without words, and turned round


@given(st.dictionaries(WORDS, st.lists(WORDS, min_size=1, max_size=3, unique=True), max_size=6), st.sets(WORDS))
def test_what_is_taken_out_is_not_found_in_any_case(pairs: dict[str, list[str]], out: set[str]) -> None:
    whole = Lexicon([Group(w, {"de": tuple(s)}) for w, s in pairs.items()], source="en", targets=["de"])
    rest = whole.without(out)
    for word in out:
        assert not [rest.lookup(cased) for cased in (word, word.lower(), word.upper(), word.capitalize())
                    if rest.lookup(cased)]  # fmt: skip
    assert [g for g in whole if g.word.lower() not in {word.lower() for word in out}] == list(rest)


@given(st.dictionaries(WORDS, st.lists(WORDS, min_size=1, max_size=3, unique=True), max_size=6))
def test_a_lexicon_turned_round_has_the_same_pairs(pairs: dict[str, list[str]]) -> None:
    whole = Lexicon([Group(w, {"de": tuple(s)}, len(w)) for w, s in pairs.items()], source="en", targets=["de"])
    turned = whole.inverted("de")
    assert (turned.source, turned.targets) == ("de", ("en",))
    assert {(w, s) for w, senses in pairs.items() for s in senses} == {
        (word, group.word) for group in turned for word in group.translations["en"]
    }


def test_the_most_frequent_words_come_first_when_turned_round() -> None:
    groups = [Group("home", {"de": ("Haus",)}, 2), Group("house", {"de": ("Haus",), "ru": ("дом",)}, 7)]
    turned = Lexicon(groups, source="en").inverted("de")
    assert [dict(group.translations) for group in turned] == [{"en": ("house", "home")}]


# --- real dictionaries ----------------------------------------------------------------------------

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.skipif(not DATA.exists(), reason="needs the dictionaries beside the checkout, ../shared/data")
@pytest.mark.parametrize("language", ["de", "ru", "zh", "ar"])
def test_no_tested_word_of_muse_is_left_to_train_on(language: str) -> None:
    """The full list holds the test's words; train and test part at a line, and are cut where a word ends."""
    full, train, test = (
        Lexicon.read(DATA / f"muse/en-{language}{part}.txt", source="en", target=language, format="muse")
        for part in ("", ".0-5000", ".5000-6500")
    )
    words = {group.word for group in test}
    rest = full.without(words)
    assert len(full) - len(rest) >= len(words) > 900
    assert not {group.word.lower() for group in rest} & {word.lower() for word in words}
    assert train.without(words) == train
