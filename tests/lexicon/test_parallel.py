"""Lexicons from parallel text: what is read, what is counted, what is kept, and how good it is."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import permutations
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import given

from noise import checked, noise
from prealign.errors import LexiconError
from prealign.lexicon import Lexicon
from prealign.lexicon.group import Evidence, Group
from prealign.lexicon.parallel.statistics import Counted, Thresholds, count_links, probable
from prealign.lexicon.reading_report import Tally
from prealign.text.bitext import BLANK, OTHER_LANGUAGES, read_parallel
from prealign.text.sentence import sentence_cutter

DATA = Path(__file__).absolute().parents[3] / "shared" / "data"

# Every word of English here is one word of this made-up language, so the dictionary is known.
DICTIONARY = {
    "the": "ba",
    "cat": "Miu",
    "dog": "Wau",
    "bird": "Tirp",
    "sees": "vida",
    "hears": "oda",
    "loves": "ama",
    "old": "veto",
    "small": "pico",
}


def quiet(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def toy_corpus() -> list[tuple[str, str]]:
    """The sentences of a small grammar; the made-up language puts its adjectives behind its nouns and its verb last."""
    pairs = []
    for one, other in permutations(["cat", "dog", "bird"], 2):
        for verb in ("sees", "hears", "loves"):
            for adjective in ("old", "small"):
                english = f"The {adjective} {one} {verb} the {other}."
                words = ["the", one, adjective, "the", other, verb]
                foreign = " ".join(DICTIONARY[word] for word in words)
                pairs.append((english, foreign[0].upper() + foreign[1:] + "."))
    return pairs


# --- reading ---------------------------------------------------------------------------------------


def test_two_files_and_one_of_two_columns_give_the_same_pairs(tmp_path: Path) -> None:
    one, other, both = (tmp_path / name for name in ("x.en", "x.de.gz", "x.tsv"))
    one.write_bytes(b"\xef\xbb\xbfa house\r\n\r\nthe dog\nleft\n")
    other.write_bytes(gzip.compress(b" ein Haus\r\nleer\n  \nlinks"))
    both.write_bytes("\ufeffa house\tein Haus\r\n\tleer\r\nthe dog\t\nleft\tlinks\n".encode())
    expected = (("a house", "ein Haus"), ("left", "links"))
    for paths in ([one, other], [both]):
        text = read_parallel(paths, "en", "de")
        assert (text.pairs, text.lines) == (expected, 4)
        assert text.dropped[BLANK].count == 2
        assert "4 lines, 2 pairs" in text.text and "line 2 '' → 'leer'" in text.text


def test_tmx_and_jsonl_give_the_pairs_of_two_columns(tmp_path: Path) -> None:
    pairs = [("a house", "ein Haus"), ("left & right", "links"), ("{x}", "y")]
    (tmp_path / "x.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in pairs))
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"de-AT": de, "en": en, "id": 1}) + "\n" for en, de in pairs))
    nested = ({"id": "1", "translation": {"en": en, "de": de}} for en, de in pairs)
    (tmp_path / "opus.json").write_bytes(b"\xef\xbb\xbf" + "".join(json.dumps(one) + "\n" for one in nested).encode())
    rows = "".join(
        f'<tu><tuv xml:lang="de"><seg>{de}</seg></tuv><tuv xml:lang="EN-us"><seg>{escape(en)}</seg></tuv></tu>'
        for en, de in pairs
    )
    tmx = f"<?xml version='1.0'?><tmx version='1.4'><header/><body>{rows}</body></tmx>"
    (tmp_path / "x.tmx.gz").write_bytes(gzip.compress(tmx.encode()))
    for name in ("x.tsv", "x.jsonl", "opus.json", "x.tmx.gz"):
        assert list(read_parallel([tmp_path / name], "en", "de").pairs) == pairs, name
        (turned,) = {read_parallel([tmp_path / name], "de", "en").pairs[0]}
        assert turned == (pairs[0] if name == "x.tsv" else pairs[0][::-1])


def test_units_of_other_languages_are_counted_and_variants_make_several_pairs(tmp_path: Path) -> None:
    def unit(**sides: str) -> str:
        tuvs = (f'<tuv xml:lang="{name[:2]}"><seg>{text}</seg></tuv>' for name, text in sides.items())
        return f"<tu>{''.join(tuvs)}</tu>"

    units = [unit(en="a", fr="b"), unit(en="a", de1="b", de2="c"), unit(en=" ", de="d")]
    (tmp_path / "x.tmx").write_text(f"<tmx><body>{''.join(units)}</body></tmx>")
    text = read_parallel([tmp_path / "x.tmx"], "en", "de")
    assert text.pairs == (("a", "b"), ("a", "c")) and text.lines == 4
    assert text.dropped[OTHER_LANGUAGES] == Tally(1, ("unit 1",))
    assert text.dropped[BLANK] == Tally(1, ("unit 3 '' → 'd'",))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"en": "a"}', "line 1 is without a text of `de`: its keys are 'en'"),
        ('{"en": "a", "de": 3}', "line 1 is wrong: key `de` is missing, empty or not text"),
        ('{"translation": "x"}', "line 1 is without an object in `translation`"),
        ("{en: a}", "line 1 is not JSON"),
    ],
)
def test_lines_of_json_without_both_texts_are_malformed(tmp_path: Path, record: str, message: str) -> None:
    (tmp_path / "x.jsonl").write_text(record + "\n")
    with pytest.raises(LexiconError) as caught:
        read_parallel([tmp_path / "x.jsonl"], "en", "de")
    assert message in str(caught.value)


@pytest.mark.parametrize("limit", [0, 1, 2, 3, None])
def test_a_limit_keeps_the_first_pairs_and_counts_the_others(tmp_path: Path, limit: int | None) -> None:
    (tmp_path / "x.tsv").write_text("a\tb\n\tc\nd\te\n")
    text = read_parallel([tmp_path / "x.tsv"], "en", "de", limit=limit)
    assert text.pairs == (("a", "b"), ("d", "e"))[:limit]
    assert text.lines == 3 == len(text.pairs) + sum(tally.count for tally in text.dropped.values())


@pytest.mark.parametrize(("lines", "fewer"), [(3, 2), (2, 3), (1, 0)])
def test_files_of_different_lengths_are_refused_with_both_counts(tmp_path: Path, lines: int, fewer: int) -> None:
    one, other = tmp_path / "x.en", tmp_path / "x.de"
    one.write_text("word\n" * lines, encoding="utf-8")
    other.write_text("Wort\n" * fewer, encoding="utf-8")
    with pytest.raises(LexiconError, match=rf"x\.en has {lines} lines, .*x\.de has {fewer}"):
        read_parallel([one, other], "en", "de")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a b\tc\nno tab\n", "line 2 is of 1 columns, not 2"),
        (b"a\tb\tc\n", "line 1 is of 3 columns"),
        (b"a\t\xe4\n", "line 1 is not UTF-8 at byte 0"),
        (b"\n\t\n", "no pair of sentences among 2 lines"),
        (b"", "no pair of sentences among 0 lines"),
    ],
)
def test_a_file_that_is_no_parallel_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.tsv").write_bytes(content)
    with pytest.raises(LexiconError, match=message):
        read_parallel([tmp_path / "x.tsv"], "en", "de")


def test_of_two_files_the_one_in_another_encoding_is_named(tmp_path: Path) -> None:
    one, other = tmp_path / "x.fr", tmp_path / "x.de"
    one.write_text("à\nb\né\nd\n", encoding="utf-8")
    other.write_text("a\nß\nc\nü\n", encoding="latin1")
    with pytest.raises(LexiconError) as caught:
        read_parallel([one, other], "en", "de")
    assert f"{other}: 2 lines are not UTF-8, the first is line 2: convert the file" in str(caught.value)
    assert f"{one}:" not in str(caught.value)
    other.write_bytes("a\nb\n".encode("utf-32"))
    with pytest.raises(LexiconError, match=r"x\.de: the file is UTF-32"):
        read_parallel([one, other], "en", "de")


@checked
@given(noise(["a\tb", "a\tb\tc"], []), noise(["a\tb", "a"], []))
def test_any_bytes_are_pairs_or_an_error_that_names_a_file(tmp_path: Path, content: bytes, more: bytes) -> None:
    paths = [tmp_path / "x.en", tmp_path / "x.de"]
    for path, data in zip(paths, (content, more), strict=True):
        path.write_bytes(data)
    for chosen in (paths, paths[:1]):
        try:
            text = read_parallel(chosen, "en", "de")
        except LexiconError as error:
            assert str(tmp_path / "x.") in str(error)
            continue
        assert text.lines == len(text.pairs) + sum(tally.count for tally in text.dropped.values())
        assert all(source.strip() and target.strip() for source, target in text.pairs) and text.text


def test_a_few_malformed_lines_of_a_short_text_are_counted(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(b"a\tb\n" * 4 + b"no tab\n" * 3)
    text = read_parallel([tmp_path / "x.tsv"], "en", "de")
    assert len(text.pairs) == 4 and text.dropped["malformed lines"].count == 3


def test_one_malformed_line_in_a_hundred_is_counted_and_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(b"a\tb\n" * 50 + b"\xff\tb\n" + b"a\tb\n" * 49)
    text = read_parallel([tmp_path / "x.tsv"], "en", "de")
    assert len(text.pairs) == 99 and text.dropped["malformed lines"].count == 1


@pytest.mark.parametrize("files", [[], ["a", "b", "c"]])
def test_there_are_one_or_two_files(files: list[str]) -> None:
    with pytest.raises(LexiconError, match="give two, or one"):
        read_parallel([Path(file) for file in files], "en", "de")


# --- statistics, by hand ---------------------------------------------------------------------------


def counted(links: dict[tuple[str, str], int]) -> Counted:
    spelled = tuple({word: word for word in side} for side in zip(*links, strict=True))
    return Counted(links, (spelled[0], spelled[1] | {"haus": "Haus"}), 100, {})


LINKS = {
    ("house", "haus"): 6,  # p 6/10, back 6/8
    ("house", "heim"): 3,  # p 3/10, back 3/4
    ("house", "das"): 1,  # p 1/10: too few links too
    ("home", "haus"): 2,  # p 2/3, back 2/8
    ("home", "heim"): 1,  # p 1/3, back 1/4
    ("bank", "bank"): 9,
    ("дом", "wohnung"): 9,
    ("flat", "дом"): 9,
    ("1990", "neunzig"): 9,
    ("a" * 41, "lang"): 9,
}


def test_probabilities_and_every_threshold_by_hand() -> None:
    lexicon, dropped = probable(counted(LINKS), "en", "de", Thresholds(2, 0.25), "aligned:x")
    assert [(group.word, dict(group.translations)) for group in lexicon] == [
        ("house", {"de": ("Haus", "heim")}),
        ("home", {"de": ("Haus",)}),
    ]
    house = lexicon.lookup("house")
    assert house is not None and house.origin == ("aligned:x",)
    assert house.evidence == {"de": {"Haus": Evidence(6, 0.6, 0.75), "heim": Evidence(3, 0.3, 0.75)}}
    assert {reason: tally.count for reason, tally in dropped.items()} == {
        "with a number or a sign": 1,
        "not in the script of English": 1,
        "not in the script of German": 1,
        "longer than 40 characters": 1,
        "identical on both sides": 1,
        "aligned fewer than 2 times": 2,
    }
    assert sum(tally.count for tally in dropped.values()) + 3 == len(LINKS)


@pytest.mark.parametrize(
    ("thresholds", "kept", "reason"),
    [
        (Thresholds(1, 0.3), [("house", "Haus"), ("house", "heim")], "less probable than 0.3 in one direction"),
        (Thresholds(1, 0.1, mutual_best=True), [("house", "Haus")], "not the best of each other"),
        (Thresholds(1, 0.25, senses=1), [("house", "Haus"), ("home", "Haus")], "beyond the first 1 senses"),
    ],
)
def test_stricter_thresholds_keep_less_and_say_what(
    thresholds: Thresholds, kept: list[tuple[str, str]], reason: str
) -> None:
    lexicon, dropped = probable(counted(LINKS), "en", "de", thresholds, "aligned:x")
    assert [(group.word, sense) for group in lexicon for sense in group.translations["de"]] == kept
    assert dropped[reason].count > 0
    assert len(kept) + sum(tally.count for tally in dropped.values()) == len(LINKS)


def test_thresholds_that_leave_nothing_or_are_none_are_refused() -> None:
    with pytest.raises(
        LexiconError, match="no pair of words is left of 100 pairs of sentences; dropped: 1 with a number"
    ):
        probable(counted(LINKS), "en", "de", Thresholds(count=100), "x")
    for wrong in ({"count": 0}, {"senses": 0}, {"probability": 20}):
        with pytest.raises(LexiconError, match="from"):
            Thresholds(**wrong)  # type: ignore[arg-type]


# --- evidence in the lexicon -----------------------------------------------------------------------


def test_evidence_survives_the_file_and_goes_with_its_senses(tmp_path: Path) -> None:
    lexicon, _ = probable(counted(LINKS), "en", "de", Thresholds(2, 0.25), "aligned:x")
    lexicon.save(tmp_path / "x.jsonl")
    assert Lexicon.load(tmp_path / "x.jsonl") == lexicon
    assert Lexicon.read(tmp_path / "x.jsonl", source="en", target="de") == lexicon
    capped = lexicon.limit_senses(1).groups[0]
    assert set(capped.evidence["de"]) == {"Haus"}
    other = Lexicon([Group("house", {"de": ("Gebäude", "Haus"), "fr": ("maison",)})], source="en")
    joined = other.merge(lexicon).groups[0]
    assert joined.translations["de"] == ("Gebäude", "Haus", "heim")
    assert joined.evidence == lexicon.groups[0].evidence


@pytest.mark.parametrize("evidence", ['{"de": {"Haus": [0, 1, 1]}}', '{"de": {"Haus": [1, 2, 1]}}', '{"de": [1]}', "3"])
def test_wrong_evidence_in_a_file_is_a_malformed_line(tmp_path: Path, evidence: str) -> None:
    (tmp_path / "x.jsonl").write_text(
        '{"prealign_lexicon": 1, "source": "en", "targets": ["de"]}\n'
        f'{{"word": "house", "translations": {{"de": ["Haus"]}}, "evidence": {evidence}}}\n',
        encoding="utf-8",
    )
    with pytest.raises(LexiconError, match=r"x\.jsonl:2: .*(alignment|evidence)"):
        Lexicon.load(tmp_path / "x.jsonl")


# --- the aligner -----------------------------------------------------------------------------------


def test_a_known_dictionary_is_recovered_with_its_spelling() -> None:
    pytest.importorskip("thot", reason="needs the aligner: pip install 'prealign[align]'")
    cutters = (sentence_cutter("en"), sentence_cutter("und"))
    found = [count_links(toy_corpus(), ("en", "de"), cutters, quiet) for _ in range(2)]
    assert found[0] == found[1]
    lexicon, dropped = probable(found[0], "en", "und", Thresholds(count=5, mutual_best=True), "aligned:toy")
    assert {group.word: group.translations["und"][0] for group in lexicon} == DICTIONARY
    assert found[0].pairs == 36
    the = lexicon.lookup("The")
    assert the is not None and the.evidence["und"]["ba"].forward > 0.5
    assert dropped["with a number or a sign"].count >= 1  # the full stop


def test_sentences_without_words_or_with_too_many_are_counted() -> None:
    pytest.importorskip("thot", reason="needs the aligner: pip install 'prealign[align]'")
    cutters = (sentence_cutter("en"), sentence_cutter("und"))
    odd = [(" ", "x"), ("w " * 101, "x")]
    found = count_links([*toy_corpus(), *odd], ("en", "de"), cutters, quiet)
    assert found.pairs == 36
    assert [tally.count for tally in found.dropped.values()] == [1, 1]
    with pytest.raises(LexiconError, match="no pair of sentences has words"):
        count_links(odd, ("en", "de"), cutters, quiet)


# The table of docs/dictionaries.md, measured 2026-11-24 with sil-thot 3.5.3: words, and the share of the pairs whose English
# word MUSE has that are in MUSE. MUSE lacks inflected forms, so that the rest are not all wrong.
@pytest.mark.parametrize(
    ("target", "files", "words", "precision"),
    [
        ("de", ("deu-eng.eng", "deu-eng.deu"), 1606, 0.889),
        ("ru", ("eng-rus.eng", "eng-rus.rus"), 1352, 0.681),
        ("zh", ("eng-zho.eng", "eng-zho.zho"), 721, 0.587),
        ("ar", ("ara-eng.eng", "ara-eng.ara"), 832, 0.566),
    ],
)
def test_real_text_gives_lexicons_that_agree_with_muse(
    target: str, files: tuple[str, str], words: int, precision: float
) -> None:
    pytest.importorskip("thot", reason="needs the aligner: pip install 'prealign[align]'")
    paths = [DATA / "tatoeba_opus" / file for file in files]
    muse = DATA / "muse" / f"en-{target}.txt"
    if not all(path.exists() for path in (muse, *paths)):
        pytest.skip("the texts of ../shared/data are not here")
    if target == "zh":
        pytest.importorskip("rjieba", reason="needs a segmenter: pip install 'prealign[segment]'")
    known: dict[str, set[str]] = {}
    for line in muse.read_text(encoding="utf-8").splitlines():
        word, translation = line.split()
        if word != translation:
            known.setdefault(word, set()).add(translation)
    cutters = (sentence_cutter("en"), sentence_cutter(target))
    found = count_links(read_parallel(paths, "en", target).pairs, ("en", target), cutters, quiet)
    lexicon, _ = probable(found, "en", target, Thresholds(), "aligned:tatoeba")
    right = Counter(
        sense.lower() in known[group.word.lower()]
        for group in lexicon
        for sense in group.translations[target]
        if group.word.lower() in known
    )
    assert len(lexicon) > 0.97 * words
    assert right.total() > 0.7 * len(lexicon)
    assert right[True] / right.total() > precision - 0.02
