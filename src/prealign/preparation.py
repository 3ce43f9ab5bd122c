"""What all arms of a run share: tokenizer, tokenised text of every language, and the lexicon.

1. Read the text of source and targets and hold out documents.
2. Load the tokenizer, or train a byte-level BPE on all training text.
3. Tokenise; write a clone's documents in twin ids.
4. Count the source's words; join the clone's dictionary and the files' into one lexicon of the words frequent enough.
5. Refuse a lexicon that knows no word of the corpus.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from prealign import __version__
from prealign.errors import LexiconError, TokenizerError
from prealign.lexicon import Lexicon
from prealign.lexicon.direction import found_in_corpus
from prealign.packing import Mixture
from prealign.recipe import LexiconFile, Recipe
from prealign.runfolder import RunFolder, file_stats, fingerprint, finished, run_stage, write_json
from prealign.text.clone import clone_language
from prealign.text.corpus import (
    SPLITS,
    count_words,
    load_arrow,
    load_text,
    map_tokens,
    source_files,
    split_documents,
    tokenise,
)
from prealign.text.languages import is_clone
from prealign.text.words import Tokenizer, word_table
from prealign.training import OnProgress, Progress

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Prepared:
    """The `data` folder of a run, read as needed."""

    folder: Path
    record: dict[str, Any]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of all languages."""
        return AutoTokenizer.from_pretrained(self.folder / "tokenizer")

    @cached_property
    def lexicon(self) -> Lexicon:
        """The whole lexicon; an arm takes its part by seed."""
        return Lexicon.load(self.folder / "lexicon.jsonl")

    @property
    def mark(self) -> str:
        """Fingerprint of everything in the folder."""
        return self.record["fingerprint"]

    @property
    def languages(self) -> list[str]:
        """The source language, then the targets."""
        return list(self.record["corpus"])

    @property
    def eos(self) -> int:
        """The document separator."""
        return int(self.tokenizer.eos_token_id)

    @property
    def vocab_size(self) -> int:
        """Embedding rows needed: the clone's twins count."""
        clone = any(is_clone(language) for language in self.languages)
        return clone_language(self.tokenizer).vocab_size if clone else len(self.tokenizer)

    def tokens(self, language: str, split: str, *, merged: bool = False) -> Dataset:
        """Return tokenised documents; `merged` gives a clone's in source ids."""
        folder = self.folder / "tokens" / language / (f"{split}-merged" if merged and is_clone(language) else split)
        return load_arrow(folder)

    def token_counts(self, language: str) -> np.ndarray:
        """Return how often each embedding row (V,) occurs in a language's training text."""
        counts = np.zeros(self.vocab_size, dtype=np.int64)
        for row in self.tokens(language, "train").with_format("numpy"):
            counts += np.bincount(row["input_ids"], minlength=self.vocab_size)
        return counts

    def training_lexicon(self, recipe: Recipe, seed: int) -> tuple[Lexicon, Lexicon]:
        """Return the words that both stages of a seed may use, and those held out from both."""
        rest, held_out = self.lexicon.split(recipe.lexicon.held_out, seed)
        return rest.sample(recipe.lexicon.coverage, seed), held_out

    def mixture(self, recipe: Recipe) -> Mixture:
        """Return the training mixture of an arm, unswitched."""
        source, *targets = self.languages
        chosen = targets if recipe.mixture.languages == "targets" else [source, *targets]
        merged = recipe.mixture.clone_ids == "merged"
        tokens = {language: self.tokens(language, "train", merged=merged) for language in chosen}
        return Mixture(tokens=tokens, source=source, eos=self.eos)


def prepare(recipe: Recipe, run: RunFolder, on_progress: OnProgress) -> tuple[Prepared, bool]:
    """Make the `data` folder, or find it fresh. Returns it, and whether it was made now."""
    mark = data_fingerprint(recipe)
    record = finished(run.data, mark)
    fresh = record is not None
    if record is None:
        record = run_stage(run.data, mark, lambda folder: _prepare(recipe, folder, on_progress))
    return Prepared(run.data, record), not fresh


def data_fingerprint(recipe: Recipe) -> str:
    """Fingerprint of the settings and files that decide the `data` folder."""
    lexicon = recipe.lexicon.model_dump(exclude={"coverage", "held_out"})
    files = [path for text in (recipe.source.text, *(t.text for t in recipe.targets)) for path in source_files(text)]
    files += [Path(path) for file in recipe.lexicon.files for path in (file.path, file.reverse) if path]
    files += [Path(recipe.tokenizer.path)] if recipe.tokenizer.path else []
    sections = [s.model_dump() for s in (recipe.source, *recipe.targets, recipe.split, recipe.tokenizer)]
    return fingerprint(__version__, sections, lexicon, file_stats(files))


def _prepare(recipe: Recipe, folder: Path, on_progress: OnProgress) -> dict[str, Any]:
    began = time.monotonic()

    def tell(step: int) -> None:
        on_progress(Progress("prepare", step, 4, 0, time.monotonic() - began))

    text = _read_text(recipe, folder / "text")
    tell(1)
    tokenizer = _tokenizer(recipe, text)
    tokenizer.save_pretrained(folder / "tokenizer")
    tell(2)
    corpus = {language: _tokenise(language, splits, tokenizer, folder) for language, splits in text.items()}
    shutil.rmtree(folder / "text")
    tell(3)
    counts = count_words(load_arrow(folder / "tokens" / recipe.source.language / "train"), tokenizer)
    lexicon, reading = _lexicon(recipe, tokenizer, counts, folder / "tokens")
    lexicon.save(folder / "lexicon.jsonl")
    write_json(folder / "words.json", counts)
    tell(4)
    return {
        "seconds": time.monotonic() - began,
        "corpus": corpus,
        "lexicon": {"groups": len(lexicon), "coverage": lexicon.coverage(counts), "reading": reading},
        "vocabulary": len(tokenizer),
    }


def _read_text(recipe: Recipe, cache: Path) -> dict[str, dict[str, Dataset]]:
    """Return the text of every language and split; a clone shares the source's held-out documents."""
    split = recipe.split
    clone = next((t for t in recipe.targets if t.is_clone), None)
    held_out = {"validation": split.validation, "test": split.test, "seed": split.seed}
    rows = load_text(recipe.source.text, recipe.source.documents, cache / recipe.source.language)
    parts = split_documents(rows["document"], **held_out, clone_share=clone.share if clone else 0.0)
    text = {recipe.source.language: {name: rows.select(parts[name]) for name in SPLITS}}
    for target in recipe.targets:
        if target.is_clone:
            text[target.language] = {n: rows.select(parts["clone" if n == "train" else n]) for n in SPLITS}
        else:
            own = load_text(target.text, target.documents, cache / target.language)
            parts = split_documents(own["document"], **held_out)
            text[target.language] = {name: own.select(parts[name]) for name in SPLITS}
    return text


def _tokenizer(recipe: Recipe, text: dict[str, dict[str, Dataset]]) -> Tokenizer:
    """Load or train the tokenizer. One without EOS, or without a fast implementation, is a TokenizerError."""
    if recipe.tokenizer.path is None:
        return train_tokenizer(
            (row["text"] for language, splits in text.items() if not is_clone(language) for row in splits["train"]),
            recipe.tokenizer.vocab_size,
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            recipe.tokenizer.path, trust_remote_code=recipe.model.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise TokenizerError(f"tokenizer.path {recipe.tokenizer.path!r} cannot be loaded: {error}") from None
    if tokenizer.eos_token_id is None:
        raise TokenizerError(
            f"the tokenizer at {recipe.tokenizer.path!r} has no EOS token, and documents are separated by it. "
            'Give it one: `tokenizer.add_special_tokens({"eos_token": "</s>"})`, then `tokenizer.save_pretrained(...)`.'
        )
    word_table(tokenizer)
    return tokenizer


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE with one special token, the document separator."""
    tokenizer = FastTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size <= len(alphabet):
        raise TokenizerError(
            f"tokenizer.vocab_size {vocab_size} is too small: a byte-level vocabulary starts with {len(alphabet)} bytes."
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT)


def _tokenise(
    language: str, splits: dict[str, Dataset], tokenizer: Tokenizer, folder: Path
) -> dict[str, dict[str, int]]:
    """Tokenise every split of a language; a clone's once in source ids and once in twin ids. Returns their sizes."""
    sizes = {}
    for split, text in splits.items():
        target = folder / "tokens" / language / split
        if is_clone(language):
            merged = tokenise(text, tokenizer, target.with_name(f"{split}-merged"))
            tokens = map_tokens(merged, clone_language(tokenizer).map, target)
        else:
            tokens = tokenise(text, tokenizer, target)
        lengths = [len(ids) for ids in tokens.with_format("numpy")["input_ids"]]
        sizes[split] = {"documents": len(tokens), "tokens": sum(lengths), "bytes": int(np.sum(tokens["bytes"]))}
    return sizes


def _lexicon(
    recipe: Recipe, tokenizer: Tokenizer, counts: dict[str, int], tokens: Path
) -> tuple[Lexicon, list[dict[str, Any]]]:
    """Join all dictionaries, keep what the corpus uses, and say how each was read. Raises LexiconError if that is none."""
    section, source = recipe.lexicon, recipe.source.language
    lexicon = Lexicon([], source=source, targets=[])
    reading = []
    for target in recipe.targets:
        if target.is_clone:
            frequent = {w: n for w, n in counts.items() if n >= section.minimum_count and w[0].isalpha()}
            lexicon = lexicon.merge(clone_language(tokenizer).lexicon(frequent, source=source))
    for file in section.files:
        one, summary = _read_dictionary(file, source, counts)
        reading.append({"path": file.path, "target": file.target, "summary": summary})
        lexicon = lexicon.merge(one)
    used = lexicon.with_counts(counts, section.minimum_count)
    if section.sense_order == "frequency":
        real = [target.language for target in recipe.targets if not target.is_clone]
        used = used.order_senses({t: count_words(load_arrow(tokens / t / "train"), tokenizer) for t in real})
    used = used.limit_senses(section.maximum_senses)
    if not len(used):
        raise LexiconError(
            f"no word of the lexicon ({len(lexicon)} words) occurs {section.minimum_count} times in the {source} text "
            f"({len(counts)} different words). Is it of another language, are its columns swapped, or is "
            "lexicon.minimum_count too high for so little text?"
        )
    return used, reading


def _read_dictionary(file: LexiconFile, source: str, counts: dict[str, int]) -> tuple[Lexicon, str]:
    """Read a dictionary and say how. Raises LexiconError if it cannot be used or goes from target to source."""
    lexicon = Lexicon.read(file.path, format=file.format, source=source, target=file.target)
    assert lexicon.report is not None
    said = [lexicon.report.text, f"  {found_in_corpus(lexicon, counts, file.path)}"]
    if file.reverse is not None:
        reverse = Lexicon.read(file.reverse, source=file.target, target=source)
        mutual = lexicon.mutual(reverse)
        said.append(
            f"  {len(mutual):,} of {len(lexicon):,} words have a translation that {file.reverse} translates back"
        )
        lexicon = mutual
    return lexicon, "\n".join(said)
