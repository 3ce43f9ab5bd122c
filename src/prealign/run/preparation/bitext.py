"""The stage `bitext`: the recipe's parallel text as token ids, for the methods that train on it.

1. Read the files of `bitext` before any text: a mistake in them must show early.
2. A clone's pairs are sentences of the source's training text, and the same sentences in twin ids.
3. Leave out a pair that shares a sentence with `evaluate.sentences` or with a held-out document of its language.
4. Tokenise both sides. Leave out pairs with an empty side, or with one longer than `bitext.max_tokens`.
5. Write the pairs of each target language as Arrow, and count everything that was left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from prealign.errors import LexiconError
from prealign.evaluation.retrieval.sentence_files import read_sentences
from prealign.events import OnProgress, step_counter
from prealign.languages import is_clone
from prealign.lexicon.reading_report import Tallies, told_of
from prealign.recipe.bitext import BitextSection
from prealign.recipe.sections import Recipe
from prealign.strict_json import shown
from prealign.text.arrow import arrow_from_tables, load_arrow, parts, read_tokens
from prealign.text.bitext import PAIRS, ParallelText, TokenPairs, read_parallel, token_table
from prealign.text.clone import clone_language
from prealign.text.corpus import HELD_OUT
from prealign.text.encode import text_ids
from prealign.text.ragged import Ragged
from prealign.text.sentence import sentence_keys, split_sentences
from prealign.text.words import Tokenizer
from prealign.wording import some

_CHUNK = 2**14  # pairs tokenised at once

Texts = Mapping[str, list[ParallelText]]
"""The parallel text of each target language that has files."""


def bitext_files(section: BitextSection | None) -> list[Path]:
    """Return all files that the section names."""
    return [Path(path) for file in section.files for path in file.paths] if section else []


def read_bitext(section: BitextSection | None, source: str) -> Texts:
    """Read the files. LexiconError for one that cannot be read, or has no pair. `limit` covers all files of a target."""
    texts: dict[str, list[ParallelText]] = {}
    for file in section.files if section else ():
        known = texts.setdefault(file.target, [])
        limit = section.limit if section else None
        left = None if limit is None else limit - sum(len(text.pairs) for text in known)
        known.append(read_parallel([Path(path) for path in file.paths], source, file.target, limit=left))
    return texts


def make_bitext(
    recipe: Recipe, texts: Texts, tokens: Path, tokenizer: Tokenizer, folder: Path, on_progress: OnProgress
) -> dict[str, Any]:
    """Write the pairs of each target language to its folder in `folder`; return the stage's record.

    tokens: the folder of the stage `tokens`. LexiconError if no pair of a language is left.
    """
    began, section = time.monotonic(), recipe.bitext
    assert section is not None
    targets = [target.language for target in recipe.targets if target.is_clone or target.language in texts]
    tell = step_counter("bitext", len(targets), on_progress)
    tested = _tested_sentences(recipe, texts, tokens, tokenizer)
    longest, record = section.longest(recipe.pretrain.context), {}
    for language in targets:
        sides = (tested[recipe.source.language], tested.get(language, frozenset()))
        writer = _Writer(tokenizer, sides, longest, is_clone=is_clone(language))
        if is_clone(language):
            sentences = _sentences(load_arrow(tokens / recipe.source.language / "train"), tokenizer)
            pairs: Iterable[tuple[str, str]] = ((text, text) for text in islice(sentences, section.limit))
        else:
            pairs = chain.from_iterable(text.pairs for text in texts[language])
        writer.write(pairs, folder / language)
        if not writer.pairs:
            told = "; ".join(map(str.strip, writer.told)) or "there is none"
            raise LexiconError(f"bitext: no pair of sentences of {language!r} is left to train on: {told}")
        sizes = " and ".join(f"{number:,}" for number in writer.tokens)
        summary = f"{language}: {some(writer.pairs, 'pair')} of sentences, {sizes} tokens"
        read = [line for text in texts.get(language, []) for line in text.text.splitlines()]
        record[language] = {"pairs": writer.pairs, "tokens": writer.tokens, "summary": [*read, summary, *writer.told]}
        tell()
    return {"bitext": record, "seconds": time.monotonic() - began}


def _tested_sentences(recipe: Recipe, texts: Texts, tokens: Path, tokenizer: Tokenizer) -> dict[str, frozenset[str]]:
    """Return the keys of the sentences that must not be trained on, for the source and each target with files."""
    source = recipe.source.language
    found: dict[str, set[str]] = {language: set() for language in (source, *texts)}
    for section in recipe.evaluate.sentences:
        for language, pairs in read_sentences(section, source).items():
            if language in found:
                found[language].update(*map(sentence_keys, pairs.targets))
    for language, keys in found.items():
        for split in HELD_OUT:
            for sentence in _sentences(load_arrow(tokens / language / split), tokenizer):
                keys.update(sentence_keys(sentence))
    return {language: frozenset(keys) for language, keys in found.items()}


def _sentences(documents: Dataset, tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the sentences of tokenised documents."""
    for rows in parts(documents):
        for ids, _ in read_tokens(documents, rows):
            yield from split_sentences(tokenizer.decode(ids))


@dataclass
class _Writer:
    """Tokenises the pairs of a language, and counts those that it leaves out.

    tested: keys of the sentences not to train on, of the source and of the target. longest: tokens of a sentence.
    """

    tokenizer: Tokenizer
    tested: tuple[frozenset[str], frozenset[str]]
    longest: int
    is_clone: bool
    pairs: int = 0
    tokens: list[int] = field(default_factory=lambda: [0, 0])
    left_out: Tallies = field(default_factory=Tallies)

    @property
    def told(self) -> list[str]:
        """A line for each reason to leave out pairs."""
        return told_of("left out", self.left_out.counted())

    def write(self, pairs: Iterable[tuple[str, str]], folder: Path) -> None:
        """Write the pairs to `folder` as Arrow."""

        def tables() -> Iterator[pa.Table]:
            kept = (pair for pair in pairs if not self._is_tested(pair))
            while chunk := list(islice(kept, _CHUNK)):
                yield token_table(*self._tokenised(chunk))

        arrow_from_tables(tables, PAIRS, folder)

    def _is_tested(self, pair: tuple[str, str]) -> bool:
        found = any(
            keys and not keys.isdisjoint(sentence_keys(text)) for text, keys in zip(pair, self.tested, strict=True)
        )
        if found:
            self.left_out.add("pairs with a sentence of a test or of a held-out document", _shown(pair))
        return found

    def _tokenised(self, pairs: list[tuple[str, str]]) -> TokenPairs:
        sources, targets = ([pair[side] for pair in pairs] for side in (0, 1))
        one = Ragged.of(text_ids(self.tokenizer, sources))
        if self.is_clone:
            other = replace(one, values=clone_language(self.tokenizer).map(one.values))
        else:
            other = Ragged.of(text_ids(self.tokenizer, targets))
        lengths = np.stack([one.lengths, other.lengths])
        empty, long = (lengths == 0).any(axis=0), (lengths > self.longest).any(axis=0)
        for reason, rows in (
            ("pairs with a side without tokens", empty),
            (f"pairs with a sentence of more than {self.longest:,} tokens", long & ~empty),
        ):
            for row in np.flatnonzero(rows).tolist():
                self.left_out.add(reason, _shown(pairs[row]))
        kept = np.flatnonzero(~empty & ~long)
        one, other = one.take(kept), other.take(kept)
        self.pairs += len(kept)
        self.tokens = [self.tokens[0] + len(one.values), self.tokens[1] + len(other.values)]
        return one, other


def _shown(pair: tuple[str, str]) -> str:
    return " → ".join(map(shown, pair))
