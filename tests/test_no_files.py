"""A pipe, a device or a socket in place of any file that users name is named and refused; nothing waits for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prealign.contents import hash_contents
from prealign.errors import CorpusError, PrealignError
from prealign.evaluation.retrieval.sentence_files import read_sentences
from prealign.evaluation.transfer.files import read_rows
from prealign.files import LONGEST_LINE, MOST_HELD, read_whole, whole_lines
from prealign.lexicon import Lexicon
from prealign.lexicon.llm.cache import Cache
from prealign.lexicon.llm.words import read_word_counts
from prealign.recipe.file import load_recipe
from prealign.recipe.measures import SentenceSet, TransferTask
from prealign.recipe.templates import read_templates
from prealign.report.results_file import read_results
from prealign.text.bitext import read_parallel
from prealign.text.corpus import read_documents

TASK = TransferTask(name="t", train="x", tests={"en": "x"})


def beside(path: Path, suffix: str, text: str) -> Path:
    """A file beside `path`, which belongs to it."""
    other = path.with_suffix(suffix)
    other.write_text(text)
    return other


def read(*paths: Path) -> Lexicon:
    """Read the last of the files of a dictionary."""
    return Lexicon.read(paths[-1], source="en", target="de")


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "recipe": ("recipe.yaml", load_recipe),
    "templates": ("facts.yaml", lambda path: read_templates(str(path), ["en"], two_hop=False)),
    "text": ("en.txt", lambda path: list(read_documents([str(path)]))),
    "lines of text": ("en.txt", lambda path: list(read_documents([str(path)], "line"))),
    "page": ("en.html", lambda path: list(read_documents([str(path)]))),
    "jsonl": ("en.jsonl", lambda path: list(read_documents([str(path)]))),
    "gzipped text": ("en.txt.gz", lambda path: list(read_documents([str(path)]))),
    "text in a folder": ("en.txt", lambda path: list(read_documents([str(path.parent)]))),
    "text by a pattern": ("en.txt", lambda path: list(read_documents([str(path.parent / "*.txt")]))),
    "dictionary": ("de.tsv", read),
    "own lexicon": ("lexicon.jsonl", Lexicon.load),
    "tmx": ("de.tmx", read),
    "dictd": ("de.index", lambda path: read(beside(path, ".dict", "x"), path)),
    "dictd, unpacked": ("de.dict", lambda path: read(beside(path, ".index", "a\tA\tB\n"))),
    "dictd, packed": ("de.dict.dz", lambda path: read(beside(path.with_suffix(""), ".index", "a\tA\tB\n"))),
    "stardict": ("de.idx", lambda path: read(beside(path, ".dict", "x"), beside(path, ".ifo", "x"))),
    "bitext": ("both.tsv", lambda path: read_parallel([path], "en", "de")),
    "bitext, two files": ("en.txt", lambda path: read_parallel([path, beside(path, ".de", "x\n")], "en", "de")),
    "sentences": ("en.dev", lambda path: read_sentences(SentenceSet(name="s", files={"en": str(path)}), "en")),
    "labelled text": ("train.tsv", lambda path: read_rows(str(path), TASK)),
    "word counts": ("words.json", lambda path: read_word_counts(path, 1)),
    "answers": ("answers.jsonl", lambda path: Cache(path, "m", "p")),
    "results": ("results.json", read_results),
}


@pytest.fixture(params=["a pipe", "a socket", "a device"])
def special(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[str], Path]]]:
    opened = []

    def make(name: str) -> Path:
        path = tmp_path / name
        if request.param == "a pipe":
            os.mkfifo(path)
        elif request.param == "a device":
            path.symlink_to("/dev/zero")
        else:
            here = Path.cwd()
            os.chdir(tmp_path)  # the name of a socket is short
            opened.append(socket.socket(socket.AF_UNIX))
            opened[-1].bind(name)
            os.chdir(here)
        return path

    yield request.param, make
    for one in opened:
        one.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_named_and_refused(special: tuple[str, Callable[[str], Path]], reader: str) -> None:
    kind, make = special
    name, reading = READERS[reader]
    path = make(name)
    with pytest.raises(PrealignError) as caught:
        reading(path)
    assert str(path) in str(caught.value) and f"it is {kind}, not a file" in str(caught.value)


@pytest.mark.timeout(60)
def test_what_is_no_file_has_no_content_to_hash(special: tuple[str, Callable[[str], Path]]) -> None:
    path = special[1]("x")
    assert hash_contents([path, path.parent]) == []


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prealign.files.MOST_HELD", 100)
    path = tmp_path / "en.txt"
    for content, documents, message in (
        (b"x" * 101, "file", "more than 100 bytes of text; divide it"),
        (b"x\n" + b"y" * 101 + b"\n", "line", "a line has more than 100 bytes"),
    ):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=message):
            list(read_documents([str(path)], documents))
    path.write_bytes(b"x" * 100)
    with path.open("rb") as file:
        assert read_whole(file) == b"x" * 100
    path.write_bytes(b"a\n" * 80)
    with path.open("rb") as file:
        assert list(whole_lines(file)) == [b"a\n"] * 80
    assert LONGEST_LINE < MOST_HELD
