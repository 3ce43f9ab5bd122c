"""What a run gives a method to make its phases from: words, text and sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from prealign.errors import RecipeError
from prealign.lexicon import Lexicon
from prealign.methods.alignment.words import WordForms, WordSizes
from prealign.text.bitext import TokenPairs
from prealign.text.words import Tokenizer


class Inputs(Protocol):
    """The data that a run gives a method. Each property is computed at its first use."""

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer of all languages. None while no tokenizer exists yet, as in `prealign plan`."""

    @property
    def languages(self) -> Sequence[str]:
        """Return the source language, then the targets."""

    @property
    def seed(self) -> int:
        """Return the seed of the arm."""

    @property
    def words(self) -> WordForms | WordSizes:
        """Return the word forms of the training lexicon in token ids; in `prealign plan` only their sizes."""

    @property
    def training_lexicon(self) -> Lexicon:
        """Return the arm's training lexicon, without held-out and test words."""

    @property
    def switching_lexicon(self) -> Lexicon:
        """Return the training lexicon plus the inflected forms that the recipe adds (`lexicon.inflect`)."""

    @property
    def bitext(self) -> Mapping[str, TokenPairs]:
        """Return the parallel text of each target language that has some: (sentences of the source, their translations) in
        token ids without special tokens. Empty without `bitext` in the recipe; sizes alone when a run is planned.
        """

    @property
    def token_counts(self) -> Mapping[str, np.ndarray]:
        """Return for each language how often each embedding row (V,) occurs in its training text."""

    @property
    def training_sizes(self) -> Mapping[str, int]:
        """Return the number of tokens in each language's training text; empty in a plan without data."""

    def training_ids(self, language: str) -> Iterator[np.ndarray]:
        """Yield the token ids (T,) of each training document in `language`; none if the arm does not read it."""


def required_bitext(inputs: Inputs, method: str) -> Mapping[str, TokenPairs]:
    """Return the parallel text; RecipeError, which names the method, if the recipe has none."""
    if not inputs.bitext:
        raise RecipeError(
            f"{method} trains on parallel text, and the recipe has none: add `bitext: {{files: [{{target: de, "
            "source_file: FILE, target_file: FILE}]}`, or `bitext: {}` for a clone"
        )
    return inputs.bitext
