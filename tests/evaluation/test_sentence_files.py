from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from noise import checked, noise
from prealign.errors import DataError
from prealign.evaluation.retrieval.sentence_files import read_sentences
from prealign.recipe.measures import SentenceSet

FLORES = Path(__file__).parents[3] / "shared" / "data" / "flores200"


def section(folder: Path, limit: int | None = None, **texts: str) -> SentenceSet:
    for language, text in texts.items():
        (folder / language).write_bytes(text.encode())
    return SentenceSet(name="set", files={language: str(folder / language) for language in texts}, limit=limit)


def test_rows_are_pairs(tmp_path: Path) -> None:
    read = read_sentences(section(tmp_path, en="\ufeffone\r\ntwo \n three\n", de="eins\nzwei\ndrei"), "en")
    assert (read["de"].sources, read["de"].targets) == (["one", "two", "three"], ["eins", "zwei", "drei"])
    assert read["en"].sources == read["en"].targets
    assert read["de"].repeated == 0


def test_a_line_separator_of_unicode_ends_no_line(tmp_path: Path) -> None:
    read = read_sentences(section(tmp_path, en="a\u2028b\nc\n", de="d\ne\n"), "en")
    assert read["de"].sources == ["a\u2028b", "c"]


def test_repeated_sentences_are_counted_and_left_out(tmp_path: Path) -> None:
    made = section(tmp_path, en="a\nb\na\nc\nd\n", de="A\nB\nA2\nB\nD\n", ru="1\n2\n3\n4\n5\n")
    read = read_sentences(made, "en")
    assert (read["de"].sources, read["de"].targets, read["de"].repeated) == (["a", "b", "d"], ["A", "B", "D"], 2)
    assert (read["ru"].sources, read["ru"].repeated) == (["a", "b", "c", "d"], 1)
    limited = read_sentences(made.model_copy(update={"limit": 3}), "en")
    assert (limited["de"].sources, limited["de"].repeated) == (["a", "b"], 1)


@pytest.mark.parametrize(
    ("english", "german", "message"),
    [
        ("a\nb\n", "A\n", r"de: 1 lines, and .*en has 2. Line i of every file"),
        ("a\nb\n", "A\n\n", r"de:2: an empty line. Remove line 2 from every file"),
        ("", "", r"en:1: an empty line"),
    ],
)
def test_files_that_do_not_fit_are_an_error(tmp_path: Path, english: str, german: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_sentences(section(tmp_path, en=english, de=german), "en")


def test_files_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    made = section(tmp_path, en="a\n", de="A\n")
    (tmp_path / "de").write_bytes(b"a\xff\n")
    with pytest.raises(DataError, match=r"de: byte 1 is not UTF-8.*iconv -f ENCODING -t utf-8"):
        read_sentences(made, "en")
    (tmp_path / "de").unlink()
    with pytest.raises(DataError, match=r"de: cannot be read: No such file"):
        read_sentences(made, "en")


@checked
@given(noise(["one", "two words"], []))
def test_any_bytes_are_sentences_or_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    made = section(tmp_path, en="a\nb\n", de="")
    (tmp_path / "de").write_bytes(content)
    try:
        pairs = read_sentences(made, "en")["de"]
    except DataError as error:
        assert str(tmp_path / "de") in str(error)
        return
    assert len(pairs.sources) == len(pairs.targets) == 2 - pairs.repeated and all(pairs.targets)


@pytest.mark.skipif(not FLORES.exists(), reason="needs FLORES-200 beside the checkout, ../shared/data")
def test_flores_is_read_whole() -> None:
    names = {"en": "eng_Latn", "de": "deu_Latn", "zh": "zho_Hans", "ru": "rus_Cyrl", "ar": "arb_Arab"}
    files = {language: str(FLORES / f"{name}.devtest") for language, name in names.items()}
    read = read_sentences(SentenceSet(name="flores", files=files), "en")
    assert {(language, len(pairs.sources), pairs.repeated) for language, pairs in read.items()} == {
        (language, 1012, 0) for language in names
    }
