"""The data that all arms of a run share, read from its folder as needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datasets import Dataset, concatenate_datasets
from transformers import AutoTokenizer

from prealign import __version__
from prealign.evaluation.knowledge.facts import Question, load_questions
from prealign.evaluation.knowledge.teaching import FACTS, split_names
from prealign.evaluation.retrieval.queries import AskedWords
from prealign.files import read_json
from prealign.languages import is_clone
from prealign.lexicon import Lexicon
from prealign.lexicon.forms import INFLECTED, RESPELLED, inflected, respelled
from prealign.lexicon.normalise import key_of
from prealign.recipe.sections import Recipe
from prealign.run.dictionaries import tested_words
from prealign.text.arrow import load_arrow
from prealign.text.blocks import Mixture, token_shares
from prealign.text.clone import clone_language
from prealign.text.words import Tokenizer, rows

_NEW_TOKENS = "new-tokens.json"


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
    def new_tokens(self) -> list[list[int]]:
        """What each token that the run added stood for, in ids of the tokenizer before; none without `tokenizer.extend`."""
        path = self.folder / _NEW_TOKENS
        return read_json(path) if path.exists() else []

    @cached_property
    def lexicon(self) -> Lexicon:
        """The whole lexicon; an arm takes its part by seed."""
        return Lexicon.load(self.folder / "lexicon.jsonl")

    @cached_property
    def tests(self) -> Lexicon:
        """The test dictionaries, whose words are in no lexicon of training."""
        path = self.folder / "tests.jsonl"
        return Lexicon.load(path) if path.exists() else Lexicon([], source=self.languages[0], targets=[])

    def tested_words(self, recipe: Recipe) -> dict[str, AskedWords]:
        """Return what is asked for of each test dictionary, by target language."""
        if not self.tests.targets:
            return {}
        counts, counted = (read_json(self.folder / name) for name in ("words.json", "target-words.json"))
        return tested_words(recipe, self.tests, counts, counted)

    @property
    def mark(self) -> str:
        """Fingerprint of everything in the folder."""
        return self.record["fingerprint"]

    @cached_property
    def identity(self) -> dict[str, str]:
        """What ends every signature: the version, and the tokenizer: its size, and a hash of it and of what it tests.

        That is the lexicon, the questions and the test text. Files of the same content give the same on any machine, where
        `mark` does not: it goes by their times.
        """
        content = xxhash.xxh3_64()
        for name in ("tokenizer/tokenizer.json", "lexicon.jsonl", "tests.jsonl", "facts.jsonl"):
            path = self.folder / name
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
        """The document separator."""
        return int(self.tokenizer.eos_token_id)

    @property
    def vocab_size(self) -> int:
        """Embedding rows needed: the clone's twins count."""
        clone = any(is_clone(language) for language in self.languages)
        return clone_language(self.tokenizer).vocab_size if clone else rows(self.tokenizer)

    @cached_property
    def questions(self) -> list[Question]:
        """What is asked about the made-up facts."""
        return load_questions(self.folder / "facts.jsonl")

    def tokens(self, language: str, split: str, *, merged: bool = False) -> Dataset:
        """Return tokenised documents; `merged` gives a clone's in source ids."""
        folder = self.folder / "tokens" / language / (f"{split}-merged" if merged and is_clone(language) else split)
        return load_arrow(folder)

    def training_tokens(self, language: str, *, merged: bool = False) -> Dataset:
        """Return all that is trained on: the training documents, then those of made-up facts."""
        known = self.record.get("knowledge", {"text": {}})["text"]
        splits = ["train", *([FACTS] if language in known else [])]
        return concatenate_datasets([self.tokens(language, split, merged=merged) for split in splits])

    def training_size(self, language: str) -> int:
        """Return the tokens of `training_tokens`, with one EOS a document."""
        facts = self.record.get("knowledge", {"text": {}})["text"].get(language)
        parts = [self.record["corpus"][language]["train"], *([facts] if facts else [])]
        return sum(part["tokens"] + part["documents"] for part in parts)

    def token_counts(self, language: str) -> np.ndarray:
        """Return how often each embedding row (V,) occurs in a language's training text."""
        counts = np.zeros(self.vocab_size, dtype=np.int64)
        for row in self.training_tokens(language).with_format("numpy"):
            counts += np.bincount(row["input_ids"], minlength=self.vocab_size)
        return counts

    def true_lexicon(self, recipe: Recipe, seed: int) -> tuple[Lexicon, Lexicon]:
        """Return the dictionary's words that both stages of a seed may use, and those held out, rightly translated."""
        rest, held_out = split_names(self.lexicon)[0].split(recipe.lexicon.held_out, seed)
        return rest.sample(recipe.lexicon.coverage, seed), held_out

    def training_lexicon(self, recipe: Recipe, seed: int) -> tuple[Lexicon, Lexicon]:
        """Return the same, the words for training with the recipe's wrong translations, and with the facts' names."""
        words, held_out = self.true_lexicon(recipe, seed)
        return words.shuffled(recipe.lexicon.wrong, seed).merge(split_names(self.lexicon)[1]), held_out

    def switching_lexicon(self, recipe: Recipe, training: Lexicon) -> tuple[Lexicon, dict[str, dict[str, int]]]:
        """Return the words for training with the forms that the recipe adds, and how many of each origin: entries, and
        the words of the source's text that they are.
        """
        section, counts = recipe.lexicon, read_json(self.folder / "words.json")
        added: dict[str, Lexicon] = {}
        whole = self.lexicon.merge(self.tests)  # a word that is tested is nobody's form, and has none
        if section.inflect:
            added[INFLECTED] = inflected(training, whole, counts, section.minimum_count)
        if key := key_of(section.normalise, self.lexicon.source):
            added[RESPELLED] = respelled(training, whole, counts, key)
        sizes = {
            name: {"entries": len(forms), "words": sum(form.count or 0 for form in forms)}
            for name, forms in added.items()
        }
        return reduce(Lexicon.merge, added.values(), training), sizes

    def mixture(self, recipe: Recipe) -> Mixture:
        """Return the training mixture of an arm, unswitched."""
        source, *targets = self.languages
        chosen = targets if recipe.mixture.languages == "targets" else [source, *targets]
        merged = recipe.mixture.clone_ids == "merged"
        tokens = {language: self.training_tokens(language, merged=merged) for language in chosen}
        sizes = {language: self.training_size(language) for language in chosen}
        shares = token_shares(sizes, recipe.mixture.temperature, recipe.mixture.weights)
        return Mixture(tokens=tokens, source=source, eos=self.eos, shares=shares)
