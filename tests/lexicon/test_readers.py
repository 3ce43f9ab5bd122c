from __future__ import annotations

import gzip
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prealign.errors import LexiconError
from prealign.lexicon import Lexicon, ReadReport
from prealign.lexicon.read import FORMATS
from prealign.lexicon.reading_report import DUPLICATE, IDENTICAL


def identical_entries(report: ReadReport) -> int:
    return report.dropped[IDENTICAL].count if IDENTICAL in report.dropped else 0


# No deadline: the machine may be busy. In tmp_path each example overwrites the last one's file.
checked = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

EXAMPLES = {
    "muse": "bank Bank\nbank\tUfer\nhouse Haus\n",
    "tsv": "bank\tBank\nbank\tUfer des Flusses\nfree of charge\tumsonst\n",
    "paper_pairs": '{"src_text":"bank", "tgt_text":"Kasse"}\n{"src_text":"apple","tgt_text":"Apfel"}',
    "paper_words": '{"words":"bank $ Kasse $ Küste"}\n{"words":"apple $ Apfel"}',
    "paper_indexed": '{"words":"bank $ Kasse $ Küste", "index": 0}\n{"words":"cash $ 3 $", "index": 1}',
    "jsonl": (
        '{"prealign_lexicon": 1, "source": "en", "targets": ["de"]}\n'
        '{"word": "bank", "translations": {"de": ["Bank", "bank"]}}\n'
    ),
}
EXPECTED: dict[str, dict[str, tuple[str, ...]]] = {
    "muse": {"bank": ("Bank", "Ufer"), "house": ("Haus",)},
    "tsv": {"bank": ("Bank", "Ufer des Flusses"), "free of charge": ("umsonst",)},
    "paper_pairs": {"bank": ("Kasse",), "apple": ("Apfel",)},
    "paper_words": {"bank": ("Kasse", "Küste"), "apple": ("Apfel",)},
    "paper_indexed": {"bank": ("Kasse", "Küste"), "cash": ("3 $",)},
    "jsonl": {"bank": ("Bank", "bank")},
}


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "dictionary.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


ANY_SCRIPT = ("qaa", "qab")
"""Languages of no known script: their words may be of any."""


def read(
    path: Path, format: str | None = None, languages: tuple[str, str] = ("en", "de")
) -> tuple[dict[str, tuple[str, ...]], ReadReport]:
    source, target = languages
    lexicon = Lexicon.read(path, format=format, source=source, target=target)
    assert lexicon.report is not None
    assert lexicon.targets == (target,)
    return {group.word: group.translations[target] for group in lexicon}, lexicon.report


@pytest.mark.parametrize("format", EXAMPLES)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_format_is_read_and_recognised(tmp_path: Path, format: str, ends: str, mark: str) -> None:
    path = write(tmp_path, mark + EXAMPLES[format].replace("\n", ends))
    pairs, report = read(path, format)
    assert pairs == EXPECTED[format]
    recognised, same_report = read(path)
    assert recognised == pairs
    assert report == same_report
    assert report.format == format


def test_the_entries_origin_is_the_format_and_the_file(tmp_path: Path) -> None:
    lexicon = Lexicon.read(write(tmp_path, EXAMPLES["muse"]), source="en", target="de")
    assert [group.origin for group in lexicon] == [("muse:dictionary.txt",)] * 2


def test_paper_words_may_carry_an_index(tmp_path: Path) -> None:
    assert read(write(tmp_path, EXAMPLES["paper_indexed"]), "paper_words")[0] == EXPECTED["paper_indexed"]


def test_phrases_after_many_single_words_are_still_a_tsv(tmp_path: Path) -> None:
    lines = [f"a{i}\tb{i}" for i in range(5000)] + ["free of charge\tumsonst"]
    pairs, report = read(write(tmp_path, "\n".join(lines)))
    assert (pairs["free of charge"], report.format) == (("umsonst",), "tsv")


def test_identical_duplicate_empty_and_malformed_lines_are_counted(tmp_path: Path) -> None:
    good = [f"word{i} Wort{i}" for i in range(300)]
    lines = [*good, "", "  ", "the the", "word7 Wort7", "lonely", "one two three", "word8 Zweites"]
    path = write(tmp_path, "\n".join(lines) + "\n")
    pairs, report = read(path, "muse")
    assert (report.lines, report.empty, report.entries, report.kept) == (307, 2, 303, 301)
    assert {reason: tally.count for reason, tally in report.dropped.items()} == {IDENTICAL: 1, DUPLICATE: 1}
    assert [str(line) for line in report.malformed] == [
        f"{path}:305: expected two words separated by one space or tab, found 1 field(s): 'lonely'",
        f"{path}:306: expected two words separated by one space or tab, found 3 field(s): 'one two three'",
    ]
    assert report.text.split("\n") == [
        str(report),
        *(f"  malformed: {line}" for line in report.malformed),
        "  dropped: 1 entries identical on both sides, such as line 303 'the'",
        "  dropped: 1 duplicate entries, such as line 304 'word7' → 'Wort7'",
    ]
    assert (len(pairs), pairs["word8"], "the" in pairs) == (300, ("Wort8", "Zweites"), False)
    assert str(report) == (
        f"{path} (muse): 307 lines, 301 entries kept; dropped: 2 empty lines, 2 malformed lines, "
        "1 entries identical on both sides, 1 duplicate entries"
    )


malformed = {
    "muse": ["one", "one two three", "a  b", "a\t\tb"],
    "tsv": ["one", "one two", "a\tb\tc", "a\t"],
    "paper_pairs": [
        '{"src_text": "a"}',
        '{"src_text": "a", "tgt_text": 1}',
        '{"src_text": "a", "tgt_text": " "}',
        "[]",
    ],
    "paper_words": [
        '{"words": "a"}',
        '{"words": "a $ "}',
        '{"words": ["a", "b"]}',
        "a $ b",
        '{"words": "a$b"}',
    ],
    "paper_indexed": [
        '{"words": "a $ b"}',
        '{"words": "a $ b", "index": "0"}',
        '{"words": "a $ b", "index": true}',
    ],
}


@pytest.mark.parametrize(("format", "line"), [(name, line) for name, lines in malformed.items() for line in lines])
def test_each_kind_of_malformed_line_is_skipped_with_its_number(tmp_path: Path, format: str, line: str) -> None:
    good = EXAMPLES[format].strip().split("\n") * 50
    path = write(tmp_path, "\n".join([*good, line, *good]))
    pairs, report = read(path, format)
    assert pairs == EXPECTED[format]
    assert [(bad.path, bad.line) for bad in report.malformed] == [(str(path), len(good) + 1)]
    assert report.malformed[0].reason


def test_over_one_percent_of_malformed_lines_is_an_error_that_names_the_first_five(tmp_path: Path) -> None:
    lines = [f"word{i} Wort{i}" for i in range(594)]
    allowed = write(tmp_path, "\n".join([*lines, *["lonely"] * 6]))
    assert len(read(allowed, "muse")[1].malformed) == 6  # 6 of 600 are 1 %, not over
    path = write(tmp_path, "\n".join(["", "lonely", *lines, *["lonely"] * 6]))
    with pytest.raises(LexiconError) as caught:
        read(path, "muse")
    message = str(caught.value)
    assert f"{path}: 7 of 601 lines are malformed, more than 1%" in message
    named = [line.strip().split(": ")[0] for line in message.split("\n")[1:]]
    assert named == [f"{path}:{number}" for number in (2, 597, 598, 599, 600)]


def test_bytes_that_are_not_utf8_cost_one_line(tmp_path: Path) -> None:
    good = "".join(f"word{i} Wört{i}\n" for i in range(200)).encode()
    pairs, report = read(write(tmp_path, good + "gebäude Geb".encode() + b"\xe4ude\n" + good), "muse")
    assert len(pairs) == 200
    assert [(line.line, line.reason) for line in report.malformed] == [
        (201, "not UTF-8 at byte 12 of the line (counted from 0)")
    ]


def test_a_file_that_is_mostly_not_utf8_is_an_error_that_says_how_to_convert_it(tmp_path: Path) -> None:
    path = write(tmp_path, "gebäude Gebäude\n".encode("latin1") * 20)
    told = (
        r"20 of 20 lines .* 20 lines are not UTF-8, the first is line 1: convert the file .*iconv -f ENCODING -t utf-8"
    )
    with pytest.raises(LexiconError, match=told):
        read(path, "muse")


def test_a_file_of_two_encodings_is_an_error_that_says_how_many_lines_are_not_utf8(tmp_path: Path) -> None:
    lines = [f"word{i} Wört{i}\n".encode() for i in range(300)] + ["gebäude Gebäude\n".encode("latin1")] * 20
    told = r"20 of 320 .* 20 lines are not UTF-8, the first is line 301, while 300 others .*: convert only the part"
    with pytest.raises(LexiconError, match=told):
        read(write(tmp_path, b"".join(lines)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        ("house Haus\n", "utf-16", "is UTF-16; .*iconv -f utf-16 "),
        ("\ufeffhouse Haus\n", "utf-16-be", "is UTF-16; .*iconv -f utf-16 "),
        ("house Haus\n", "utf-32", "is UTF-32; .*iconv -f utf-32 "),
        ("\ufeffhouse Haus\n", "utf-32-be", "is UTF-32; .*iconv -f utf-32 "),
        ("house Haus\n", "utf-16-le", "looks like UTF-16LE without a byte order mark; .*iconv -f utf-16le "),
        ("house\tДом\n" * 50, "utf-16-be", "looks like UTF-16BE without"),
        ("дом 房子\nодин 一\n", "utf-16-le", "looks like UTF-16LE without"),
        ("house\tДом\n", "utf-32-le", "looks like UTF-32LE without"),
        ("house 房子\n", "utf-32-be", "looks like UTF-32BE without"),
        ("house Haus\rtree Baum\r", "utf-8", "lines end in carriage returns.*`tr '"),
    ],
)
def test_other_encodings_and_line_ends_are_told_with_their_conversion(
    tmp_path: Path, pack: Callable[[bytes], bytes], text: str, encoding: str, told: str
) -> None:
    path = write(tmp_path, pack(text.encode(encoding)))
    with pytest.raises(LexiconError, match=told):
        read(path)
    converted = text.removeprefix("\ufeff").replace("\r", "\n")
    assert read(write(tmp_path, pack(converted.encode())), languages=ANY_SCRIPT)[0]


def test_a_first_line_of_ten_megabytes_costs_that_line(tmp_path: Path) -> None:
    good = "".join(f"word{i}\tWort{i}\n" for i in range(300))
    pairs, report = read(write(tmp_path, f"{'x' * 10_000_000}\n{good}"))
    assert (report.format, len(pairs), [line.line for line in report.malformed]) == ("tsv", 300, [1])
    with pytest.raises(LexiconError, match="no line is shorter than 8,000,000 bytes"):
        read(write(tmp_path, "x" * 10_000_000))


@pytest.mark.parametrize(("good", "bad", "read_anyway"), [(2, 1, True), (1, 1, False), (4, 3, True), (3, 3, False)])
def test_a_few_malformed_lines_of_a_short_file_are_named_and_passed_over(
    tmp_path: Path, good: int, bad: int, read_anyway: bool
) -> None:
    path = write(tmp_path, "".join(f"word{i} Wort{i}\n" for i in range(good)) + "lonely\n" * bad)
    if read_anyway:
        pairs, report = read(path)
        assert len(pairs) == good and len(report.malformed) == bad
        assert f"{bad} malformed lines" in str(report) and f"malformed: {path}:{good + 1}" in report.text
    else:
        with pytest.raises(LexiconError, match=rf"{bad} of {good + bad} lines are malformed"):
            read(path, "muse")


def test_four_malformed_lines_of_fifty_are_an_error(tmp_path: Path) -> None:
    good = "".join(f"word{i} Wort{i}\n" for i in range(46))
    with pytest.raises(LexiconError, match=r"4 of 50 lines are malformed, more than 1% \(in a short file: more than 3"):
        read(write(tmp_path, good + "lonely\n" * 4))


def test_thousands_of_malformed_lines_end_the_reading(tmp_path: Path) -> None:
    with pytest.raises(LexiconError, match=r"10,000 of 10,000 lines"):
        read(write(tmp_path, "lonely\n" * 30_000), "muse")


def test_phrases_are_kept_and_counted(tmp_path: Path) -> None:
    pairs, report = read(write(tmp_path, "free of charge\tumsonst\nthe house\tdas Haus\nbe\tsein (irr.)\n"))
    assert pairs == {"free of charge": ("umsonst",), "house": ("Haus",), "be": ("sein",)}
    assert (report.kept, report.phrases) == (3, 1)
    assert "3 entries kept (1 with a source of several words); dropped: nothing" in str(report)
    assert {reason: tally.count for reason, tally in report.changed.items()} == {
        "articles": 2,
        "parenthesised notes": 1,
    }
    assert "  cleaned: 1 parenthesised notes, such as line 3 'sein (irr.)' → 'sein'" in report.text


def test_words_are_nfc_so_that_equal_words_meet(tmp_path: Path) -> None:
    composed, decomposed = "café", unicodedata.normalize("NFD", "café")
    path = write(tmp_path, f"{decomposed} Kaffeehaus\n{composed} Café\n{composed} {decomposed}\nx {decomposed}\n")
    pairs, report = read(path, "muse")
    assert pairs == {"café": ("Kaffeehaus", "Café"), "x": ("café",)}
    assert identical_entries(report) == 1


def test_half_a_surrogate_pair_is_malformed(tmp_path: Path) -> None:
    good = "\n".join(['{"words": "a $ b"}'] * 200)
    _, report = read(write(tmp_path, good + '\n{"words": "a $ \\ud83d"}'))
    assert "half a surrogate pair" in report.malformed[0].reason


def test_nested_json_is_malformed_and_no_crash(tmp_path: Path) -> None:
    good = "\n".join(['{"words": "a $ b"}'] * 200)
    _, report = read(write(tmp_path, f"{good}\n{'[' * 200_000}"), "paper_words")
    assert report.malformed[0].line == 201


@pytest.mark.parametrize("content", ["", "\n \n\t\r\n", "\ufeff", "\ufeff\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(LexiconError, match=r"dictionary\.txt.* is empty"):
        Lexicon.read(path, source="en", target="de")
    with pytest.raises(LexiconError, match=r"dictionary\.txt.* is empty"):
        Lexicon.load(path)


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(LexiconError, match=r"nowhere\.txt: cannot read"):
        Lexicon.read(tmp_path / "nowhere.txt", source="en", target="de")
    with pytest.raises(LexiconError, match="cannot read"):
        Lexicon.load(tmp_path)


def test_a_dictionary_of_identical_words_only_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LexiconError, match="all 2 are identical"):
        Lexicon.read(write(tmp_path, "the the\nparis paris\n"), source="en", target="de")


@pytest.mark.parametrize(("named", "meant"), [("mues", "muse"), ("paper-words", "paper_words"), ("json", "jsonl")])
def test_an_unknown_format_is_met_with_the_one_meant(tmp_path: Path, named: str, meant: str) -> None:
    with pytest.raises(LexiconError, match=f"unknown dictionary format `{named}`; did you mean `{meant}`"):
        read(write(tmp_path, EXAMPLES["muse"]), named)


@pytest.mark.parametrize("content", ['{"source": "a", "target": "b"}\n', "one\ntwo\n", "a,b,c d e\n"])
def test_content_of_no_known_format_is_an_error_that_lists_them(tmp_path: Path, content: str) -> None:
    with pytest.raises(LexiconError, match=r"not recognised.*paper_indexed, paper_words, jsonl"):
        read(write(tmp_path, content))


def test_source_and_target_must_differ(tmp_path: Path) -> None:
    with pytest.raises(LexiconError, match="both source and target"):
        Lexicon.read(write(tmp_path, EXAMPLES["muse"]), source="de", target="de")


# --- properties -----------------------------------------------------------------------------------

plain = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)
entries = st.lists(st.tuples(plain, plain), min_size=1, max_size=30)
WRITERS = {
    "muse": lambda source, target: f"{source} {target}",
    "tsv": lambda source, target: f"{source}\t{target}",
    "paper_pairs": lambda source, target: json.dumps({"src_text": source, "tgt_text": target}),
    "paper_words": lambda source, target: json.dumps({"words": f"{source} $ {target}"}),
    "paper_indexed": lambda source, target: json.dumps({"index": 4, "words": f"{source} $ {target}"}),
}


@pytest.mark.parametrize("format", WRITERS)
@checked
@given(entries)
def test_all_formats_read_the_same_pairs(tmp_path: Path, format: str, pairs: list[tuple[str, str]]) -> None:
    path = write(tmp_path, "\n".join(WRITERS[format](*pair) for pair in pairs))
    expected: dict[str, list[str]] = {}
    identical = 0
    for pair in pairs:
        source, target = (unicodedata.normalize("NFC", word) for word in pair)
        if source == target:
            identical += 1
        elif target not in expected.setdefault(source, []):
            expected[source].append(target)
    expected = {word: senses for word, senses in expected.items() if senses}
    if not expected:
        with pytest.raises(LexiconError, match="identical"):
            read(path, format, ANY_SCRIPT)
        return
    found, report = read(path, format, ANY_SCRIPT)
    assert {word: list(senses) for word, senses in found.items()} == expected
    assert list(found) == list(expected)
    assert (report.lines, report.entries, identical_entries(report)) == (len(pairs), len(pairs), identical)
    assert report.kept == sum(map(len, expected.values()))


bits = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"\t",
        b" ",
        b" $ ",
        b'"',
        b"{",
        b"}",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\x00",
        b"a",
        b"\xc3\xa9",
    ]
    + [
        b'{"words": "a $ b", "index": 1}\n',
        b'{"src_text": "a", "tgt_text": "b"}\n',
        b"a b\n",
        b"a\tb\n",
        b"\\ud800",
    ]
    + [example.encode() for example in EXAMPLES.values()]
)
noise = st.binary(max_size=60) | st.lists(bits | st.binary(max_size=4), max_size=12).map(b"".join)


@pytest.mark.parametrize("format", [*FORMATS, None])
@checked
@given(noise)
def test_arbitrary_bytes_are_read_or_refused_and_every_entry_accounted_for(
    tmp_path: Path, format: str | None, content: bytes
) -> None:
    try:
        pairs, report = read(write(tmp_path, content), format)
    except LexiconError as error:
        assert "dictionary.txt" in str(error)
        return
    assert report.kept == sum(map(len, pairs.values())) > 0
    assert report.entries == report.kept + sum(tally.count for tally in report.dropped.values())
    assert report.lines == len(content.removesuffix(b"\n").split(b"\n"))


# --- real dictionaries ----------------------------------------------------------------------------

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.skipif(not DATA.exists(), reason="needs the dictionaries beside the checkout, ../shared/data")
@pytest.mark.parametrize(
    ("file", "target", "format", "lines", "identical"),
    [
        ("muse/en-de.txt", "de", "muse", 101_931, 48_738),
        ("muse/en-zh.txt", "zh", "muse", 39_334, 17_861),
        ("wiktionary_wechsel/german.txt", "de", "tsv", 60_708, None),
    ],
)
def test_real_dictionaries_agree_with_their_published_counts(
    file: str, target: str, format: str, lines: int, identical: int | None
) -> None:
    report = Lexicon.read(DATA / file, source="en", target=target).report
    assert report is not None
    assert (report.format, report.lines, report.malformed) == (format, lines, ())
    assert identical is None or identical_entries(report) == identical


@pytest.mark.parametrize("format", ["muse", "tsv", "paper_pairs", "paper_words"])
def test_files_of_two_sides_can_be_turned(tmp_path: Path, format: str) -> None:
    path = write(tmp_path, EXAMPLES[format])
    straight = Lexicon.read(path, format=format, source="en", target="de")
    turned = Lexicon.read(path, format=format, source="de", target="en", turned=True)
    pairs = {(group.word, sense) for group in straight for sense in group.translations["de"]}
    assert {(sense, group.word) for group in turned for sense in group.translations["en"]} == pairs
    assert turned.report is not None and "read from its second side to its first" in str(turned.report)


@pytest.mark.parametrize(
    ("format", "content"), [("jsonl", EXAMPLES["jsonl"]), ("panlex", "uid,txt,trans_uid,trans_txt\n")]
)
def test_files_that_name_their_languages_are_not_turned_by_hand(tmp_path: Path, format: str, content: str) -> None:
    with pytest.raises(LexiconError, match="`turned` is for files of two columns"):
        Lexicon.read(write(tmp_path, content), format=format, source="en", target="de", turned=True)


@pytest.mark.parametrize("suffix", ["txt", "dict.dz"])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bomb.{suffix}"
    path.write_bytes(gzip.compress(b"word Wort\n" + b"x" * 70_000_000))
    (tmp_path / "bomb.index").write_text("word\tA\tK\n")
    with pytest.raises(LexiconError, match=r"bomb\.\S+: cannot read .*unpacks to more than 64,000,000 bytes"):
        Lexicon.read(path, source="en", target="de")


def test_what_text_packs_to_is_read_whatever_its_size(tmp_path: Path) -> None:
    words = "".join(f"word{i}\tWort{i * 7919 % 100_003}\n" for i in range(3_000))
    path = write(tmp_path, gzip.compress(words.encode()))
    assert len(read(path)[0]) == 3_000


@pytest.mark.parametrize(
    ("magic", "told"),
    [(b"PK\x03\x04", "zip archive.*`unzip`"), (b"\xfd7zXZ\x00", "by xz.*`xz -d`"), (b"BZh91AY&SY", "`bunzip2`")],
)
def test_archives_are_named_with_their_command(tmp_path: Path, magic: bytes, told: str) -> None:
    with pytest.raises(LexiconError, match=told):
        read(write(tmp_path, magic + bytes(range(256))))


# --- scripts ----------------------------------------------------------------------------------------

OTHER_SCRIPT = {
    "muse": "house кућа\nhouse kuća\nдом dom\n",
    "tsv": "house\tкућа\nhouse\tkuća\nдом\tdom\n",
    "panlex": "uid,txt,trans_uid,trans_txt\neng-000,house,hrv-000,кућа\neng-000,house,hrv-000,kuća\neng-000,дом,hrv-000,dom",
    "ding": "кућа :: house\nkuća :: house\ndom :: дом\n",
    "kaikki": "\n".join(
        json.dumps({"word": word, "lang_code": "en", "translations": [{"code": "sh", "word": sense}]})
        for word, sense in [("house", "кућа"), ("house", "kuća"), ("дом", "dom")]
    ),
    "paper_pairs": "\n".join(
        json.dumps({"src_text": word, "tgt_text": sense})
        for word, sense in [("house", "кућа"), ("house", "kuća"), ("дом", "dom")]
    ),
    "paper_words": '{"words": "house $ кућа $ kuća"}\n{"words": "дом $ dom"}\n',
}


@pytest.mark.parametrize("format", OTHER_SCRIPT)
def test_words_of_another_script_are_dropped_on_both_sides_and_counted(tmp_path: Path, format: str) -> None:
    if format == "ding":
        lexicon = Lexicon.read(write(tmp_path, OTHER_SCRIPT[format]), format=format, source="hr", target="en")
        pairs = {sense: (g.word,) for g in lexicon for sense in g.translations["en"]}
        report = lexicon.report
    else:
        pairs, report = read(write(tmp_path, OTHER_SCRIPT[format]), format, ("en", "hr"))
    assert pairs == {"house": ("kuća",)} and report is not None
    assert {reason: tally.count for reason, tally in report.dropped.items()} == {
        "entries not in the script of Croatian": 1,
        "entries not in the script of English": 1,
    }
    assert report.entries == 3 and "'кућа'" in report.text


def test_a_word_without_letters_has_no_script_and_half_of_the_letters_suffice(tmp_path: Path) -> None:
    content = "two 2\npercent %\nshirt T恤\ndisc CD\nhouse 房子\n"
    pairs, report = read(write(tmp_path, content), "muse", ("en", "zh"))
    assert pairs == {"two": ("2",), "percent": ("%",), "shirt": ("T恤",), "house": ("房子",)}
    assert report.dropped["entries not in the script of Chinese"].count == 1


def test_a_dictionary_of_another_script_is_an_error_that_says_it(tmp_path: Path) -> None:
    with pytest.raises(
        LexiconError, match=r"2 entries not in the script of Japanese\. Are `en` and `ja` its languages"
    ):
        read(write(tmp_path, "house Haus\ntree Baum\n"), "muse", ("en", "ja"))
