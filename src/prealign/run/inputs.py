"""What one arm with one seed trains on and begins with: its recipe, words, steps, models, validation blocks.

The budget is that of PreAlign: `align.steps` of stage 1 and `pretrain.steps` of stage 2, in FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from prealign.evaluation.retrieval.dynamics import Dynamics
from prealign.evaluation.retrieval.pairs import draw_pairs
from prealign.lexicon import Lexicon
from prealign.methods.alignment.objective import layer_slice
from prealign.methods.alignment.words import WordForms, word_forms
from prealign.methods.vocabulary.anchored import anchor_vocabulary, anchored_languages, estimate_anchors, word_pairs
from prealign.methods.vocabulary.new_rows import NewRows, new_rows
from prealign.recipe.arms import resolve_arm
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.text.blocks import text_blocks
from prealign.training.models import build_model, load_weights, model_shapes
from prealign.training.pretrain import budgeted_steps


@dataclass(frozen=True)
class ArmInputs:
    """An arm of `base` with one seed. `devices` train it together, each with the recipe's batch sizes."""

    arm: str
    seed: int
    base: Recipe
    prepared: Prepared
    devices: int = field(default=1, kw_only=True)

    @cached_property
    def recipe(self) -> Recipe:
        """The arm's own recipe."""
        return resolve_arm(self.base, self.arm)

    @cached_property
    def lexicons(self) -> tuple[Lexicon, Lexicon]:
        """Words for training and words held out, by seed."""
        return self.prepared.training_lexicon(self.recipe, self.seed)

    @cached_property
    def words(self) -> WordForms:
        """The training words in tokens."""
        return word_forms(self.lexicons[0], self.prepared.tokenizer)

    @cached_property
    def steps(self) -> int:
        """Steps of stage 2 that bring this arm to the budget of PreAlign."""
        reference, own = resolve_arm(self.base, "prealign"), self.recipe
        # Of an arm with a lexicon of its own the budget is that of the others all the same.
        shared = reference.lexicon == own.lexicon
        lexicon = None if shared else self.prepared.training_lexicon(reference, self.seed)[0]
        words = self.words if lexicon is None else word_forms(lexicon, self.prepared.tokenizer)
        model = model_shapes(own.model, **self._model_needs)
        if own.align.steps or own.sustain.weight:
            layer_slice(own.align.layers, model)  # what the model has no layer for shows before any training
        return budgeted_steps(reference, own, model, words, self.words, self.devices)

    def dynamics(self) -> list[Dynamics]:
        """What measures alignment over a stage; nothing without `evaluate.dynamics`, or for a merged clone."""
        own, section = self.recipe, self.recipe.evaluate
        if not section.dynamics or own.mixture.clone_ids == "merged":
            return []
        words = self.prepared.true_lexicon(own, self.seed)
        drawn = [draw_pairs(*words, language, section.dynamics_words, self.seed) for language in words[0].targets]
        pairs = [own_pairs for own_pairs in drawn if own_pairs.sources]
        return [Dynamics(self.prepared.tokenizer, pairs, section.dynamics, bos=own.align.bos)]

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
        return new_rows(word_pairs(self.words), pieces, len(self.prepared.tokenizer) - len(pieces))

    def start(self) -> Any:
        """Return the model that training starts from, its vocabulary anchored if the arm says so."""
        model = build_model(self.recipe.model, seed=self.seed, **self._model_needs)
        if self.new_rows:
            self.new_rows.write(model)
        return self.anchored(model, fresh=not self.recipe.model.pretrained)

    def load(self, folder: Path) -> Any:
        """Return the model that a stage saved in `folder`."""
        return load_weights(self.recipe.model, str(folder))

    def anchored(self, model: Any, *, fresh: bool) -> Any:
        """Return the model with its vocabulary anchored, if the arm says so; fresh: with residuals of 0."""
        anchor = self.recipe.anchor
        if not anchor.enabled:
            return model
        source, *targets = self.prepared.languages
        counts = {language: self.prepared.token_counts(language) for language in (source, *targets)}
        language = anchored_languages(
            counts[source], np.stack([counts[target] for target in targets]), anchor.frequency_ratio
        )
        anchors = estimate_anchors(
            word_pairs(self.words), language >= 0, rounds=anchor.em_rounds, sources_per_row=anchor.sources_per_row
        )
        return anchor_vocabulary(model, anchors, language, rate=anchor.residual_rate, fresh=fresh)

    def validation(self) -> dict[str, Dataset]:
        """Blocks of validation text by language, for the perplexity curves."""
        own, prepared = self.recipe, self.prepared
        merged = own.mixture.clone_ids == "merged"
        return {
            language: text_blocks(
                prepared.tokens(language, "validation", merged=merged),
                blocks=own.pretrain.validation_blocks,
                context=own.pretrain.context,
                eos=prepared.eos,
            )
            for language in prepared.languages
        }
