"""The inputs of one arm with one seed: recipe, words, phases, initial models, validation blocks.

1. Resolve the recipe of the arm.
2. Compute the budget: the FLOPs of the arm `prealign`, `align.steps` of stage 1 plus `pretrain.steps` of stage 2.
3. Fill in the steps that this budget leaves to the arm's main phase.
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
from prealign.methods.budget import budget_of, settled
from prealign.methods.phase import MAIN, Phase
from prealign.methods.vocabulary.anchored import word_pairs
from prealign.methods.vocabulary.new_rows import NewRows, new_rows
from prealign.recipe.arms import resolve_arm
from prealign.recipe.registry import load_method, method_settings
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.reading import Reading, balance, main_reading, text_tokens
from prealign.text.arrow import parts, read_tokens
from prealign.text.bitext import TokenPairs
from prealign.text.blocks import text_blocks
from prealign.text.shares import Balance
from prealign.text.words import Tokenizer
from prealign.training.models import build_model, load_weights, model_shapes

REFERENCE = "prealign"
"""The arm whose FLOPs are the budget of all arms."""


def arm_phases(recipe: Recipe, inputs: Any) -> list[Phase]:
    """Return the phases of the arm with this recipe. The main phase has no steps yet: the budget decides them.

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
    """The inputs (`prealign.methods.phase.Inputs`) of one arm of the recipe `base` with one seed.

    devices: number of devices that train the arm together, each with the batch sizes of the recipe.
    """

    arm: str
    seed: int
    base: Recipe
    prepared: Prepared
    devices: int = field(default=1, kw_only=True)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe with the settings of the arm."""
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
        """The training lexicon and the held-out lexicon, drawn by seed."""
        return self.prepared.training_lexicon(self.recipe, self.seed)

    @property
    def training_lexicon(self) -> Lexicon:
        """The training lexicon, without held-out and test words."""
        return self.lexicons[0]

    @cached_property
    def _switching(self) -> tuple[Lexicon, dict[str, dict[str, int]]]:
        return self.prepared.switching_lexicon(self.recipe, self.training_lexicon)

    @property
    def switching_lexicon(self) -> Lexicon:
        """The training lexicon plus the word forms that the recipe adds."""
        return self._switching[0]

    @property
    def added_forms(self) -> dict[str, dict[str, int]]:
        """Sizes of the added word forms by origin: "entries", and "words" (occurrences in the source's training text)."""
        return self._switching[1]

    @cached_property
    def words(self) -> WordForms:
        """The word forms of the training lexicon in token ids."""
        return word_forms(self.training_lexicon, self.tokenizer)

    @property
    def token_counts(self) -> Mapping[str, np.ndarray]:
        """For each language, how often each embedding row (V,) occurs in its training text."""
        return _TokenCounts(self.prepared)

    @property
    def bitext(self) -> Mapping[str, TokenPairs]:
        """The parallel text of each target language that has some."""
        return self.prepared.bitext

    @property
    def training_sizes(self) -> Mapping[str, int]:
        """Tokens of each language's training text, with one EOS a document."""
        return self.prepared.training_sizes

    def training_ids(self, language: str) -> Iterator[np.ndarray]:
        """Yield the token ids (T,) of each training document in a language that the arm reads; none in others."""
        tokens = self.prepared.mixture(self.recipe, None).tokens.get(language)
        for rows in parts(tokens) if tokens else ():
            yield from (ids for ids, _ in read_tokens(tokens, rows))

    @cached_property
    def _shapes(self) -> Any:
        return model_shapes(self.recipe.model, **self._model_needs)

    @cached_property
    def budget(self) -> float:
        """The FLOPs per device of every arm: those of the reference arm, at most."""
        reference = ArmInputs(REFERENCE, self.seed, self.base, self.prepared, devices=self.devices)
        if reference.recipe.lexicon == self.recipe.lexicon:
            vars(reference)["words"] = self.words  # encode the same lexicon only once
        steps = reference.recipe.pretrain.steps
        return budget_of(arm_phases(reference.recipe, reference), self._shapes, steps, self.devices)

    @cached_property
    def phases(self) -> list[Phase]:
        """The phases of the arm. The main phase has the steps that match the common budget, if no phase ends early."""
        return self.phases_after({})

    def phases_after(self, spent: Mapping[str, float]) -> list[Phase]:
        """Return the phases of the arm after some of them took these FLOPs per device, by name."""
        phases = arm_phases(self.recipe, self)
        for phase in phases:
            phase.check(self._shapes)  # fail before any training if an objective cannot train this model
        return settled(phases, self._shapes, self.budget, self.devices, arm=self.arm, spent=spent)

    def phase(self, name: str) -> Phase:
        """Return the phase of a stage."""
        return next(phase for phase in self.phases if phase.name == name)

    @cached_property
    def reading(self) -> dict[str, Reading]:
        """What the main phase reads of each language. RecipeError if `mixture.passes` need more than it reads."""
        return main_reading(self.recipe, self.prepared.training_sizes, text_tokens(self.phase(MAIN), self.devices))

    @property
    def shares(self) -> dict[str, float] | None:
        """The shares of tokens of all phases, by language; None: every document equally often."""
        if balance(self.recipe.mixture) == Balance():
            return None
        return {language: own.share for language, own in self.reading.items()}

    def dynamics(self) -> list[Dynamics]:
        """Return the callbacks that measure alignment during a stage.

        Empty without `evaluate.dynamics`, and for a clone in source ids, whose words are the same tokens on both sides.
        """
        recipe, section = self.recipe, self.recipe.evaluate
        if not section.dynamics or recipe.mixture.clone_in_source_ids:
            return []
        words = self.prepared.true_lexicon(recipe, self.seed)
        drawn = [draw_pairs(*words, language, section.dynamics_words, self.seed) for language in words[0].targets]
        pairs = [of_language for of_language in drawn if of_language.sources]
        return [Dynamics(self.tokenizer, pairs, section.dynamics, bos=recipe.align.bos)]

    @property
    def _model_needs(self) -> dict[str, int]:
        prepared, context = self.prepared, self.recipe.pretrain.context
        return {"vocab_size": prepared.vocab_size, "context": context, "eos_token_id": prepared.eos}

    @cached_property
    def new_rows(self) -> NewRows | None:
        """Initial rows of tokens added to a pretrained model's tokenizer; None without such tokens.

        Arms with the same training lexicon have the same rows.
        """
        pieces = self.prepared.new_tokens
        if not pieces or not self.recipe.model.pretrained:
            return None
        return new_rows(word_pairs(self.words), pieces, len(self.tokenizer) - len(pieces))

    def start_record(self, phase: Phase) -> dict[str, Any]:
        """Return what was done to the embeddings before a phase, as entries of its record."""
        done = [record for initialisation in phase.initialisations if (record := initialisation.record())]
        new = {"new_rows": self.new_rows.as_dict()} if self.new_rows and phase.name == MAIN else {}
        return new | ({"initialisations": done} if done else {})

    def model_before(self, phase: Phase, folder: Path | None) -> Any:
        """Return the model at the start of a phase: loaded from `folder` of the previous phase, or the initial model."""
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
        """Return the model that a stage has saved in `folder`."""
        return load_weights(self.recipe.model, str(folder))

    def validation(self) -> dict[str, Dataset]:
        """Return blocks of validation text by language, for perplexity curves."""
        section, prepared = self.recipe.pretrain, self.prepared
        source_ids = self.recipe.mixture.clone_in_source_ids
        return {
            language: text_blocks(
                prepared.tokens(language, "validation", source_ids=source_ids),
                blocks=section.validation_blocks,
                context=section.context,
                eos=prepared.eos,
                bos=prepared.bos,
            )
            for language in prepared.languages
        }


class _TokenCounts(Mapping[str, np.ndarray]):
    """Token counts (V,) by language, each computed on access."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared

    def __getitem__(self, language: str) -> np.ndarray:
        return self._prepared.token_counts(language)

    def __iter__(self) -> Iterator[str]:
        return iter(self._prepared.languages)

    def __len__(self) -> int:
        return len(self._prepared.languages)


def plain(model: Any, phase: Phase) -> Any:
    """Undo the initialisations of `phase`, in place, so that the weights are plain. Returns the model."""
    for initialisation in reversed(phase.initialisations):
        initialisation.export(model)
    return model


def earlier_stage(phase: Phase) -> str:
    """Return the stage in scores of the model after a phase that another phase follows.

    Arms are compared in the scores of their final models, which have the stage MAIN in every arm.
    """
    return f"{MAIN}_alone" if phase.name == MAIN else phase.name
