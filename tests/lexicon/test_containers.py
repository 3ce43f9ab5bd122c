"""Dictionaries in XML and of several binary files: TMX, Apertium's .dix, StarDict."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prealign.errors import LexiconError
from prealign.lexicon import Lexicon
from prealign.lexicon.formats import dictionary_files

checked = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path, source: str = "en", target: str = "de", **settings: object) -> dict[str, tuple[str, ...]]:
    lexicon = Lexicon.read(path, source=source, target=target, **settings)  # type: ignore[arg-type]
    return {group.word: group.translations[target] for group in lexicon}


def counts(path: Path, source: str = "en", target: str = "de") -> dict[str, int]:
    report = Lexicon.read(path, source=source, target=target).report
    assert report is not None
    return {reason: tally.count for reason, tally in report.dropped.items()}


# --- TMX ------------------------------------------------------------------------------------------

TMX = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"/><body>
<!-- <tu><tuv xml:lang="en"><seg>no</seg></tuv><tuv xml:lang="de"><seg>nein</seg></tuv></tu> -->
<tu tuid="1"><tuv xml:lang="en-US"><seg>ladder</seg></tuv><tuv xml:lang="DE"><seg>Leiter</seg></tuv>
  <tuv xml:lang="fr"><seg>échelle</seg></tuv></tu>
<tu><note>x</note><tuv lang="en"><seg>fish <bpt i="1">&lt;b&gt;</bpt>&amp; chips<ept i="1">&lt;/b&gt;</ept></seg></tuv>
  <tuv lang="de"><seg>Fisch und Pommes</seg></tuv></tu>
<tu><tuv xml:lang="fr"><seg>mousse</seg></tuv><tuv xml:lang="de"><seg>Moos</seg></tuv></tu>
</body></tmx>
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_tmx_is_read_in_either_direction_and_any_encoding(tmp_path: Path, encoding: str, pack: type[bytes]) -> None:
    path = tmp_path / "words.tmx"
    path.write_bytes(pack(TMX.replace("UTF-8", encoding).encode(encoding)))
    assert read(path) == {"ladder": ("Leiter",), "fish & chips": ("Fisch und Pommes",)}
    assert read(path, "de", "fr") == {"Leiter": ("échelle",), "Moos": ("mousse",)}
    assert counts(path) == {"entries of other languages": 1}


def test_xml_that_is_not_well_formed_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "words.tmx"
    path.write_text(TMX.replace("</seg></tuv><tuv xml:lang", "</tuv><tuv xml:lang"))
    with pytest.raises(LexiconError, match=r"words\.tmx:5: not well-formed XML \(mismatched tag"):
        read(path)


def test_entities_that_grow_do_not_fill_memory(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    path = tmp_path / "bomb.tmx"
    unit = '<tu><tuv xml:lang="en"><seg>&e9;</seg></tuv><tuv xml:lang="de"><seg>x</seg></tuv></tu>'
    path.write_text(f'<!DOCTYPE tmx [<!ENTITY e0 "word">{entities}]>\n<tmx><body>{unit}</body></tmx>')
    with pytest.raises(LexiconError, match=r"bomb\.tmx"):
        read(path)


# --- Apertium -------------------------------------------------------------------------------------

DIX = """\
<?xml version="1.0"?>
<dictionary><alphabet/><sdefs><sdef n="n"/></sdefs>
<section id="main" type="standard">
<e><p><l>ladder<s n="n"/></l><r>Leiter<s n="n"/><s n="f"/></r></p></e>
<e r="LR"><p><l>stairs<s n="n"/></l><r>Treppe<s n="n"/></r></p></e>
<e r="RL"><p><l>steps<s n="n"/></l><r>Stufen<s n="n"/></r></p></e>
<e><p><l>ice<b/>cream<s n="n"/></l><r>Eis<s n="n"/></r></p></e>
<e><p><l>take<g><b/>off</g><s n="v"/></l><r>abheben</r></p></e>
<e><i>radio<s n="n"/></i></e>
<e><i>auto</i><p><l>mobile</l><r>mobil</r></p></e>
<!-- <e><p><l>no</l><r>nein</r></p></e> -->
<e><re>[0-9]+</re><p><l><s n="num"/></l><r><s n="num"/></r></p></e>
</section></dictionary>
"""


@pytest.mark.parametrize("name", ["apertium-eng-deu.eng-deu.dix", "en-de.dix", "words.xml"])
def test_apertium_is_read_with_its_one_way_entries(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(DIX)
    assert read(path) == {
        "ladder": ("Leiter",),
        "stairs": ("Treppe",),
        "ice cream": ("Eis",),
        "take off": ("abheben",),
        "automobile": ("automobil",),
    }
    assert counts(path) == {
        "entries of the other direction only": 1,
        "entries identical on both sides": 1,
        "entries without text (patterns and paradigms)": 1,
    }


def test_apertium_is_turned_by_its_name_or_by_hand(tmp_path: Path) -> None:
    expected = {"Leiter": ("ladder",), "Stufen": ("steps",), "Eis": ("ice cream",), "abheben": ("take off",)}
    (tmp_path / "apertium-eng-deu.eng-deu.dix").write_text(DIX)
    assert read(tmp_path / "apertium-eng-deu.eng-deu.dix", "de", "en") == {**expected, "automobil": ("automobile",)}
    with pytest.raises(LexiconError, match="from `eng` to `deu`, not from `en` to `fr`"):
        read(tmp_path / "apertium-eng-deu.eng-deu.dix", "en", "fr")
    (tmp_path / "words.dix").write_text(DIX)
    assert read(tmp_path / "words.dix", "de", "en", turned=True) == {**expected, "automobil": ("automobile",)}


# --- StarDict -------------------------------------------------------------------------------------


def write_stardict(
    folder: Path,
    entries: list[tuple[str, bytes]],
    types: str = "m",
    bits: int = 32,
    packed: bool = False,
    name: str = "en-de",
) -> Path:
    index, data = b"", b""
    for head, piece in entries:
        index += head.encode() + b"\0" + struct.pack(">QI" if bits == 64 else ">II", len(data), len(piece))
        data += piece
    sequence = f"sametypesequence={types}\n" if types else ""
    settings = f"StarDict's dict ifo file\nversion=3.0.0\nbookname=English-German\nidxoffsetbits={bits}\n{sequence}"
    (folder / f"{name}.ifo").write_text(settings)
    (folder / f"{name}.idx{'.gz' if packed else ''}").write_bytes(gzip.compress(index) if packed else index)
    (folder / f"{name}.dict{'.dz' if packed else ''}").write_bytes(gzip.compress(data) if packed else data)
    return folder / f"{name}.ifo"


EXPECTED = {"ladder": ("Leiter", "Stiege"), "moss": ("Moos",)}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize(
    ("types", "entries"),
    [
        ("m", [("ladder", b"1. Leiter, Stiege."), ("moss", b"Moos")]),
        ("h", [("ladder", b"<i>n</i><br>Leiter; <b>Stiege</b>"), ("moss", b"<div>Moos</div>")]),
        ("x", [("ladder", b"<k>ladder</k>\n<def>Leiter</def><def>Stiege</def>"), ("moss", b"<k>moss</k>\nMoos")]),
        ("tm", [("ladder", "ˈlædə".encode() + b"\0Leiter, Stiege"), ("moss", b"x\0Moos")]),
        ("", [("ladder", b"tx\0mLeiter, Stiege\0"), ("moss", b"W\0\0\0\x02\0\0mMoos\0")]),
    ],
)
def test_stardict_is_read_from_any_of_its_files(
    tmp_path: Path, types: str, entries: list[tuple[str, bytes]], bits: int, packed: bool
) -> None:
    entries = [(head, piece.replace(b"<i>n</i><br>", b"")) for head, piece in entries]
    path = write_stardict(tmp_path, entries, types, bits, packed)
    files = sorted(tmp_path.iterdir())
    for file in files:
        assert read(file) == EXPECTED
        assert sorted(dictionary_files(file)) == files
    assert read(path, "de", "en", turned=True)["Stiege"] == ("ladder",)


def test_stardict_of_wikdict_leaves_definitions_out(tmp_path: Path) -> None:
    path = write_stardict(tmp_path, [("ladder", b"Leiter\nframe with rungs"), ("moss", b"Moos\nsmall plant")])
    path.write_text(path.read_text() + "description=made from WikDict\n")
    assert read(path) == {"ladder": ("Leiter",), "moss": ("Moos",)}
    assert counts(path) == {"definitions below the translations": 2}


def test_stardict_without_one_of_its_files_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_stardict(tmp_path, [("ladder", b"Leiter")])
    (tmp_path / "en-de.dict").unlink()
    with pytest.raises(
        LexiconError, match=r"en-de\.ifo: StarDict's en-de\.idx and en-de\.dict\.dz or \.dict have to lie"
    ):
        read(path)


def test_a_definition_beyond_the_end_is_malformed(tmp_path: Path) -> None:
    path = write_stardict(tmp_path, [(f"word{i}", f"Wort{i}".encode()) for i in range(200)])
    data = tmp_path / "en-de.dict"
    data.write_bytes(data.read_bytes()[:-1])
    report = Lexicon.read(path, source="en", target="de").report
    assert report is not None and [line.line for line in report.malformed] == [200]


@pytest.mark.parametrize("types", ["m", "h"])
def test_bytes_of_a_definition_that_are_not_utf_8_are_malformed_and_not_guessed(tmp_path: Path, types: str) -> None:
    words = [(f"word{i}", f"Wort{i}".encode()) for i in range(199)]
    path = write_stardict(tmp_path, [*words, ("bridge", "Brücke".encode("latin1"))], types)
    lexicon = Lexicon.read(path, source="en", target="de")
    assert lexicon.report is not None and [line.line for line in lexicon.report.malformed] == [200]
    assert "not UTF-8" in lexicon.report.malformed[0].reason and lexicon.lookup("bridge") is None


@checked
@given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from(["", "m", "tm", "h", "Wm", "x"]))
def test_arbitrary_stardict_files_are_read_or_refused(tmp_path: Path, index: bytes, data: bytes, types: str) -> None:
    path = write_stardict(tmp_path, [("a", b"b")], types)
    (tmp_path / "en-de.idx").write_bytes(index)
    (tmp_path / "en-de.dict").write_bytes(data)
    try:
        Lexicon.read(path, source="en", target="de")
    except LexiconError as error:
        assert "en-de." in str(error)


texts = st.text(st.characters(categories=["L"]), min_size=1, max_size=6)


@checked
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=10))
def test_all_containers_read_the_same_pairs(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    units = "".join(
        f'<tu><tuv xml:lang="en"><seg>{escape(one)}</seg></tuv><tuv xml:lang="de"><seg>{escape(other)}</seg></tuv></tu>'
        for one, other in pairs
    )
    dix = "".join(f"<e><p><l>{escape(one)}</l><r>{escape(other)}</r></p></e>" for one, other in pairs)
    (tmp_path / "a.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in pairs), encoding="utf-8")
    (tmp_path / "a.tmx").write_text(f"<tmx><body>{units}</body></tmx>", encoding="utf-8")
    (tmp_path / "a.dix").write_text(f"<dictionary><section>{dix}</section></dictionary>", encoding="utf-8")
    try:
        expected = read(tmp_path / "a.tsv", format="tsv")
    except LexiconError:
        return
    assert read(tmp_path / "a.tmx") == expected
    assert read(tmp_path / "a.dix") == expected
