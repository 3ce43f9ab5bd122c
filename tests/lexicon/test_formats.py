"""Each format on a small excerpt in the style of the real files, with expectations worked by hand."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prealign.errors import LexiconError
from prealign.files import LONGEST_LINE
from prealign.languages import same
from prealign.lexicon import Lexicon
from prealign.lexicon.formats import PAIR_FORMATS
from prealign.lexicon.formats.dictd import _number
from prealign.lexicon.formats.entry import ALTERNATIVES, alternatives, split_outside

checked = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path, source: str, target: str, format: str | None = None) -> tuple[dict[str, tuple[str, ...]], Lexicon]:
    lexicon = Lexicon.read(path, format=format, source=source, target=target)
    return {group.word: group.translations[target] for group in lexicon}, lexicon


def counts(lexicon: Lexicon) -> dict[str, int]:
    assert lexicon.report is not None
    return {reason: tally.count for reason, tally in (lexicon.report.dropped | lexicon.report.changed).items()}


# --- Ding -----------------------------------------------------------------------------------------

DING = """\
# Version :: devel
Haus {n}; Heim {n} (Zuhause) | Häuser {pl} :: house; home | houses
bauen {vt} {baute; gebaut} :: to build {built; built}
etw. bauen; errichten :: to build sth.
Absender {m} /Abs./ :: sender [comm.]
"""


def test_ding_is_read_in_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "de-en"
    path.write_text(DING, encoding="utf-8")
    german, lexicon = read(path, "de", "en")
    assert german == {
        "Haus": ("house", "home"),
        "Heim": ("house", "home"),
        "Häuser": ("houses",),
        "bauen": ("build",),
        "errichten": ("build",),
        "Absender": ("sender",),
    }
    assert lexicon.report is not None
    assert (lexicon.report.format, lexicon.report.comments, lexicon.report.inverted) == ("ding", 1, False)
    english, turned = read(path, "en", "de")
    assert english == {
        "house": ("Haus", "Heim"),
        "home": ("Haus", "Heim"),
        "houses": ("Häuser",),
        "build": ("bauen", "errichten"),
        "sender": ("Absender",),
    }
    assert turned.report is not None and turned.report.inverted
    assert counts(turned)["abbreviations"] == 1
    assert counts(turned)["duplicate entries"] == 1  # bauen, of both lines


def test_a_ding_line_of_unequal_sides_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "de-en"
    path.write_text("Haus :: house\n" * 200 + "Haus | Häuser :: house\nHaus\n", encoding="utf-8")
    report = read(path, "de", "en", "ding")[1].report
    assert report is not None
    assert [(line.line, line.reason) for line in report.malformed] == [
        (201, "2 forms on the left, 1 on the right: 'Haus | Häuser :: house'"),
        (202, "expected `left :: right`: 'Haus'"),
    ]


# --- CC-CEDICT ------------------------------------------------------------------------------------

CEDICT = """\
# CC-CEDICT
#! version=1
房屋 房屋 [fang2 wu1] /building; house/
房子 房子 [fang2 zi5] /house/building (single- or two-story)/CL:棟|栋[dong4],幢[zhuang4]/
書 书 [shu1] /book/letter/to write/
囙 因 [yin1] /old variant of 因[yin1]/a cause/
"""


def test_cedict_is_turned_and_senses_are_ordered_by_the_place_of_the_gloss(tmp_path: Path) -> None:
    path = tmp_path / "cedict.txt"
    path.write_text(CEDICT, encoding="utf-8")
    english, lexicon = read(path, "en", "zh")
    assert english == {
        "building": ("房屋", "房子"),
        "house": ("房子", "房屋"),  # the first gloss of 房子, the second of 房屋
        "book": ("书",),
        "letter": ("书",),
        "write": ("书",),
        "cause": ("因",),
    }
    assert counts(lexicon) == {
        "entries that refer to others": 2,
        "parenthesised notes": 1,
        "infinitive particles": 1,
        "articles": 1,
    }
    chinese, _ = read(path, "zh", "en")
    assert chinese["书"] == ("book", "letter", "write")
    assert "書" in read(path, "zh-Hant", "en")[0]
    assert read(path, "en", "zh-TW")[0]["book"] == ("書",)


def test_a_gzipped_file_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text(CEDICT, encoding="utf-8")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(CEDICT.encode()))
    assert read(tmp_path / "packed.gz", "en", "zh")[0] == read(tmp_path / "plain.txt", "en", "zh")[0]
    (tmp_path / "cut.gz").write_bytes(gzip.compress(CEDICT.encode())[:40])
    with pytest.raises(LexiconError, match=r"cut\.gz: cannot read"):
        read(tmp_path / "cut.gz", "en", "zh")


# --- dictd ----------------------------------------------------------------------------------------

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def coded(number: int) -> str:
    return (coded(number // 64) if number >= 64 else "") + DIGITS[number % 64]


def write_dictd(folder: Path, name: str, definitions: list[tuple[str, str]]) -> Path:
    data, index = b"", ""
    for head, definition in definitions:
        piece = definition.encode()
        index += f"{head}\t{coded(len(data))}\t{coded(len(piece))}\n"
        data += piece
    (folder / f"{name}.dict.dz").write_bytes(gzip.compress(data))
    (folder / f"{name}.index").write_text(index, encoding="utf-8")
    return folder / f"{name}.index"


DEFINITIONS = [
    ("00databaseshort", "00-database-short\nEnglish-German\n"),
    ("arm", "arm /ɑːm/ <n>\n\nArm <masc>, Zweig <masc> [fig.]\n   Synonym: {branch}\n\n see: {arms}\n"),
    ("august", "August /ˈɔːɡəst/ <n>\n1. August <masc>\n2. Erntemonat; Ernting\n"),
    ("inlaw", 'in-law <n>\nAngeheriateter\n      "my in-laws"  - meine Schwiegereltern\n         Note: familiar\n'),
    ("house sbsth", "house sb./sth. /haʊs/\njdn./etw. (an einem Ort) unterbringen <v>\n"),
    ("bicolor", "bicolor\n see: {colour}\n"),
]


def test_dictd_is_read_from_either_of_its_files(tmp_path: Path) -> None:
    path = write_dictd(tmp_path, "freedict-eng-deu", DEFINITIONS)
    words, lexicon = read(path, "en", "de")
    assert words.pop("house") == ("unterbringen",)
    assert words == {"arm": ("Arm", "Zweig"), "August": ("Erntemonat", "Ernting"), "in-law": ("Angeheriateter",)}
    assert lexicon.report is not None
    assert (lexicon.report.format, lexicon.report.comments, lexicon.report.lines) == ("dictd", 1, 6)
    assert counts(lexicon)["entries without a translation"] == 1
    assert counts(lexicon)["entries identical on both sides"] == 1
    assert counts(lexicon)["part-of-speech or subject marks"] == 4
    assert read(tmp_path / "freedict-eng-deu.dict.dz", "en", "de")[0] == words | {"house": ("unterbringen",)}
    assert read(path, "de", "en")[0]["Arm"] == ("arm",)


def test_heads_of_signs_are_read_from_the_definition_without_their_pronunciations(tmp_path: Path) -> None:
    definitions = [
        # As dictfmt indexes FreeDict's jpn-eng: the index drops signs, and here nothing is left.
        ("", "〃, おなじ /o̞nˈädʑi/, おなじく /ˌo̞nädʑˈikɯᵝ/\nditto mark\n"),
        ("", "[news1] [nf08] 中黒 /(en)tʃˈaɪniːz(ja)lˈe̞tə/, なかぐろ /nˌäkäɡˈɯᵝɽo̞/\nmiddle dot\n"),
        ("やかん", "薬缶 /tʃˈaɪniːz/, やかん /jäkˈäɴ/\nkettle\n"),
    ]
    words, lexicon = read(write_dictd(tmp_path, "freedict-jpn-eng", definitions), "en", "ja")
    assert words == {
        "ditto mark": ("〃", "おなじ", "おなじく"),
        "middle dot": ("中黒", "なかぐろ"),
        "kettle": ("やかん",),
    }
    assert lexicon.report is not None
    assert lexicon.report.changed["pronunciations or frequencies of headwords"].count == 2


def test_dictd_refuses_other_languages_bad_indices_and_a_missing_half(tmp_path: Path) -> None:
    path = write_dictd(tmp_path, "freedict-eng-deu", DEFINITIONS * 50)
    with pytest.raises(LexiconError, match="from `eng` to `deu`, not from `en` to `fr`"):
        read(path, "en", "fr")
    with path.open("a", encoding="utf-8") as index:
        index.write("beyond\t////\tB\nnumber\tA-\tB\n")
    report = read(path, "en", "de")[1].report
    assert report is not None
    assert [line.line for line in report.malformed] == [301, 302]
    (tmp_path / "freedict-eng-deu.dict.dz").unlink()
    with pytest.raises(LexiconError, match=r"no freedict-eng-deu\.dict\.dz"):
        read(path, "en", "de", "dictd")


WIKDICT = [
    ("00databaseshort", "00-database-short\n     English-Testish FreeDict+WikDict dictionary ver. 1\n"),
    ("kettle", "kettle /x/ <n>\nやかん, 湯沸かし\npot for boiling water\n"),
    ("ladder", "ladder /x/ <n>\n1. はしご\nframe with rungs, for climbing\n2. 梯子\nline of loops in a stocking\n"),
    (
        "successor",
        "successor /x/ <n>\n1. 相続人\n1. next heir\n2. 後任, 後継者 2.\n3. who follows another\n 3.\n3. an heir\n3. 次\n",
    ),
    ("1st class", "1st class <n>\n1. クラス\n"),
    ("10e", "10e <n>\n10.\n"),
    ("er", "er <suffix>\n1. \nwho does\n2. \nan inhabitant\n3. っと\nthe comparative\n"),
    ("ee", "ee <suffix>\n \nto whom an action is done\n"),
]


def test_definitions_of_wikdict_are_left_out_and_counted(tmp_path: Path) -> None:
    words, lexicon = read(write_dictd(tmp_path, "freedict-eng-jpn", WIKDICT), "en", "ja")
    assert words == {
        "kettle": ("やかん", "湯沸かし"),
        "ladder": ("はしご", "梯子"),
        "successor": ("相続人", "後任", "後継者", "次"),
        "1st class": ("1. クラス",),
        "10e": ("10.",),
        "er": ("っと",),
    }
    assert counts(lexicon) == {"definitions below the translations": 10, "entries without a translation": 1}


def test_wikdict_is_named_anywhere_before_the_entries(tmp_path: Path) -> None:
    late = [("00databaseinfo", "00-database-info\n" + "x " * 4000 + "Made from WikDict.\n"), WIKDICT[1]]
    assert read(write_dictd(tmp_path, "freedict-eng-jpn", late), "en", "ja")[0] == {"kettle": ("やかん", "湯沸かし")}
    unindexed = [("skip", WIKDICT[0][1]), WIKDICT[1]]
    path = write_dictd(tmp_path, "freedict-eng-jpn-2", unindexed)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert read(path, "en", "ja")[0] == {"kettle": ("やかん", "湯沸かし")}


def test_without_wikdict_every_line_is_a_sense(tmp_path: Path) -> None:
    definitions = [("00databaseshort", "English-Japanese FreeDict\n"), *WIKDICT[1:3]]
    words, lexicon = read(write_dictd(tmp_path, "freedict-eng-jpn", definitions), "en", "ja")
    assert words["kettle"] == ("やかん", "湯沸かし")
    kept_apart = counts(lexicon)
    assert kept_apart["entries not in the script of Japanese"] >= 1, "pot for boiling water: a sense, in English"
    assert "definitions below the translations" not in kept_apart


def test_full_stops_of_definitions_go_and_those_of_abbreviations_stay(tmp_path: Path) -> None:
    definitions = [
        ("kettle", "kettle /x/\n1. çaydanlık.\n"),
        ("ladder", "ladder /x/\n1. (mec.) merdiven.\n2. bir şey.\n"),
        ("moss", "moss /x/\nyosun, bataklık .\n"),
        ("plus", "plus /x/\n1. artı işareti, fazlalık. plus fours golf pantolonu. plus number\n2. ilave\n"),
        ("etc", "etc /x/\nvb.\n"),
        ("abandon sth", "abandon sth. /x/\netw. abandonnieren\nII.  <v> terk\n"),
        ("america", "America\nA.B.D.\n"),
    ]
    words, lexicon = read(write_dictd(tmp_path, "freedict-eng-tur", definitions), "en", "tr")
    assert words == {
        "kettle": ("çaydanlık",),
        "ladder": ("merdiven", "bir şey"),
        "moss": ("yosun", "bataklık"),
        "plus": ("artı işareti", "fazlalık", "ilave"),
        "etc": ("vb.",),
        "abandon": ("etw. abandonnieren", "terk"),
        "America": ("A.B.D.",),
    }
    assert counts(lexicon)["full stops"] == 4
    assert counts(lexicon)["examples and derived words after a full stop"] == 1


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("Leiter, Stiege; Treppe", ["Leiter", "Stiege", "Treppe"]),
        ("Leiter,Stiege|Treppe", ["Leiter", "Stiege", "Treppe"]),
        ("Leiter/Stiege", ["Leiter", "Stiege"]),
        ("Leiter {f} / Stiege {f}; at short / medium range", ["Leiter {f}", "Stiege {f}", "at short / medium range"]),
        ("梯子、梯/凳；階梯", ["梯子", "梯", "凳", "階梯"]),
        ("سلم، درج؛ مرقاة", ["سلم", "درج", "مرقاة"]),
        ("10,000", ["10,000"]),
        ("N,N-Dimethyl; 1,2-Diol; km/h; 24/7; Lehrer/in", ["N,N-Dimethyl", "1,2-Diol", "km/h", "24/7", "Lehrer/in"]),
        ("sb./sth. (a/b, c)", ["sb./sth. (a/b, c)"]),
    ],
)
def test_a_cell_may_list_several_words(cell: str, words: list[str]) -> None:
    assert alternatives(cell) == words


@pytest.mark.parametrize(
    ("format", "line", "source", "target"),
    [
        ("tsv", "ladder, steps\tLeiter; Stiege", "en", "de"),
        ("muse", "ladder;steps Leiter,Stiege", "en", "de"),
        ("ding", "Leiter, Stiege {f} :: ladder; steps", "en", "de"),
        ("paper_pairs", '{"src_text": "ladder, steps", "tgt_text": "Leiter/Stiege"}', "en", "de"),
        ("paper_words", '{"words": "ladder; steps $ Leiter, Stiege"}', "en", "de"),
    ],
)
def test_every_format_cuts_cells_that_list_several_words(
    tmp_path: Path, format: str, line: str, source: str, target: str
) -> None:
    path = tmp_path / "dictionary.txt"
    path.write_text(line, encoding="utf-8")
    assert read(path, source, target, format)[0] == {"ladder": ("Leiter", "Stiege"), "steps": ("Leiter", "Stiege")}


def test_the_commas_of_handedict_separate_words_and_those_of_references_do_not(tmp_path: Path) -> None:
    path = tmp_path / "hande.u8"
    path.write_text(
        "梯子 梯子 [ti1 zi5] /Leiter, Stiege (S)/CL:把|架[jia4],副[fu4]/\n水壺 水壶 [shui3 hu2] /Kessel/\n",
        encoding="utf-8",
    )
    words, lexicon = read(path, "de", "zh")
    assert words == {"Leiter": ("梯子",), "Stiege": ("梯子",), "Kessel": ("水壶",)}
    assert counts(lexicon)["entries that refer to others"] == 1


@pytest.mark.parametrize(
    ("digits", "number"), [("A", 0), ("B", 1), ("/", 63), ("BA", 64), ("KXA", 10 * 4096 + 23 * 64)]
)
def test_index_numbers_are_base_64_most_significant_first(digits: str, number: int) -> None:
    assert _number(digits.encode()) == number
    padded = digits.rjust(4, "A")
    assert int.from_bytes(base64.b64decode(padded), "big") == number


# --- kaikki ---------------------------------------------------------------------------------------


def test_kaikki_gives_translations_of_source_words_and_glosses_of_target_words(tmp_path: Path) -> None:
    records = [
        {
            "word": "house",
            "lang_code": "en",
            "translations": [{"code": "de", "word": "Haus"}, {"code": "fr", "word": "maison"}, {"code": "de"}],
            "senses": [{"glosses": ["A building."], "translations": [{"lang_code": "de", "word": "Gebäude"}]}],
        },
        {"word": "Heim", "lang_code": "de", "senses": [{"glosses": ["home", "house, home (dwelling)"]}]},
        {
            "word": "Heime",
            "lang_code": "de",
            "senses": [{"glosses": ["plural of Heim"], "form_of": [{"word": "Heim"}]}],
        },
        {"word": "Alm", "lang_code": "de", "senses": [{"glosses": ["a pasture high in the mountains"]}]},
        {"word": "maison", "lang_code": "fr", "senses": [{"glosses": ["house"]}]},
    ]
    path = tmp_path / "kaikki.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    words, lexicon = read(path, "en", "de")
    assert words == {"house": ("Haus", "Gebäude", "Heim"), "home": ("Heim",)}
    assert counts(lexicon) == {
        "entries of other languages": 2,
        "entries without a translated word": 1,
        "entries that are forms of other words": 1,
        "entries that define and do not translate": 1,
        "parenthesised notes": 1,
    }
    assert lexicon.report is not None and lexicon.report.format == "kaikki"


def test_kaikki_knows_the_codes_of_mandarin(tmp_path: Path) -> None:
    path = tmp_path / "kaikki.jsonl"
    record = {"word": "book", "lang_code": "en", "translations": [{"code": "cmn", "word": "書／书", "roman": "shū"}]}
    path.write_text(json.dumps(record), encoding="utf-8")
    assert read(path, "en", "zh")[0] == {"book": ("書／书",)}
    with pytest.raises(LexiconError, match="1 entries of other languages"):
        read(path, "en", "ru")


# --- PanLex and WECHSEL ---------------------------------------------------------------------------


def test_panlex_rows_of_either_direction_are_read_best_quality_first(tmp_path: Path) -> None:
    path = tmp_path / "panlex.csv"
    path.write_text(
        "trans_quality,uid,txt,trans_uid,trans_txt\n"
        "3,eng-000,house,deu-000,Heim\n"
        '9,deu-000,Haus,eng-000,"house"\n'
        "9,eng-000,house,fra-000,maison\n"
        '5,eng-000,"free, of charge",deu-000,umsonst\n',
        encoding="utf-8",
    )
    words, lexicon = read(path, "en", "de")
    assert words == {"house": ("Haus", "Heim"), "free, of charge": ("umsonst",)}
    assert counts(lexicon) == {"entries of other languages": 1}
    assert lexicon.report is not None
    assert (lexicon.report.format, lexicon.report.comments, lexicon.report.phrases) == ("panlex", 1, 1)


def test_affixes_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "german.txt"
    path.write_text("off\tab-\noff\taus\n-itis\t-itis\nfree of charge\tumsonst\n", encoding="utf-8")
    words, lexicon = read(path, "en", "de", "tsv")
    assert words == {"off": ("aus",), "free of charge": ("umsonst",)}
    assert counts(lexicon) == {"entries of prefixes and suffixes": 2}


# --- parts and properties -------------------------------------------------------------------------


def test_separators_in_brackets_and_numbers_do_not_cut() -> None:
    assert split_outside("a (b, c), d; 10,000 [e; f] ,", ALTERNATIVES) == ["a (b, c)", "d", "10,000 [e; f] ,"]
    assert split_outside(" ; ", ALTERNATIVES) == []
    with pytest.raises(ValueError, match="alternatives"):
        split_outside("a;" * 10_000, ALTERNATIVES)


@pytest.mark.parametrize(
    ("code", "tag", "expected"),
    [
        ("deu", "de", True),
        ("eng-000", "en-US", True),
        ("cmn", "zh-Hant", True),
        ("sh", "hr", True),
        ("fra", "de", False),
    ],
)
def test_codes_name_languages(code: str, tag: str, expected: bool) -> None:
    assert same(code, tag) is expected


SAMPLES = [
    DING,
    CEDICT,
    "uid,txt,trans_uid,trans_txt\neng-000,a,deu-000,b\n",
    '"\n',
    "# a\n",
    "a\tb\n",
    " :: ",
    "|",
    ";",
]
SAMPLES += [
    '{"word": "a", "lang_code": "en", "translations": [{"code": "de", "word": "b"}]}\n',
    '{"word": "a", "senses": 3}',
]
SAMPLES += [
    '{"word": "b", "lang_code": "de", "senses": [{"glosses": ["a"]}, {"glosses": 1}]}\n',
    "[",
    "(",
    "\ufeff",
    "\u200e",
]
noise = st.binary(max_size=60) | st.lists(
    st.sampled_from([sample.encode() for sample in SAMPLES]) | st.binary(max_size=4), max_size=12
).map(b"".join)


@pytest.mark.parametrize("format", [*PAIR_FORMATS, None])
@checked
@given(noise)
def test_arbitrary_bytes_are_read_or_refused_in_every_format(
    tmp_path: Path, format: str | None, content: bytes
) -> None:
    path = tmp_path / "dictionary.index"
    path.write_bytes(content)
    (tmp_path / "dictionary.dict").write_bytes(content)
    for source, target in [("en", "de"), ("zh", "en")]:
        try:
            lexicon = Lexicon.read(path, format=format, source=source, target=target)
        except LexiconError as error:
            assert "dictionary" in str(error)
            continue
        report = lexicon.report
        assert report is not None and report.text
        assert report.kept == sum(len(group.translations[target]) for group in lexicon)
        assert report.entries == report.kept + sum(tally.count for tally in report.dropped.values())


@checked
@given(
    st.binary(max_size=80),
    st.lists(st.tuples(st.text(max_size=4), st.binary(max_size=4), st.binary(max_size=4)), max_size=5),
)
def test_arbitrary_indices_are_read_or_refused(
    tmp_path: Path, data: bytes, rows: list[tuple[str, bytes, bytes]]
) -> None:
    (tmp_path / "a.dict").write_bytes(data)
    lines = [head.encode(errors="replace") + b"\t" + begin + b"\t" + length for head, begin, length in rows]
    (tmp_path / "a.index").write_bytes(b"\n".join([*lines, b"word\tA\tI"]))
    try:
        Lexicon.read(tmp_path / "a.index", source="en", target="de")
    except LexiconError as error:
        assert "a." in str(error)


@pytest.mark.parametrize("format", PAIR_FORMATS)
def test_a_line_of_ten_megabytes_costs_that_line(tmp_path: Path, format: str) -> None:
    """The formats see lines up to the limit; each of these is just below it, the last one above."""
    path = tmp_path / "a.index"
    (tmp_path / "a.dict").write_bytes(b"x")
    size = LONGEST_LINE - 10
    lines = [b"a " * (size // 2), b"[" * size, b"(" * size, b"a; " * (size // 3), b"/" * size, b"x" * 10_000_000]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(LexiconError) as caught:
        Lexicon.read(path, format=format, source="en", target="de")
    assert len(str(caught.value)) < 2000
