from __future__ import annotations

import json
import os
import pickle
import random
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from prealign.errors import DiskError, LexiconError
from prealign.files import check_writable
from prealign.lexicon import Group, Lexicon
from prealign.lexicon.direction import found_in_corpus
from prealign.lexicon.reading_report import OTHER_LANGUAGES

# No deadline: the machine may be busy. In tmp_path each example overwrites the last one's file.
checked = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
LANGUAGES = ("de", "ru", "zh", "en-clone")

any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
words = st.sampled_from(["a", "A", "b", "B", "house", "House", "é", "$", " "]) | any_text
senses = st.lists(words, min_size=1, max_size=4, unique=True).map(tuple)
translations = st.dictionaries(st.sampled_from(LANGUAGES), senses, min_size=1)
counts = st.none() | st.integers(0, 10**12)
origins = st.lists(any_text, max_size=3, unique=True).map(tuple)
shares = st.floats(0, 1)
seeds = st.integers(-(2**70), 2**70)
corpora = st.dictionaries(words, st.integers(0, 1000))


@st.composite
def lexicons(draw: st.DrawFn) -> Lexicon:
    chosen = draw(st.lists(words, max_size=8, unique=True))
    groups = [Group(word, draw(translations), draw(counts), draw(origins)) for word in chosen]
    targets = draw(st.permutations(LANGUAGES)) if draw(st.booleans()) else None
    return Lexicon(groups, source="en", targets=targets)


def lexicon(*entries: tuple[str, dict[str, list[str]]]) -> Lexicon:
    return Lexicon([Group(word, found) for word, found in entries], source="en")


def content(given: Lexicon) -> dict[str, object]:
    """What a lexicon holds, without the order of anything."""
    return {
        group.word: (
            group.count,
            {language: set(senses) for language, senses in group.translations.items()},
            set(group.origin),
        )
        for group in given
    }


# --- the file -------------------------------------------------------------------------------------


@checked
@given(lexicons())
def test_saved_and_loaded_is_the_same(tmp_path: Path, before: Lexicon) -> None:
    before.save(tmp_path / "lexicon.jsonl")
    after = Lexicon.load(tmp_path / "lexicon.jsonl")
    assert after == before
    assert [list(group.translations) for group in after] == [list(group.translations) for group in before]
    after.save(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "lexicon.jsonl").read_bytes()


def test_the_file_is_as_documented(tmp_path: Path) -> None:
    group = Group("house", {"de": ("Haus", "Heim")}, 12, ("tsv:de",))
    Lexicon([group], source="en").save(tmp_path / "new folder" / "lexicon.jsonl")
    assert (tmp_path / "new folder" / "lexicon.jsonl").read_text(encoding="utf-8") == (
        '{"prealign_lexicon": 1, "source": "en", "targets": ["de"]}\n'
        '{"word": "house", "count": 12, "translations": {"de": ["Haus", "Heim"]}, "origin": ["tsv:de"]}\n'
    )


def test_a_clone_lexicon_survives_the_file(tmp_path: Path) -> None:
    forms = ["house", "House", " the", "e\u0301", "\u2028", "don't"]
    clone = Lexicon([Group(form, {"en-clone": (form,)}) for form in forms], source="en")
    clone.save(tmp_path / "clone.jsonl")
    assert [(g.word, dict(g.translations)) for g in Lexicon.load(tmp_path / "clone.jsonl")] == [
        (form, {"en-clone": (form,)}) for form in forms
    ]


def test_a_lexicon_without_groups_keeps_its_languages(tmp_path: Path) -> None:
    Lexicon([], source="en", targets=["de", "zh"]).save(tmp_path / "empty.jsonl")
    loaded = Lexicon.load(tmp_path / "empty.jsonl")
    assert (len(loaded), loaded.source, loaded.targets) == (0, "en", ("de", "zh"))


def test_saving_leaves_nothing_else_behind_and_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.jsonl"
    lexicon(("a", {"de": ["b"]})).save(path)
    unwritable = Group("a", {"de": ("b",)}, origin=("\ud800",))
    with pytest.raises(UnicodeEncodeError):
        Lexicon([unwritable], source="en").save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["lexicon.jsonl"]
    assert Lexicon.load(path) == lexicon(("a", {"de": ["b"]}))


def test_a_lexicon_that_cannot_be_written_is_an_error_that_says_where(tmp_path: Path) -> None:
    one = lexicon(("a", {"de": ["b"]}))
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for path, message in [
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "pipe", "is a pipe, not a file"),
        (Path("/dev/null"), "is a device, not a file"),
        (tmp_path / "file" / "x.jsonl", "File exists"),
        (tmp_path / ("x" * 300), "File name too long. Choose a shorter name"),
        (Path("/proc/x.jsonl"), "No such file or directory"),
    ]:
        for attempt in (one.save, check_writable):
            with pytest.raises(DiskError, match=message) as caught:
                attempt(path)
            assert str(caught.value).startswith(str(path.parent if "exists" in message else path))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "pipe"]


def test_asking_whether_a_file_can_be_written_leaves_it_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("kept", encoding="utf-8")
    for name in ("x.jsonl", "new/y.jsonl"):
        check_writable(tmp_path / name)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["x.jsonl"]
    assert (tmp_path / "x.jsonl").read_text(encoding="utf-8") == "kept"


def test_one_target_of_a_lexicon_file_is_read_and_the_rest_counted(tmp_path: Path) -> None:
    both = lexicon(("a", {"de": ["x", "y"], "zh": ["z"]}), ("b", {"zh": ["w"]}))
    both.save(tmp_path / "lexicon.jsonl")
    read = Lexicon.read(tmp_path / "lexicon.jsonl", source="en", target="de")
    assert read == lexicon(("a", {"de": ["x", "y"]}))
    assert read.report is not None
    assert (read.report.entries, read.report.kept, read.report.dropped[OTHER_LANGUAGES].count) == (4, 2, 2)
    for source, target in [("fr", "de"), ("en", "ru")]:
        with pytest.raises(LexiconError, match=f"no translations from `{source}` to `{target}`"):
            Lexicon.read(tmp_path / "lexicon.jsonl", format="jsonl", source=source, target=target)


HEADER = {"prealign_lexicon": 1, "source": "en", "targets": ["de"]}


@pytest.mark.parametrize(
    "header",
    [
        {"word": "a", "translations": {"de": ["b"]}},
        {**HEADER, "prealign_lexicon": 2},
        {**HEADER, "source": ""},
        {**HEADER, "targets": "de"},
        ["prealign_lexicon"],
    ],
)
def test_a_bad_header_is_an_error_that_shows_a_good_one(tmp_path: Path, header: object) -> None:
    path = tmp_path / "lexicon.jsonl"
    path.write_text(json.dumps(header) + "\n", encoding="utf-8")
    with pytest.raises(LexiconError, match=r'lexicon\.jsonl:1: .*"prealign_lexicon": 1, "source": "en"'):
        Lexicon.load(path)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"translations": {"de": ["b"]}}, "key `word` is missing"),
        ({"word": "a"}, "key `translations`"),
        ({"word": "a", "translations": {}}, "has no translations"),
        ({"word": "a", "translations": {"de": []}}, "no or repeated translations"),
        ({"word": "a", "translations": {"de": ["b", "b"]}}, "no or repeated translations"),
        ({"word": "a", "translations": {"de": "b"}}, "not a list"),
        ({"word": "a", "translations": {"de": [""]}}, "empty"),
        ({"word": "a", "translations": {"fr": ["b"]}}, "languages of"),
        ({"word": "a", "translations": {"de": ["b"]}, "count": -1}, "below 0"),
        ({"word": "a", "translations": {"de": ["b"]}, "count": True}, "key `count`"),
        ({"word": "a", "translations": {"de": ["b"]}, "counts": 1}, "unknown keys"),
        ({"word": "w7", "translations": {"de": ["b"]}}, "earlier line"),
        ({"word": "\ud800", "translations": {"de": ["b"]}}, "half a surrogate pair"),
        ({"word": "a", "translations": {"de": ["\ud800"]}}, "half a surrogate pair"),
        ({"word": "a", "translations": {"de": ["b"]}, "origin": ["\ud800"]}, "half a surrogate pair"),
        (HEADER, "unknown keys"),
        ([], "not a JSON object"),
    ],
)
def test_a_malformed_group_is_an_error_that_names_its_line(tmp_path: Path, record: object, reason: str) -> None:
    good = [{"word": f"w{i}", "translations": {"de": ["b"]}} for i in range(100)]
    path = tmp_path / "lexicon.jsonl"
    path.write_text("\n".join(map(json.dumps, [HEADER, *good, record])), encoding="utf-8")
    with pytest.raises(LexiconError, match=r"lexicon\.jsonl:102: .*The lexicon is damaged") as error:
        Lexicon.load(path)
    assert reason in str(error.value)


def test_a_line_that_is_not_utf8_is_an_error_as_well(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.jsonl"
    good = json.dumps({"word": "a", "translations": {"de": ["b"]}})
    path.write_bytes(f"{json.dumps(HEADER)}\n{good}\n".encode() + b'{"word": "\xff", "translations": {"de": ["b"]}}\n')
    with pytest.raises(LexiconError, match=r"lexicon\.jsonl:3: not UTF-8"):
        Lexicon.load(path)


# --- groups and construction ----------------------------------------------------------------------


def test_a_group_does_not_change() -> None:
    found = {"de": ["Haus"]}
    group = Group("house", found)
    found["de"].append("Heim")
    found["zh"] = ["房子"]
    assert dict(group.translations) == {"de": ("Haus",)}
    with pytest.raises(TypeError):
        group.translations["de"] = ()  # type: ignore[index]
    with pytest.raises(AttributeError):
        group.word = "home"  # type: ignore[misc]


@checked
@given(lexicons())
def test_a_lexicon_can_be_sent_to_another_process(before: Lexicon) -> None:
    assert pickle.loads(pickle.dumps(before)) == before


@checked
@given(lexicons())
def test_equal_groups_hash_alike(given: Lexicon) -> None:
    assert {*given} == {*pickle.loads(pickle.dumps(given))}


@pytest.mark.parametrize(
    ("groups", "source", "targets", "message"),
    [
        ([("a", "de"), ("b", "de"), ("a", "zh")], "en", None, "`a` has more than one group"),
        ([("a", "de")], "en", ["zh"], r"\['de'\]"),
        ([("a", "de")], "de", None, "both source and target"),
    ],
)
def test_groups_that_do_not_fit_are_refused(
    groups: list[tuple[str, str]], source: str, targets: list[str] | None, message: str
) -> None:
    made = [Group(word, {language: ("x",)}) for word, language in groups]
    with pytest.raises(LexiconError, match=message):
        Lexicon(made, source=source, targets=targets)


# --- merging --------------------------------------------------------------------------------------


def test_merging_keeps_the_order_of_languages_and_senses() -> None:
    first = Lexicon([Group("bank", {"de": ("Bank", "Ufer")}, 3, ("x",))], source="en")
    second = Lexicon(
        [
            Group("house", {"zh": ("房子",)}),
            Group("bank", {"zh": ("银行",), "de": ("Ufer", "Damm")}, 5, ("y", "x")),
        ],
        source="en",
    )
    merged = first.merge(second)
    assert merged == Lexicon(
        [
            Group("bank", {"de": ("Bank", "Ufer", "Damm"), "zh": ("银行",)}, 5, ("x", "y")),
            Group("house", {"zh": ("房子",)}),
        ],
        source="en",
        targets=("de", "zh"),
    )
    assert list(merged.groups[0].translations) == ["de", "zh"]


@checked
@given(lexicons())
def test_merging_with_itself_or_nothing_changes_nothing(one: Lexicon) -> None:
    nothing = Lexicon([], source="en")
    assert one.merge(one) == one == one.merge(nothing) == nothing.merge(one)


@checked
@given(lexicons(), lexicons(), lexicons())
def test_merging_is_associative(one: Lexicon, two: Lexicon, three: Lexicon) -> None:
    assert one.merge(two).merge(three) == one.merge(two.merge(three))


@checked
@given(lexicons(), lexicons())
def test_merging_either_way_holds_the_same(one: Lexicon, two: Lexicon) -> None:
    assert content(one.merge(two)) == content(two.merge(one))
    assert {group.word for group in one.merge(two)} == {g.word for g in one} | {g.word for g in two}


def test_merging_other_source_languages_is_refused() -> None:
    with pytest.raises(LexiconError, match="`en` and of `fr`"):
        Lexicon([], source="en").merge(Lexicon([], source="fr"))


# --- counting -------------------------------------------------------------------------------------


def naive_coverage(lexicon: Lexicon, word_counts: Mapping[str, int], target: str) -> float:
    """Token by token: does the word, or else its lower-cased form, have a translation?"""
    covered = tokens = 0
    for word, count in word_counts.items():
        for _ in range(count):
            tokens += 1
            for form in (word, word.lower()):
                matching = [group for group in lexicon.groups if group.word == form]
                if matching:
                    covered += target in matching[0].translations
                    break
    return covered / tokens if tokens else 0.0


@checked
@given(lexicons(), st.dictionaries(words, st.integers(0, 20)))
def test_coverage_is_that_of_a_naive_loop(given: Lexicon, word_counts: dict[str, int]) -> None:
    coverage = given.coverage(word_counts)
    assert list(coverage) == list(given.targets)
    for target, share in coverage.items():
        assert share == pytest.approx(naive_coverage(given, word_counts, target), abs=1e-12)


def test_coverage_by_hand() -> None:
    some = lexicon(("house", {"de": ["Haus"], "zh": ["房子"]}), ("US", {"de": ["USA"]}), ("us", {"zh": ["我们"]}))
    corpus = {"house": 2, "House": 1, "US": 3, "us": 4, "the": 10}
    assert some.coverage(corpus) == {"de": 6 / 20, "zh": 7 / 20}
    assert some.coverage({}) == {"de": 0.0, "zh": 0.0}


@checked
@given(lexicons(), corpora, st.integers(0, 50))
def test_counts_are_those_of_the_tokens_found_and_rare_words_go(
    before: Lexicon, corpus: dict[str, int], minimum: int
) -> None:
    known = {group.word for group in before}
    expected: Counter[str] = Counter()
    for word, count in corpus.items():
        expected[word if word in known else word.lower()] += count
    after = before.with_counts(corpus, minimum)
    assert [(group.word, group.count) for group in after] == [
        (group.word, expected[group.word]) for group in before if expected[group.word] >= minimum
    ]
    assert after.targets == before.targets
    assert [(g.translations, g.origin) for g in after] == [
        (g.translations, g.origin) for g in before if g.word in {kept.word for kept in after}
    ]


@checked
@given(lexicons(), st.integers(1, 5))
def test_limiting_senses_keeps_the_first(before: Lexicon, maximum: int) -> None:
    after = before.limit_senses(maximum)
    assert [dict(group.translations) for group in after] == [
        {language: senses[:maximum] for language, senses in group.translations.items()} for group in before
    ]


def test_no_senses_at_all_is_refused() -> None:
    with pytest.raises(LexiconError, match="1 or more"):
        lexicon(("a", {"de": ["b"]})).limit_senses(0)


# --- checking against other sources ---------------------------------------------------------------


def test_mutual_keeps_what_translates_back() -> None:
    there = lexicon(
        ("house", {"de": ["Haus", "Heim"], "zh": ["房子"]}), ("Bank", {"de": ["bank"]}), ("a", {"de": ["b"]})
    )
    back = Lexicon(
        [Group("haus", {"en": ("House",)}), Group("Heim", {"en": ("home",)}), Group("Bank", {"en": ("bank",)})],
        source="de",
    )
    assert there.mutual(back) == lexicon(("house", {"de": ["Haus"], "zh": ["房子"]}), ("Bank", {"de": ["bank"]}))
    with pytest.raises(LexiconError, match=r"one of .* to `en`"):
        there.mutual(there)


@checked
@given(lexicons())
def test_a_lexicon_turned_around_confirms_all_of_it(before: Lexicon) -> None:
    back: dict[str, dict[str, None]] = {}
    for group in before:
        for sense in group.translations.get("de", ()):
            back.setdefault(sense, {})[group.word] = None
    turned = Lexicon([Group(w, {"en": tuple(found)}) for w, found in back.items()], source="de", targets=["en"])
    if "de" in before.targets:
        assert before.mutual(turned) == before


def test_frequent_senses_come_first_and_ties_keep_their_order() -> None:
    before = lexicon(("house", {"de": ["Geschlecht", "Haus", "Heim", "heim"], "zh": ["屋", "房子"]}))
    after = before.order_senses({"de": {"Haus": 9, "heim": 2}})
    assert after == lexicon(("house", {"de": ["Haus", "Heim", "heim", "Geschlecht"], "zh": ["屋", "房子"]}))


def test_a_text_in_another_unicode_form_is_told_and_not_taken_for_another_language() -> None:
    words = ["nước", "sông", "một", "nhà", "xin", "chào"]
    dictionary = Lexicon([Group(word, {"en": ("x",)}) for word in words], source="vi")
    composed = dict.fromkeys(words, 1)
    apart = {unicodedata.normalize("NFD", word): 1 for word in words}
    assert found_in_corpus(dictionary, composed, "a.txt") == "100.0% of the source words were found in the corpus"
    assert found_in_corpus(dictionary, apart, "a.txt") == (
        "100.0% of the source words were found in the corpus; 5 words of the text are in another Unicode form than the "
        f"dictionary's (NFC), such as {next(iter(apart))}: normalise the text, as by `uconv -x any-nfc`"
    )


def test_a_dictionary_of_the_wrong_direction_says_so() -> None:
    corpus = {f"word{i}": 1 for i in range(1000)} | {"in": 50}
    right = lexicon(*((f"word{i}", {"de": [f"Wort{i}"]}) for i in range(30)))
    assert found_in_corpus(right, corpus, "a.txt") == "100.0% of the source words were found in the corpus"
    entries = [(f"Wort{i}", {"de": [f"word{i}"]}) for i in range(299)]
    swapped = lexicon(("In", {"de": ["word9"]}), *entries)
    with pytest.raises(
        LexiconError, match=r"a.txt: 0.3% of the source words .* but 100.0% of the tr.*swap the columns\?"
    ):
        found_in_corpus(swapped, corpus, "a.txt")
    foreign = lexicon(("in", {"de": ["x"]}), *((f"q{i}", {"de": [f"r{i}"]}) for i in range(99)))
    assert "1.0% of the source words were found in the corpus; did you swap" in found_in_corpus(
        foreign, corpus, "a.txt"
    )


# --- drawing --------------------------------------------------------------------------------------


def caseless(given: Lexicon) -> int:
    """Number of words, cases aside."""
    return len({group.word.lower() for group in given})


@checked
@given(lexicons(), shares, seeds)
def test_a_split_is_disjoint_whole_and_of_the_share_asked_for(whole: Lexicon, share: float, seed: int) -> None:
    train, held_out = whole.split(share, seed)
    cases = {group.word.lower() for group in held_out}
    assert len(cases) == round(share * caseless(whole))
    assert cases.isdisjoint(group.word.lower() for group in train)
    assert train.targets == held_out.targets == whole.targets
    kept = {group.word for group in train}
    assert kept.isdisjoint(group.word for group in held_out)
    assert tuple(sorted([*train, *held_out], key=whole.groups.index)) == whole.groups
    assert [group.word for group in whole if group.word in kept] == [group.word for group in train]


@checked
@given(lexicons(), shares, seeds, st.randoms(use_true_random=False))
def test_drawing_does_not_depend_on_order(whole: Lexicon, share: float, seed: int, rng: random.Random) -> None:
    groups = list(whole)
    rng.shuffle(groups)
    shuffled = Lexicon(groups, source="en", targets=whole.targets)
    assert content(shuffled.sample(share, seed)) == content(whole.sample(share, seed))
    for one, other in zip(shuffled.split(share, seed), whole.split(share, seed), strict=True):
        assert content(one) == content(other)


@checked
@given(lexicons(), shares, shares, seeds)
def test_a_smaller_sample_is_part_of_a_larger_one(whole: Lexicon, a: float, b: float, seed: int) -> None:
    small, large = whole.sample(min(a, b), seed), whole.sample(max(a, b), seed)
    assert set(content(small)) <= set(content(large))
    assert caseless(small) == round(min(a, b) * caseless(whole))


@st.composite
def distinct_lexicons(draw: st.DrawFn) -> Lexicon:
    """Every word has senses of its own, in one to three languages."""
    chosen = draw(st.lists(st.text("abAB", min_size=1, max_size=4), min_size=2, max_size=30, unique=True))
    languages = st.lists(st.sampled_from(LANGUAGES), min_size=1, max_size=3, unique=True)
    return Lexicon(
        [
            Group(w, {la: tuple(f"{w} {n}" for n in range(draw(st.integers(1, 3)))) for la in draw(languages)})
            for w in chosen
        ],
        source="en",
        targets=LANGUAGES,
    )


def by_language(given: Lexicon, language: str) -> dict[str, tuple[str, ...]]:
    return {group.word: group.translations[language] for group in given if language in group.translations}


def shuffled(given: Lexicon, share: float, seed: int) -> Lexicon:
    """Shuffled, unless so few words are drawn that the cases of one may be most of them."""
    try:
        return given.shuffled(share, seed)
    except LexiconError:
        drawn = [round(share * len({w.lower() for w in by_language(given, language)})) for language in LANGUAGES]
        assume(not any(0 < words < 8 for words in drawn))
        raise


@checked
@given(distinct_lexicons(), shares, seeds)
def test_shuffled_translations_are_a_derangement_of_the_share_asked_for(
    before: Lexicon, share: float, seed: int
) -> None:
    after = shuffled(before, share, seed)
    assert [(g.word, list(g.translations)) for g in after] == [(g.word, list(g.translations)) for g in before]
    for language in LANGUAGES:
        true, wrong = by_language(before, language), by_language(after, language)
        assert Counter(true.values()) == Counter(wrong.values()), "the entries are the same"
        moved = {word for word in true if wrong[word] != true[word]}
        lower = {word: {sense.lower() for sense in true[word]} for word in moved}
        assert all(lower[word].isdisjoint(sense.lower() for sense in wrong[word]) for word in moved)
        assert len({word.lower() for word in moved}) == round(share * len({word.lower() for word in true}))
        assert moved == {word for word in true if word.lower() in {m.lower() for m in moved}}, "all cases go together"


@checked
@given(distinct_lexicons(), shares, seeds, st.randoms(use_true_random=False))
def test_shuffling_is_deterministic_in_any_order(before: Lexicon, share: float, seed: int, rng: random.Random) -> None:
    groups = list(before)
    rng.shuffle(groups)
    other = Lexicon(groups, source="en", targets=LANGUAGES)
    assert content(shuffled(before, share, seed)) == content(shuffled(other, share, seed))
    assert before.shuffled(0, seed) == before


@checked
@given(distinct_lexicons(), shares, shares, seeds)
def test_what_a_smaller_share_moves_a_larger_one_moves_too(before: Lexicon, a: float, b: float, seed: int) -> None:
    small, large = (shuffled(before, share, seed) for share in sorted((a, b)))
    for group, less, more in zip(before, small, large, strict=True):
        for language, senses in group.translations.items():
            assert less.translations[language] == senses or more.translations[language] != senses


def test_words_that_share_translations_are_not_given_each_others() -> None:
    synonyms = lexicon(*((f"word{i}", {"de": [f"Wort{i // 4}", f"Wort{i // 4 + 1}"]}) for i in range(60)))
    for seed in range(20):
        for group in synonyms.shuffled(1, seed):
            own = synonyms.lookup(group.word)
            assert own is not None and set(own.translations["de"]).isdisjoint(group.translations["de"])


def test_translations_that_cannot_be_exchanged_are_an_error() -> None:
    for group in ([("a", {"de": ["x"]})], [("a", {"de": ["x"]}), ("b", {"de": ["x", "y"]})]):
        with pytest.raises(LexiconError, match=rf"{len(group)} words of the lexicon cannot exchange"):
            lexicon(*group).shuffled(1, 0)


def thousand() -> Lexicon:
    return lexicon(*((f"word{i}", {"de": [f"Wort{i}"]}) for i in range(1000)))


def test_a_split_depends_on_the_seed_and_is_not_the_sample() -> None:
    """Independent draws of 10 % share 1 % of the words; 4 sigma of the hypergeometric is about 11 words."""
    draws = [set(content(thousand().split(0.1, seed)[1])) for seed in range(4)]
    draws.append(set(content(thousand().sample(0.1, 0))))
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert len(one & other) <= 21


def test_a_draw_is_the_same_on_every_machine() -> None:
    drawn = [group.word for group in thousand().split(0.005, 7)[1]]
    assert drawn == ["word45", "word66", "word198", "word638", "word952"]


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(LexiconError, match="from 0 to 1"):
        thousand().sample(share, 0)
    with pytest.raises(LexiconError, match="from 0 to 1"):
        thousand().split(share, 0)
    with pytest.raises(LexiconError, match="from 0 to 1"):
        thousand().shuffled(share, 0)


@checked
@given(counts, counts)
def test_of_two_counts_the_larger_known_one_wins(one: int | None, other: int | None) -> None:
    merged = Group("a", {"de": ("b",)}, one).merge(Group("a", {"de": ("b",)}, other))
    assert merged.count == max((count for count in (one, other) if count is not None), default=None)
