"""What one arm with one seed trains on and begins with: its recipe, words, phases, models, validation blocks.

The budget is that of PreAlign: `align.steps` of stage 1 and `pretrain.steps` of stage 2, in FLOPs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from prealign.errors import RecipeError
from prealign.evaluation.retrieval.dynamics import Dynamics
from prealign.evaluation.retrieval.pairs import draw_pairs
from prealign.lexicon import Lexicon
from prealign.methods.alignment.words import WordForms, word_forms
from prealign.methods.phase import Phase, budget_of, settled
from prealign.methods.vocabulary.anchored import word_pairs
from prealign.methods.vocabulary.new_rows import NewRows, new_rows
from prealign.recipe.arms import resolve_arm
from prealign.recipe.registry import load_method, method_settings
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.text.bitext import TokenPairs
from prealign.text.blocks import text_blocks
from prealign.text.words import Tokenizer
from prealign.training.models import build_model, load_weights, model_shapes

REFERENCE = "prealign"
"""The arm whose FLOPs are the budget of all."""


def arm_phases(recipe: Recipe, inputs: Any) -> list[Phase]:
    """Return the phases of an arm, whose recipe this is, with the steps of one left to the budget.

    RecipeError if one reads parallel text and the clone has the source's ids.
    """
    phases: list[Phase] = load_method(recipe.method)().phases(method_settings(recipe), inputs)
    if recipe.mixture.clone_in_source_ids and any(phase.bitext for phase in phases):
        raise RecipeError(
            "mixture.clone_ids: 'merged' gives the clone the source's ids, so its parallel text would repeat each sentence; "
            "set 'twin' for an arm that trains on parallel text"
        )
    return phases


@dataclass(frozen=True)
class ArmInputs:
    """An arm of `base` with one seed, as `prealign.methods.phase.Inputs`; `devices` train it together, each with the
    recipe's batch sizes.
    """

    arm: str
    seed: int
    base: Recipe
    prepared: Prepared
    devices: int = field(default=1, kw_only=True)

    @cached_property
    def recipe(self) -> Recipe:
        """The arm's recipe."""
        return resolve_arm(self.base, self.arm)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of all languages."""
        return self.prepared.tokenizer

    @property
    def languages(self) -> Sequence[str]:
        """The source language, then the targets."""
        return self.prepared.languages

    @cached_property
    def lexicons(self) -> tuple[Lexicon, Lexicon]:
        """Words for training and words held out, by seed."""
        return self.prepared.training_lexicon(self.recipe, self.seed)

    @property
    def training_lexicon(self) -> Lexicon:
        """Words for training."""
        return self.lexicons[0]

    @cached_property
    def _switching(self) -> tuple[Lexicon, dict[str, dict[str, int]]]:
        return self.prepared.switching_lexicon(self.recipe, self.training_lexicon)

    @property
    def switching_lexicon(self) -> Lexicon:
        """Words for training and the forms that the recipe adds to them."""
        return self._switching[0]

    @property
    def added_forms(self) -> dict[str, dict[str, int]]:
        """Entries and words of the forms that the recipe adds, by origin."""
        return self._switching[1]

    @cached_property
    def words(self) -> WordForms:
        """The words for training in tokens."""
        return word_forms(self.training_lexicon, self.tokenizer)

    @property
    def token_counts(self) -> Mapping[str, np.ndarray]:
        """How often each embedding row (V,) occurs in a language's training text."""
        return _TokenCounts(self.prepared)

    @property
    def bitext(self) -> Mapping[str, TokenPairs]:
        """The parallel text of each target language that has some."""
        return self.prepared.bitext

    @cached_property
    def phases(self) -> list[Phase]:
        """The phases of this arm, with the steps that bring it to the budget of all."""
        reference = ArmInputs(REFERENCE, self.seed, self.base, self.prepared, devices=self.devices)
        if reference.recipe.lexicon == self.recipe.lexicon:
            vars(reference)["words"] = self.words  # the same lexicon is encoded once
        model = model_shapes(self.recipe.model, **self._model_needs)
        own = arm_phases(self.recipe, self)
        for phase in own:
            phase.check(model)  # what the model has no layer for shows before any training
        steps = reference.recipe.pretrain.steps
        budget = budget_of(arm_phases(reference.recipe, reference), model, steps, self.devices)
        return settled(own, model, budget, self.devices)

    def phase(self, name: str) -> Phase:
        """Return the phase of a stage."""
        return next(phase for phase in self.phases if phase.name == name)

    def dynamics(self) -> list[Dynamics]:
        """What measures alignment over a stage; nothing without `evaluate.dynamics`, or for a clone in source ids."""
        own, section = self.recipe, self.recipe.evaluate
        if not section.dynamics or own.mixture.clone_in_source_ids:
            return []
        words = self.prepared.true_lexicon(own, self.seed)
        drawn = [draw_pairs(*words, language, section.dynamics_words, self.seed) for language in words[0].targets]
        pairs = [own_pairs for own_pairs in drawn if own_pairs.sources]
        return [Dynamics(self.tokenizer, pairs, section.dynamics, bos=own.align.bos)]

    @property
    def _model_needs(self) -> dict[str, int]:
        prepared, context = self.prepared, self.recipe.pretrain.context
        return {"vocab_size": prepared.vocab_size, "context": context, "eos_token_id": prepared.eos}

    @cached_property
    def new_rows(self) -> NewRows | None:
        """What tokens added to a pretrained model's tokenizer begin with: the same for arms with the same training words."""
        pieces = self.prepared.new_tokens
        if not pieces or not self.recipe.model.pretrained:
            return None
        return new_rows(word_pairs(self.words), pieces, len(self.tokenizer) - len(pieces))

    def model_before(self, phase: Phase, folder: Path | None) -> Any:
        """Return the model that a phase begins with: the one that the phase before saved in `folder`, or the initial one."""
        if folder is not None:
            model, fresh = self.load(folder), False
        else:
            model = build_model(self.recipe.model, seed=self.seed, **self._model_needs)
            if self.new_rows:
                self.new_rows.write(model)
            fresh = not self.recipe.model.pretrained
        for initialisation in phase.initialisations:
            initialisation.apply(model, fresh=fresh)
        return model

    def load(self, folder: Path) -> Any:
        """Return the model that a stage saved in `folder`."""
        return load_weights(self.recipe.model, str(folder))

    def validation(self) -> dict[str, Dataset]:
        """Blocks of validation text by language, for the perplexity curves."""
        section, prepared = self.recipe.pretrain, self.prepared
        source_ids = self.recipe.mixture.clone_in_source_ids
        return {
            language: text_blocks(
                prepared.tokens(language, "validation", source_ids=source_ids),
                blocks=section.validation_blocks,
                context=section.context,
                eos=prepared.eos,
            )
            for language in prepared.languages
        }


class _TokenCounts(Mapping[str, np.ndarray]):
    """Counts of tokens by language, each made when it is asked for."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared

    def __getitem__(self, language: str) -> np.ndarray:
        return self._prepared.token_counts(language)

    def __iter__(self) -> Iterator[str]:
        return iter(self._prepared.languages)

    def __len__(self) -> int:
        return len(self._prepared.languages)


def plain(model: Any, phase: Phase) -> Any:
    """Turn the weights of a model that `phase` began with into plain ones. Returns the model."""
    for initialisation in reversed(phase.initialisations):
        initialisation.export(model)
    return model
