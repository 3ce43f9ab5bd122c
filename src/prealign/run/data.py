"""The data that all arms of a run share, made by `prealign.run.preparation.prepare` and read from its folders on access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datasets import Dataset, concatenate_datasets
from transformers import AutoTokenizer

from prealign import __version__
from prealign.evaluation.retrieval.queries import DictionaryQueries
from prealign.files import read_json
from prealign.languages import is_clone
from prealign.lexicon import Lexicon
from prealign.lexicon.forms import INFLECTED, RESPELLED, inflected, respelled
from prealign.lexicon.normalise import key_of
from prealign.recipe.sections import Recipe
from prealign.run.folder import finished, recorded
from prealign.run.preparation.dictionaries import tested_words
from prealign.run.reading import mixture_languages
from prealign.text.arrow import load_arrow
from prealign.text.bitext import TokenPairs, load_pairs
from prealign.text.blocks import Mixture
from prealign.text.clone import clone_language
from prealign.text.facts.corpus import FACTS, QUESTIONS, split_names
from prealign.text.facts.facts import Question, load_questions
from prealign.text.words import Tokenizer, rows

TOKENIZER, NEW_TOKENS = "tokenizer", "new-tokens.json"
WORDS, SEGMENTED_WORDS = "words.json", "segmented-words.json"
LEXICON, TESTS, TARGET_WORDS = "lexicon.jsonl", "tests.jsonl", "target-words.json"


@dataclass(frozen=True)
class Prepared:
    """The data of a run, read from its folders on access.

    record: the records of all stages in one dict. `fingerprint` is that of the last stage, and so covers all stages;
    `stages` holds the fingerprint of each stage.
    """

    folder: Path
    record: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, marks: dict[str, str]) -> Prepared | None:
        """Return the data in a folder; None unless every stage is complete and has its fingerprint in `marks`."""
        joined, seconds = dict[str, Any](), 0.0
        for stage, mark in marks.items():
            record = finished(folder / stage, mark)
            if record is None:
                return None
            joined |= record
            seconds += record["seconds"]
        return cls(folder, joined | {"seconds": seconds, "stages": marks})

    def is_current(self) -> bool:
        """Whether the folders still hold these data. Another command may have replaced them."""
        stages = self.record["stages"].items()
        return all(recorded(self.folder / stage).get("fingerprint") == mark for stage, mark in stages)

    @property
    def tokenizer_folder(self) -> Path:
        """The folder of the tokenizer, for `from_pretrained`."""
        return self.folder / "tokens" / TOKENIZER

    @property
    def lexicon_file(self) -> Path:
        """The file of the whole lexicon, which includes the names of made-up facts."""
        return self.folder / ("facts" if "facts" in self.record["stages"] else "lexicon") / LEXICON

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of all languages."""
        return AutoTokenizer.from_pretrained(self.tokenizer_folder)

    @cached_property
    def new_tokens(self) -> list[list[int]]:
        """For each token added by `tokenizer.extend`, its ids in the original tokenizer. Empty without `extend`."""
        path = self.folder / "tokens" / NEW_TOKENS
        return read_json(path) if path.exists() else []

    @cached_property
    def words(self) -> dict[str, int]:
        """Word counts of the source's training text, most frequent first."""
        return read_json(self.folder / "tokens" / WORDS)

    @cached_property
    def lexicon(self) -> Lexicon:
        """The whole lexicon. An arm draws its training and held-out parts by seed."""
        return Lexicon.load(self.lexicon_file)

    @cached_property
    def tests(self) -> Lexicon:
        """The test dictionaries as one lexicon. No training lexicon contains their words."""
        path = self.folder / "lexicon" / TESTS
        return Lexicon.load(path) if path.exists() else Lexicon([], source=self.languages[0], targets=[])

    def tested_words(self, recipe: Recipe) -> dict[str, DictionaryQueries]:
        """Return the queries and candidates from the test dictionaries, by target language."""
        if not self.tests.targets:
            return {}
        counted = read_json(self.folder / "lexicon" / TARGET_WORDS)
        trained = Lexicon.load(self.folder / "lexicon" / LEXICON)  # without the names of facts
        return tested_words(recipe.lexicon, recipe.evaluate, self.tests, trained, self.words, counted)

    @property
    def mark(self) -> str:
        """Fingerprint of all stages."""
        return self.record["fingerprint"]

    @cached_property
    def identity(self) -> dict[str, str]:
        """The end of every signature. "v": the version. "tok": vocabulary size, and a hash of tokenizer and test data.

        Test data are the lexicon, the questions and the test text. Equal content gives equal identities on all
        machines; `mark` does not, because it contains paths of input files.
        """
        content = xxhash.xxh3_64()
        tests, questions = self.folder / "lexicon" / TESTS, self.folder / "facts" / QUESTIONS
        files = [self.tokenizer_folder / "tokenizer.json", self.lexicon_file, tests]
        for path in [*files, questions] if "knowledge" in self.record else files:
            content.update(path.read_bytes() if path.exists() else b"")
        for language in self.languages:
            for document in self.tokens(language, "test").with_format("numpy")["input_ids"]:
                content.update(np.append(document, len(document)).astype(np.int64).tobytes())
        return {"tok": f"{self.record['vocabulary']}.{content.hexdigest()[:8]}", "v": __version__}

    @property
    def languages(self) -> list[str]:
        """The source language, then the targets."""
        return list(self.record["corpus"])

    @property
    def eos(self) -> int:
        """The token id of the document separator."""
        return int(self.tokenizer.eos_token_id)

    @property
    def bos(self) -> int | None:
        """The BOS id at the start of every document; None without BOS (`tokenizer.bos`)."""
        return self.record.get("bos")

    @property
    def before(self) -> int:
        """The id before a document's first token: its BOS, or else the EOS of the previous document."""
        return self.eos if self.bos is None else self.bos

    @property
    def vocab_size(self) -> int:
        """The number of embedding rows that the data need, including twin ids of a clone."""
        clone = any(is_clone(language) for language in self.languages)
        return clone_language(self.tokenizer).vocab_size if clone else rows(self.tokenizer)

    @cached_property
    def questions(self) -> list[Question]:
        """The questions about the made-up facts."""
        return load_questions(self.folder / "facts" / QUESTIONS)

    def tokens(self, language: str, split: str, *, source_ids: bool = False) -> Dataset:
        """Return the tokenised documents of a language and split. source_ids: a clone's documents in source ids."""
        stage = "facts" if split == FACTS else "tokens"
        return load_arrow(
            self.folder / stage / language / (f"{split}-source-ids" if source_ids and is_clone(language) else split)
        )

    def training_tokens(self, language: str, *, source_ids: bool = False) -> Dataset:
        """Return the training documents of a language, followed by its documents of made-up facts."""
        known = self.record.get("knowledge", {"text": {}})["text"]
        splits = ["train", *([FACTS] if language in known else [])]
        return concatenate_datasets([self.tokens(language, split, source_ids=source_ids) for split in splits])

    def training_size(self, language: str) -> int:
        """Return the number of tokens in `training_tokens`, with EOS (and BOS, if used) of each document."""
        facts = self.record.get("knowledge", {"text": {}})["text"].get(language)
        parts = [self.record["corpus"][language]["train"], *([facts] if facts else [])]
        frame = 1 if self.bos is None else 2
        return sum(part["tokens"] + frame * part["documents"] for part in parts)

    @property
    def training_sizes(self) -> dict[str, int]:
        """`training_size` of every language."""
        return {language: self.training_size(language) for language in self.languages}

    def token_counts(self, language: str) -> np.ndarray:
        """Return how often each embedding row (V,) occurs in the training text of a language."""
        counts = np.zeros(self.vocab_size, dtype=np.int64)
        for row in self.training_tokens(language).with_format("numpy"):
            counts += np.bincount(row["input_ids"], minlength=self.vocab_size)
        return counts

    def true_lexicon(self, recipe: Recipe, seed: int) -> tuple[Lexicon, Lexicon]:
        """Return the training and the held-out words of the dictionaries for a seed, both with true translations."""
        rest, held_out = split_names(self.lexicon)[0].split(recipe.lexicon.held_out, seed)
        return rest.sample(recipe.lexicon.coverage, seed), held_out

    def training_lexicon(self, recipe: Recipe, seed: int) -> tuple[Lexicon, Lexicon]:
        """Return the lexicons of `true_lexicon`. The training one also has wrong translations and the names of facts."""
        words, held_out = self.true_lexicon(recipe, seed)
        return words.shuffled(recipe.lexicon.wrong, seed).merge(split_names(self.lexicon)[1]), held_out

    def switching_lexicon(self, recipe: Recipe, training: Lexicon) -> tuple[Lexicon, dict[str, dict[str, int]]]:
        """Return the training lexicon plus the word forms that the recipe adds, and the sizes of the added forms by
        origin.

        Sizes are "entries", and "words": occurrences in the source's training text.
        """
        section, counts = recipe.lexicon, self.words
        added: dict[str, Lexicon] = {}
        whole = self.lexicon.merge(self.tests)  # with test words: they are not forms of other words, and get no forms
        if section.inflect:
            added[INFLECTED] = inflected(training, whole, counts, section.minimum_count)
        if key := key_of(section.normalise, self.lexicon.source):
            added[RESPELLED] = respelled(training, whole, counts, key)
        # Texts and test dictionaries may write a word in different cases, and `lookup` tells these apart.
        added = {name: forms.without((group.word for group in self.tests), key) for name, forms in added.items()}
        sizes = {
            name: {"entries": len(forms), "words": sum(form.count or 0 for form in forms)}
            for name, forms in added.items()
        }
        return reduce(Lexicon.merge, added.values(), training), sizes

    @cached_property
    def bitext(self) -> Mapping[str, TokenPairs]:
        """The parallel text of each target language that has some, read when it is first asked for."""
        return _Bitext(self.folder / "bitext", list(self.record.get("bitext", {})))

    def mixture(self, recipe: Recipe, shares: Mapping[str, float] | None) -> Mixture:
        """Return the training mixture of an arm, with these shares of tokens, without rewriters."""
        source_ids, chosen = recipe.mixture.clone_in_source_ids, mixture_languages(recipe)
        tokens = {language: self.training_tokens(language, source_ids=source_ids) for language in chosen}
        return Mixture(tokens=tokens, source=self.languages[0], eos=self.eos, shares=shares, bos=self.bos)


class _Bitext(Mapping[str, TokenPairs]):
    """Parallel text by target language, each read when it is first asked for."""

    def __init__(self, folder: Path, languages: Sequence[str]) -> None:
        self._folder, self._languages = folder, languages
        self._read: dict[str, TokenPairs] = {}

    def __getitem__(self, language: str) -> TokenPairs:
        if language not in self._languages:
            raise KeyError(language)
        if language not in self._read:
            self._read[language] = load_pairs(self._folder / language)
        return self._read[language]

    def __iter__(self) -> Iterator[str]:
        return iter(self._languages)

    def __len__(self) -> int:
        return len(self._languages)
