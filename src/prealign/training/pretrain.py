"""Stage 2: ordinary causal-LM pretraining on switched, packed blocks.

1. Without sustained alignment it is the stock `transformers.Trainer` on the blocks: input-only switching lives in their
   labels and nowhere else.
2. With it, `AlignmentTrainer` adds sustain.weight · L_align of a small batch of groups to every `sustain.every`-th step.
3. With an anchored vocabulary the embeddings are parametrised before and written out plainly after training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import Trainer, TrainerCallback

from prealign.errors import RecipeError
from prealign.events import OnProgress
from prealign.methods.alignment.words import WordForms, WordSizes
from prealign.methods.flops import training_flops
from prealign.recipe.sections import Recipe
from prealign.text.words import Tokenizer
from prealign.training import launch
from prealign.training.align import align_step_flops, alignment_trainer, words_flops
from prealign.training.forward import training_forward
from prealign.training.loop import run_trainer, training_arguments
from prealign.training.models import freeze_body


def pretrain_step_flops(model: Any, recipe: Recipe, words: WordSizes | None, devices: int = 1) -> float:
    """Return the FLOPs of one step of stage 2 on one device of `devices`, averaged over steps with and without L_align."""
    context, frozen = recipe.pretrain.context, recipe.pretrain.freeze_body
    text = training_flops(model, recipe.pretrain.batch_size * context, context, freeze_body=frozen)
    if words is None or not recipe.sustain.weight:
        return text
    aligned = words_flops(model, recipe.sustain.groups, words, devices, freeze_body=frozen)
    return text + aligned / recipe.sustain.every


def pretrain_step_tokens(recipe: Recipe, words: WordSizes | None) -> float:
    """Return the tokens, of text and of words, that a device reads in one step of stage 2 on average."""
    section, sustain = recipe.pretrain, recipe.sustain
    tokens: float = section.batch_size * section.context
    if words is None or not sustain.weight:
        return tokens
    return tokens + min(sustain.groups, words.groups) * words.mean_tokens_per_group / sustain.every


def budgeted_steps(
    reference: Recipe, own: Recipe, model: Any, words: WordSizes, own_words: WordSizes, devices: int = 1
) -> int:
    """Return the steps of stage 2 that bring an arm to the budget of PreAlign, whose recipe is `reference`.

    words: those of PreAlign; own_words: those of the arm, which may have a lexicon of its own.
    """
    budget = reference.align.steps * align_step_flops(model, reference, words, devices)
    budget += reference.pretrain.steps * pretrain_step_flops(model, reference, None)
    spent = own.align.steps * align_step_flops(model, own, own_words, devices) if own.align.steps else 0.0
    return matched_steps(budget, spent, pretrain_step_flops(model, own, own_words, devices))


def matched_steps(budget: float, spent: float, step: float) -> int:
    """Return how many steps of `step` FLOPs the budget leaves after `spent`. RecipeError if that is none."""
    # Sums of FLOPs are not exact: what is whole but for rounding is whole.
    steps = math.floor((budget - spent) / step + 1e-6)
    if steps < 1:
        raise RecipeError(
            f"stage 1 of this arm takes {spent:.3g} FLOPs of a budget of {budget:.3g} and leaves no step of stage 2. "
            "The budget is `align.steps` and `pretrain.steps` of the recipe; lower the arm's own align.steps."
        )
    return steps


def pretrain(
    model: Any,
    tokenizer: Tokenizer,
    words: WordForms | None,
    blocks: Dataset,
    validation: dict[str, Dataset],
    recipe: Recipe,
    steps: int,
    seed: int,
    folder: Path,
    on_progress: OnProgress,
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, Any]:
    """Train stage 2 in place. Returns its record, as `run_trainer`; tokens are those of text and words.

    words: the lexicon's forms for sustained alignment; unused, and may be None, without it. folder: scratch space, where a
    whole checkpoint of the same training is gone on from. Under a launcher tokens and FLOPs are those of all devices.
    """
    section, sustain = recipe.pretrain, recipe.sustain
    aligned = words if sustain.weight else None
    size = section.batch_size if aligned is None else 1  # there an example is a whole step
    arguments = training_arguments(recipe, folder, section, steps=steps, batch_size=size, seed=seed)
    if section.freeze_body:
        freeze_body(model)
    trainer: Trainer
    if aligned is not None:
        trainer = alignment_trainer(
            model,
            tokenizer,
            aligned,
            blocks,
            validation,
            recipe,
            arguments,
            batch_size=section.batch_size,
            groups=sustain.groups,
            weight=sustain.weight,
            every=sustain.every,
        )
    else:
        model = training_forward(model, recipe.trainer)
        # As arrays: rows would be Python lists, and a batch made of them number by number.
        trainer = Trainer(model, arguments, train_dataset=blocks.with_format("numpy"), eval_dataset=validation)
    return run_trainer(
        trainer,
        "pretrain",
        on_progress,
        tokens=pretrain_step_tokens(recipe, words),
        flops=pretrain_step_flops(model, recipe, words, launch.count()),
        callbacks=callbacks,
        checkpoint=recipe.checkpoint,
    )
