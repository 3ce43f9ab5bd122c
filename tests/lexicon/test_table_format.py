"""Tables of any separator, header and number of columns; files of another kind are named and not read."""

from __future__ import annotations

import csv
import gzip
import io
import sqlite3
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prealign.errors import LexiconError
from prealign.lexicon import Lexicon

checked = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

PAIRS = {"ladder": ("Leiter",), "kettle": ("Kessel",), "moss": ("Moos",), "climb": ("klettern",)}


def read(path: Path, content: str, source: str = "en", target: str = "de", **settings: object) -> Lexicon:
    path.write_text(content, encoding="utf-8")
    return Lexicon.read(path, source=source, target=target, **settings)  # type: ignore[arg-type]


def words(lexicon: Lexicon) -> dict[str, tuple[str, ...]]:
    (target,) = lexicon.targets
    return {group.word: group.translations[target] for group in lexicon}


def rows(separator: str, *columns: str, header: str = "") -> str:
    """Return PAIRS as a table: `s` and `t` are source and target, other columns are printed as they are."""
    lines = [separator.join({"s": word, "t": found[0]}.get(c, c) for c in columns) for word, found in PAIRS.items()]
    return "\n".join([header, *lines] if header else lines) + "\n"


@pytest.mark.parametrize(
    "separator", [",", ";", "|", "\t", ": ", " : ", " = ", "=", " - ", " – ", " -> ", " -- ", " → ", "   "]
)
def test_the_separator_is_found_out(tmp_path: Path, separator: str) -> None:
    assert words(read(tmp_path / "a.txt", rows(separator, "s", "t"))) == PAIRS


@pytest.mark.parametrize(
    "content",
    [
        rows(",", "s", "t", header="english,german"),
        rows(";", "s", "t", header="English word;German translation"),
        rows("\t", "s", "t", header="en\tde"),
        rows("\t", "t", "s", header="deu\teng"),
        rows(",", "t", "s", header="German,English"),
        rows(",", "s", "t", header="Front,Back"),
        rows(";", "7", "s", "/x/", "t", header="id;term;ipa;german"),
        rows("\t", "s", "t", "noun"),
        rows(",", "s", "noun", "t", header="Wort,Wortart,Bedeutung"),
        rows(",", "s", "t", "7", header="Wort,Bedeutung,Rang"),
        rows("\t", "s", "noun", "t"),
        rows("\t", "1", "s", "t"),
        rows("\t", "s", "t", "0.91", "", ""),
        rows(" ", "s", "t", "0.91"),
        rows(" ", "0.91", "s", "t"),
        "sep=;\n" + rows(";", "s", "t", header="english;german"),
        rows(": ", "s", "t", header="en: de").replace("Leiter", '"Leiter"'),
        rows("\t", "s", "t", "verb", "[tech.] [bot.]"),
        "# EN-DE vocabulary database\tby hand\n\n" + rows("\t", "s", "t", "noun", ""),
        "# DE-EN vocabulary database\tby hand\n\n" + rows("\t", "t", "s", "noun", "[bot.]"),
    ],
)
def test_header_labels_and_numbers_tell_the_two_columns(tmp_path: Path, content: str) -> None:
    lexicon = read(tmp_path / "a.csv", content)
    assert words(lexicon) == PAIRS
    assert lexicon.report is not None and lexicon.report.malformed == ()


def test_marks_in_angle_brackets_are_no_xml(tmp_path: Path) -> None:
    assert words(read(tmp_path / "a.tsv", "<n> ladder\tLeiter <f>\n<n> moss\tMoos <n>\n")) == {
        "ladder": ("Leiter",),
        "moss": ("Moos",),
    }


def test_further_columns_are_counted_and_shown(tmp_path: Path) -> None:
    report = read(tmp_path / "a.tsv", rows("\t", "s", "t", "noun")).report
    assert report is not None
    assert report.changed["cells of further columns"].count == 4
    assert "4 cells of further columns, such as line 1 'noun'" in report.text


@pytest.mark.parametrize(
    ("columns", "header"),
    [([4, 2], ""), (["deutsch", "WORT"], "nr,Wort,lang,Deutsch"), ([4, "wort"], "nr,Wort,lang,Deutsch")],
)
def test_columns_are_named_by_number_or_header(tmp_path: Path, columns: list[int | str], header: str) -> None:
    content = rows(",", "x", "t", "y", "s", header=header)
    content = "\n".join(f"{line.replace('x,', f'x{i},')}" for i, line in enumerate(content.splitlines()))
    assert words(read(tmp_path / "a.csv", content, columns=columns)) == PAIRS


def test_a_table_that_does_not_tell_its_columns_is_refused_with_the_setting(tmp_path: Path) -> None:
    content = "".join(f"{word}\tprononce{word}\t{found[0]}\n" for word, found in PAIRS.items())
    told = r"3 columns separated by tabs, .*`columns: \[1, 2\]` \(`--columns 1,2`\).*1 'ladder', 2 'prononceladder'"
    with pytest.raises(LexiconError, match=told):
        read(tmp_path / "a.tsv", content)
    assert words(read(tmp_path / "a.tsv", content, columns=[1, 3])) == PAIRS
    with pytest.raises(LexiconError, match=r"no column `5`; the file has 3 columns separated by tabs, .*'ladder'"):
        read(tmp_path / "a.tsv", content, columns=[1, 5])
    with pytest.raises(LexiconError, match="no column `german`"):
        read(tmp_path / "a.tsv", content, columns=[1, "german"])
    with pytest.raises(LexiconError, match=r"`columns` is for tables \(`csv`\), not for `muse`"):
        read(tmp_path / "a.tsv", content, columns=[1, 3], format="muse")


def test_quotes_of_csv_are_no_letters_and_quotes_of_words_stay(tmp_path: Path) -> None:
    content = '"ladder"\t"Leiter"\n"steps, stairs"\t"Treppe"\n5" nail\t"Nagel"\nthe "it"\tman "es"\n'
    assert words(read(tmp_path / "a.tsv", content)) == {
        "ladder": ("Leiter",),
        "steps": ("Treppe",),
        "stairs": ("Treppe",),
        '5" nail': ("Nagel",),
        'the "it"': ('man "es"',),
    }


def test_rows_of_another_length_are_malformed(tmp_path: Path) -> None:
    content = rows(",", "s", "t") * 60 + "one,two,three\nlonely\n,empty\n"
    report = read(tmp_path / "a.csv", content).report
    assert report is not None
    assert [(line.line, line.reason.split(":")[0]) for line in report.malformed] == [
        (241, "expected 2 columns separated by commas, found 3 field(s)"),
        (242, "expected 2 columns separated by commas, found 1 field(s)"),
        (243, "a word is empty"),
    ]


def test_a_few_longer_rows_do_not_make_a_list_of_two_columns_a_table_of_three(tmp_path: Path) -> None:
    content = "".join(f"word{i}\tWort{i}\n" for i in range(400)) + "one\ttwo\tthree\nfour\tfive\tsix\n"
    report = read(tmp_path / "a.tsv", content).report
    assert report is not None
    assert (report.format, [line.line for line in report.malformed]) == ("tsv", [401, 402])


cells = st.text(st.characters(categories=["L"], include_characters=' "'), min_size=1, max_size=8).filter(
    lambda text: text.strip(' "') == text and text.isprintable()
)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@checked
@given(st.lists(st.tuples(cells, cells), min_size=2, max_size=12))
def test_every_table_that_the_csv_module_writes_is_read_back(
    tmp_path: Path, separator: str, pairs: list[tuple[str, str]]
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(pairs)
    path = tmp_path / "a.csv"
    path.write_text(text.getvalue(), encoding="utf-8")
    try:
        report = Lexicon.read(path, format="csv", source="xx", target="yy").report
    except LexiconError as error:
        assert "identical" in str(error) or "no entry" in str(error)
        return
    assert report is not None
    assert (report.malformed, report.comments, report.entries) == ((), 0, len(pairs))


@pytest.mark.parametrize(
    ("line", "word", "translation"),
    [
        ("ten thousand\t10,000", "ten thousand", "10,000"),
        ("per cent,%", "per cent", "%"),
        ("dozen;12", "dozen", "12"),
        ("euro|€", "euro", "€"),
    ],
)
def test_a_short_list_may_have_numbers_and_signs(tmp_path: Path, line: str, word: str, translation: str) -> None:
    (separator,) = set(line) & set("\t;|") or {","}
    others = f"ladder{separator}Leiter\nmoss{separator}Moos\nclimb{separator}klettern\n"
    assert words(read(tmp_path / "words.txt", f"{others}{line}\n"))[word] == (translation,)


def test_a_list_may_have_a_colon_or_quotes_at_its_words(tmp_path: Path) -> None:
    content = "ladder:\tLeiter\nkettle:\t„Kessel“\nmoss:\tMoos\nclimb:\tklettern;\n"
    assert words(read(tmp_path / "words.txt", content)) == PAIRS


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("length", [1, 3, 7, 15, 40])
def test_a_list_has_words_in_most_lines(tmp_path: Path, length: int, number: int) -> None:
    letters = [one + other for one in "abcde" for other in "abcdefghij"]
    content = "".join(f"word{pair}\tWort\n" for pair in letters[:length]) + "ten\t10\n" * number
    may_be_read = number < length and (number <= 3 or number / (length + number) <= 0.2)
    if may_be_read:
        assert len(read(tmp_path / "words.txt", content)) == length + (number > 0)
    else:
        with pytest.raises(LexiconError, match="too many lines one of the two is a number or code"):
            read(tmp_path / "words.txt", content)


# --- files of another kind ------------------------------------------------------------------------

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (LFS, "Git LFS pointer.*`git lfs pull`"),
        ("/annex/objects/SHA256E-s12--ab.txt\n", "git-annex pointer.*`git annex get`"),
        ('# de\nmsgid "ladder"\nmsgstr "Leiter"\n\nmsgid "moss"\nmsgstr "Moos"\n', "PO.*`po2tmx"),
        ("<!DOCTYPE html>\n<html><body>not found</body></html>\n", r"web page \(HTML\)"),
        (
            '<?xml version="1.0"?>\n<e>ladder<r t="n">Leiter</r></e>\n<e>moss<r t="n">Moos</r></e>\n',
            "XML with the root element <e>",
        ),
        ("<!-- a -->\n<!DOCTYPE TEI>\n<TEI><entry/></TEI>\n", "XML with the root element <TEI>.*`pyglossary"),
        ("\ufeff<xdxf lang_from='ENG'>\n</xdxf>\n", "root element <xdxf>"),
        ('#NAME "English-German"\nladder\n\tLeiter\n', "DSL .*`pyglossary"),
        ('[{"en": "ladder", "de": "Leiter"}]\n', "a JSON array.*`jq -c"),
        ('{\n  "ladder": "Leiter"\n}\n', "JSON over several lines"),
        ("CREATE TABLE words (a, b);\nINSERT INTO words VALUES (1, 2);\n", "SQL dump"),
        ("2 6\nladder 0.1 0.2 0.3 0.4 0.5 0.6\nmoss 0.1 0.2 0.3 0.4 0.5 0.6\n", "word vectors"),
        ("12345\nladder/MS\nmoss/S\nkettle\n", "words of a spelling dictionary"),
        ("{\\rtf1\\ansi ladder Leiter\\par\nmoss Moos\\par\n}\n", "RTF"),
        (f"{'d4' * 16}  ladder.txt\n{'e5' * 16}  moss.txt\n", "a list of checksums"),
        (f"{'d4' * 32} *ladder.txt\n", "a list of checksums"),
        ("1\n00:00:01,000 --> 00:00:02,000\nHello there\n", "subtitles"),
        ("# text = x\n1\tThe\tthe\tDET\tDT\t_\t2\tdet\t_\t_\n", "CoNLL-U"),
        ("def f(x):\n    return x\n\nclass A:\n    pass\n", "not a list of words and translations"),
        ("greeting.hello=Hallo\ngreeting.bye=Auf\nbutton.ok=Gut\n", "not a list of words and translations"),
        ("ladder: Leiter\n", "not a list of words and translations"),
        ("a1b2c3d4e5f60718 ladder\nb1b2c3d4e5f60719 moss\n", "not a list of words and translations"),
        ("the 12345\nand 2345\nto 1234\n", "not a list of words and translations"),
        ("name x\nport 8080\nhost localhost\n", "not a list of words and translations"),
        ("name = x\nport = 8080\nhost = localhost\n", "not a list of words and translations"),
        ("name: x\nport: 8080\nhost: localhost\n", "not a list of words and translations"),
        ("name\tx\nport\t8080\nurl\thttps://x.org\nhost\tlocalhost\n", "not a list of words and translations"),
        ("HOST=localhost USER=me\nPORT=80 X=y\n", "not a list of words and translations"),
        ("import os\nx = {}\ny = []\n", "not recognised"),
        ("0-0 1-1\n0-1 1-0\n", "not a list of words and translations"),
        (b"\0\0\3\x1c" + '<Dictionary Title="x">'.encode("utf-16-le"), r"MDict dictionary \(\.mdx\); convert it by"),
        (b"\x7fELF\2\1\1" + bytes(9) + b"\3\0>\0\1\0\0\0" + bytes(200), "the file is binary, not text"),
        (b"%PDF-1.7\n\xe2\xe3", "a PDF"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"\x80\x04\x95\x20\x00", "a Python pickle"),
    ],
)
def test_files_of_another_kind_are_named_for_what_they_are(tmp_path: Path, content: str | bytes, told: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LexiconError, match=told) as caught:
        Lexicon.read(path, source="en", target="de")
    assert str(caught.value).startswith(f"{path}: ")


def test_indices_alone_and_databases_are_named(tmp_path: Path) -> None:
    index = b"".join(word + b"\0" + struct.pack(">II", 8 * i, 8) for i, word in enumerate([b"bird", b"bread", b"cat"]))
    for name in ("star.idx", "words.txt"):
        (tmp_path / name).write_bytes(index)
        with pytest.raises(LexiconError, match=r"StarDict's index alone; put its \.ifo"):
            Lexicon.read(tmp_path / name, source="en", target="de")
    (tmp_path / "freedict-eng-deu.index").write_text("bird\tA\tI\n")
    with pytest.raises(LexiconError, match=r"there is no freedict-eng-deu\.dict\.dz or \.dict beside it"):
        Lexicon.read(tmp_path / "freedict-eng-deu.index", source="en", target="de")
    (tmp_path / "other.dict").write_text("00-database-short\n  English-German\nbird\nVogel\n")
    with pytest.raises(LexiconError, match=r"definitions of a dictd dictionary; put its NAME\.index"):
        Lexicon.read(tmp_path / "other.dict", source="en", target="de")
    with sqlite3.connect(tmp_path / "en-de.sqlite3") as database:
        database.execute("create table translation (word, found)")
    with pytest.raises(LexiconError, match=r"an SQLite database.*`sqlite3 -csv"):
        Lexicon.read(tmp_path / "en-de.sqlite3", source="en", target="de")


def test_a_damaged_packed_file_is_an_error(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"ladder Leiter\n" * 500))
    packed[15:30] = bytes(15)
    for name in ("words.gz", "words.tmx.gz", "words.dict.dz"):
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(LexiconError, match="cannot read the dictionary"):
            Lexicon.read(tmp_path / name, source="en", target="de")


def test_a_list_in_another_encoding_is_said_not_to_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / "edict.txt"
    path.write_bytes("梯子 [はしご] /(n) ladder/(P)/\nパン /(n) bread/(P)/\n".encode("euc-jp"))
    with pytest.raises(LexiconError, match=r"not UTF-8.*iconv -f ENCODING -t utf-8"):
        Lexicon.read(path, source="en", target="ja")
    path.write_bytes("Häuser dort\nBäume überall hier\n".encode("latin-1"))
    with pytest.raises(LexiconError, match=r"not UTF-8.*iconv -f ENCODING -t utf-8"):
        Lexicon.read(path, source="en", target="de")


# --- kin of CC-CEDICT -----------------------------------------------------------------------------


def test_cc_canto_is_read_in_traditional_characters(tmp_path: Path) -> None:
    content = "梯 梯 [ti1] {tai1} /ladder/\n馬 马 [ma3] {maa5} /horse/ # adapted from cc-cedict\n"
    assert words(read(tmp_path / "canto.u8", content, target="yue")) == {"ladder": ("梯",), "horse": ("馬",)}
    assert words(read(tmp_path / "canto.u8", content, target="yue-Hans"))["horse"] == ("马",)
    assert words(read(tmp_path / "canto.u8", content, target="zh"))["horse"] == ("马",)
    assert words(read(tmp_path / "canto.u8", content, source="yue", target="en"))["馬"] == ("horse",)


def test_edict_is_read_without_its_readings_and_marks(tmp_path: Path) -> None:
    content = (
        "　？？？ /EDICT, EDICT_SUB(P), EDICT2 Japanese-English Electronic Dictionary Files/\n"
        "梯子(P);梯 [はしご(P);ていし] /(n) (1) ladder/stairs/(P)/EntL1432560X/\n"
        "パン /(n) bread/(P)/\n"
    )
    assert words(read(tmp_path / "edict", content, target="ja")) == {
        "ladder": ("梯子", "梯"),
        "stairs": ("梯子", "梯"),
        "bread": ("パン",),
    }
    assert words(read(tmp_path / "edict", content, source="ja", target="en"))["パン"] == ("bread",)
