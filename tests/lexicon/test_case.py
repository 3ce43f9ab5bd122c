"""Case by the rules of a language: a table worked by hand, invariants, and a search for words cased in any other way."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import prealign
from prealign.evaluation.retrieval.queries import select_queries
from prealign.lexicon import Group, Lexicon
from prealign.lexicon.case import is_cased, lower, title, upper
from prealign.lexicon.direction import found_in_corpus
from prealign.lexicon.parallel.statistics import _Forms
from prealign.lexicon.spelling import as_written
from prealign.methods.switching.switch import CodeSwitcher

# Language, lower case, title case, capitals.
WORDS = [
    ("en", "house", "House", "HOUSE"),
    ("en", "free of charge", "Free of charge", "FREE OF CHARGE"),
    *((tag, "iskele", "İskele", "İSKELE") for tag in ("tr", "az", "crh", "gag", "tt", "tur", "tr-TR")),
    ("tr", "ışık", "Işık", "IŞIK"),
    ("az", "ildırım", "İldırım", "İLDIRIM"),
    ("nl", "ijs", "IJs", "IJS"),
    ("nl", "bij", "Bij", "BIJ"),
    ("nl-BE", "ijsje", "IJsje", "IJSJE"),
    ("de", "ijob", "Ijob", "IJOB"),
    ("de", "straße", "Straße", "STRASSE"),
    ("el", "άνθρωπος", "Άνθρωπος", "ΑΝΘΡΩΠΟΣ"),
    ("el", "μάιος", "Μάιος", "ΜΑΪΟΣ"),
    ("el", "ρολόι", "Ρολόι", "ΡΟΛΟΪ"),
    ("el", "προϊόν", "Προϊόν", "ΠΡΟΪΟΝ"),
    ("el", "ταΐζω", "Ταΐζω", "ΤΑΪΖΩ"),
    ("el", "καλοί", "Καλοί", "ΚΑΛΟΙ"),
    ("el", "ή", "Ή", "Ή"),
    ("el", "ᾠδή", "ᾨδή", "ΩΙΔΗ"),
    ("ka", "კიბე", "კიბე", "კიბე"),
    ("xmf", "ცხენი", "ცხენი", "ცხენი"),
    ("hy", "և", "Եվ", "ԵՎ"),
    ("hy", "տուն", "Տուն", "ՏՈՒՆ"),
    ("hyw", "և", "Եւ", "ԵՒ"),
    ("hr", "ǆip", "ǅip", "ǄIP"),
    ("hr", "ljubav", "Ljubav", "LJUBAV"),
    ("ga", "t-uisce", "tUisce", "tUISCE"),
    ("ga", "n-athair", "nAthair", "nATHAIR"),
    ("ga", "gcat", "gCat", "gCAT"),
    ("ga", "bhfear", "bhFear", "bhFEAR"),
    ("ga", "tslí", "tSlí", "tSLÍ"),
    ("ga", "teach", "Teach", "TEACH"),
    ("haw", "ʻāina", "ʻĀina", "ʻĀINA"),
    ("ru", "дом", "Дом", "ДОМ"),
    ("zh", "房子", "房子", "房子"),
    ("ar", "بيت", "بيت", "بيت"),
    ("chr", "ᎠᎹ", "ᎠᎹ", "ᎠᎹ"),
]


@pytest.mark.parametrize(("tag", "low", "titled", "capitals"), WORDS, ids=[f"{row[0]}-{row[1]}" for row in WORDS])
def test_case_follows_the_language(tag: str, low: str, titled: str, capitals: str) -> None:
    assert (lower(low, tag), title(low, tag), upper(low, tag)) == (low, titled, capitals)
    # A word of running text is found by each of its forms.
    lexicon = Lexicon([Group(low, {"qaa": ("x",)})], source=tag)
    assert all(lexicon.lookup(form) is lexicon.groups[0] for form in (low, titled, capitals))


@pytest.mark.parametrize(
    ("tag", "word", "low"),
    [
        *(("tr", "ISPANAK", "ıspanak"), ("tr", "İNEK", "inek"), ("tr", "I\u0307nek", "inek"), ("en", "İnek", "inek")),
        *(
            ("el", "ΌΡΟΣ", "όρος"),
            ("de", "STRAẞE", "straße"),
            ("ga", "nAthair", "n-athair"),
            ("ga", "Nathair", "nathair"),
        ),
        *(("nl", "IJS", "ijs"), ("ka", "ᲙᲘᲑᲔ", "კიბე"), ("hr", "ǅip", "ǆip"), ("chr", "ᎠᎹ", "ᎠᎹ")),
    ],
)
def test_lower_case_follows_the_language(tag: str, word: str, low: str) -> None:
    assert lower(word, tag) == low


@given(st.text(max_size=12), st.sampled_from(["en", "de", "tr", "nl", "el", "ga", "hy", "ka", "chr", "zh", "xx"]))
def test_lower_case_is_the_lower_case_of_itself(word: str, tag: str) -> None:
    once = lower(word, tag)
    assert lower(once, tag) == once
    if tag in ("en", "zh", "xx") and not {"İ", *map(chr, range(0x13A0, 0x13F6))} & set(word):
        assert once == word.lower()


@given(st.text("abcıiIİşŞ", min_size=1, max_size=8))
def test_turkish_letters_come_back_from_capitals(word: str) -> None:
    low = lower(word, "tr")
    assert lower(upper(low, "tr"), "tr") == low == lower(title(low, "tr"), "tr")
    assert len(low) == len(upper(low, "tr")) == len(word)


def test_cased_characters() -> None:
    assert [char for char in "aßΑ中1बİ" if is_cased(char)] == ["a", "ß", "Α", "İ"]


@pytest.mark.parametrize(("tag", "low", "titled", "capitals"), WORDS, ids=[f"{row[0]}-{row[1]}" for row in WORDS])
def test_a_substitute_takes_the_case_of_its_word(tag: str, low: str, titled: str, capitals: str, byte_bpe: Any) -> None:
    source = "qaa" if tag == "en" else "en"
    lexicon = Lexicon([Group("ladder", {tag: (low,)})], source=source, targets=(tag,))
    space = "" if tag == "zh" else " "
    switcher = CodeSwitcher(byte_bpe, lexicon, ratio=1.0, source=source)
    ids = np.array(byte_bpe.encode("Ladder ladder LADDER", add_special_tokens=False))
    assert byte_bpe.decode(switcher.switch(ids).input_ids) == space.join((titled, low, capitals))


@pytest.mark.parametrize(
    ("tag", "low", "text"),
    [("tr", "inek", "İnek inek İNEK"), ("el", "άνθρωπος", "Άνθρωπος άνθρωπος ΑΝΘΡΩΠΟΣ"), ("nl", "ijs", "IJs ijs IJS")],
)
def test_a_word_of_the_source_is_found_in_every_case(tag: str, low: str, text: str, byte_bpe: Any) -> None:
    lexicon = Lexicon([Group(low, {"en": ("x",)})], source=tag)
    ids = np.array(byte_bpe.encode(text, add_special_tokens=False))
    assert CodeSwitcher(byte_bpe, lexicon, ratio=1.0, source=tag).switch(ids).switched_words == 3
    assert lexicon.coverage(dict.fromkeys(text.split(), 1)) == {"en": 1.0}
    assert found_in_corpus(lexicon, dict.fromkeys(text.split(), 1), "d.tsv").startswith("100.0%")


def turkish(*senses: str, word: str = "cow") -> Lexicon:
    return Lexicon([Group(word, {"tr": senses})], source="en", targets=("tr",))


def test_the_turkish_i_is_known_wherever_words_are_compared() -> None:
    order = turkish("sığır", "inek").order_senses({"tr": {"İnek": 100, "sığır": 1}})
    assert order.groups[0].translations["tr"] == ("inek", "sığır")
    written = as_written(turkish("inek", "ıspanak"), {"tr": {"İnek": 100, "Ispanak": 50}})
    assert written.groups[0].translations["tr"] == ("İnek", "Ispanak")
    reverse = Lexicon([Group("inek", {"en": ("cow",)})], source="tr")
    assert len(turkish("İnek").mutual(reverse)) == 1 and not len(turkish("ınek").mutual(reverse))
    dictionary = turkish("inek").merge(turkish("ışık", word="light"))
    counts = {"İnek": 9, "Işık": 9}
    assert len(select_queries(dictionary, "tr", {"cow": 9, "light": 9}, counts, floor=5, size=10).pairs) == 2
    assert not len(Lexicon([Group("ırmak", {"en": ("river",)})], source="tr").without(["IRMAK"]))
    forms = _Forms("tr")
    assert forms.lowered(["İş", "Irmak"]) == ["iş", "ırmak"]


def test_senses_are_ordered_by_their_words_in_every_case_and_unicode_form() -> None:
    house = Lexicon([Group("house", {"de": ("gebäude", "heim", "haus")})], source="en")
    counts = {"de": {"Haus": 100, "haus": 1, "Geba\u0308ude": 60, "HEIM": 50, "heim": 20}}
    assert house.order_senses(counts).groups[0].translations["de"] == ("haus", "heim", "gebäude")


# What is no word: environment variables, tags and subtags, file endings, encodings, error texts, keys.
ALLOWED = {
    ("cli/app.py", "lower"),
    ("cli/probe.py", "lower"),  # verdicts in a sheet
    ("files.py", "lower"),
    ("languages.py", "lower"),
    ("languages.py", "title"),
    ("lexicon/formats/definitions.py", "casefold"),  # a headword repeated in its definition, of an unknown language
    ("lexicon/formats/dictd.py", "lower"),  # the name of a maker
    ("lexicon/formats/stardict.py", "lower"),
    ("lexicon/formats/table.py", "casefold"),  # headers
    *(("lexicon/llm/endpoint.py", name) for name in ("lower", "upper", "capitalize")),
    ("lexicon/formats/notation.py", "lower"),
    ("report/tables/external_retrieval.py", "capitalize"),  # names of columns
    ("text/segment.py", "lower"),
    ("text/sentence.py", "casefold"),  # whole sentences, compared with each other
    ("text/sources.py", "lower"),
    ("training/launch.py", "lower"),
}


def test_words_are_cased_in_one_module_only() -> None:
    root = Path(prealign.__file__).parent
    methods, found = {"lower", "upper", "capitalize", "title", "casefold", "swapcase"}, set()
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            # word.lower() and, as a function, str.lower
            method = node.func if isinstance(node, ast.Call) and not node.args else node
            if not isinstance(method, ast.Attribute) or method.attr not in methods or name == "lexicon/case.py":
                continue
            if method is not node or (isinstance(method.value, ast.Name) and method.value.id == "str"):
                found.add((name, method.attr))
    assert found == ALLOWED, "words take their case from prealign.lexicon.case"
