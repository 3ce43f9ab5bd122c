"""Stage 1: align words before any pretraining, with weight · L_align + lm_weight · L_LM in every step.

1. Blocks of the unswitched pretraining mixture feed L_LM (stage 2 reads the same documents again, from the beginning);
   batches of translation groups feed L_align.
2. Train with `AlignmentTrainer` for `align.steps` steps, from the model that the caller built.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback, TrainingArguments

from prealign.events import OnProgress
from prealign.methods.alignment.objective import AlignmentSteps, layer_slice
from prealign.methods.alignment.states import bos_id
from prealign.methods.alignment.words import WordForms, WordSizes
from prealign.methods.flops import BACKWARD, training_flops
from prealign.recipe.sections import Recipe
from prealign.text.words import Tokenizer
from prealign.training import launch
from prealign.training.forward import training_forward, with_word_states
from prealign.training.loop import run_trainer, training_arguments
from prealign.training.models import freeze_body
from prealign.training.trainer import AlignmentTrainer, collate


def words_flops(model: Any, groups: float, words: WordSizes, devices: int = 1, *, freeze_body: bool = False) -> float:
    """Return the training FLOPs of L_align on `groups` translation groups a device: word forwards, similarities, backward.

    FLOPs are those of one device. A batch never holds a group twice. Forms count as if each stood alone: not what attention
    computes between forms of a row and masks, nor unused places.
    """
    groups = min(groups, words.groups)
    length = words.mean_tokens_per_group / words.mean_forms_per_group
    tokens = groups * words.mean_tokens_per_group
    encode = training_flops(model, tokens, length, logits=False, freeze_body=freeze_body)
    return encode + similarity_flops(model, groups, words, devices)


def similarity_flops(model: Any, groups: float, words: WordSizes, devices: int = 1) -> float:
    """Return the part of the same that the similarities take, in float32 whatever the precision of the model.

    2 · W² · D a layer, and twice that for its gradient, of which a batch in one tile saves half; L + 2 layers are counted,
    tied or not. Each device scores the forms of all.
    """
    forms, config = devices * min(groups, words.groups) * words.mean_forms_per_group, model.config
    return (1 + BACKWARD) * (config.num_hidden_layers + 2) * 2 * forms**2 * config.hidden_size


def align_step_flops(model: Any, recipe: Recipe, words: WordSizes, devices: int = 1) -> float:
    """Return the FLOPs of one step of stage 1 on one device of `devices`."""
    section, context, frozen = recipe.align, recipe.pretrain.context, recipe.align.freeze_body
    tokens = section.lm_batch_size * context if section.lm_weight else 0
    text = training_flops(model, tokens, context, freeze_body=frozen)
    return text + words_flops(model, section.pairs_per_batch, words, devices, freeze_body=frozen)


def align_step_tokens(recipe: Recipe, words: WordSizes) -> float:
    """Return the tokens, of text and of words, that a device reads in one step of stage 1."""
    section = recipe.align
    text = section.lm_batch_size * recipe.pretrain.context if section.lm_weight else 0
    return text + min(section.pairs_per_batch, words.groups) * words.mean_tokens_per_group


def alignment_trainer(
    model: Any,
    tokenizer: Tokenizer,
    words: WordForms,
    blocks: Dataset,
    validation: dict[str, Dataset],
    recipe: Recipe,
    arguments: TrainingArguments,
    *,
    batch_size: int,
    groups: int,
    weight: float,
    lm_weight: float = 1.0,
    every: int = 1,
) -> AlignmentTrainer:
    """Return what trains with L_align of `groups` groups in every `every`-th step, taken as `align` of the recipe says."""
    section, seed, ranks = recipe.align, arguments.seed, arguments.world_size
    return AlignmentTrainer(
        with_word_states(training_forward(model, recipe.trainer)),
        arguments,
        data_collator=collate,
        train_dataset=AlignmentSteps(
            blocks, words, batch_size=batch_size, groups=groups, every=every, seed=seed, ranks=ranks
        ),
        eval_dataset=validation,
        weight=weight,
        lm_weight=lm_weight,
        temperature=section.temperature,
        layers=layer_slice(section.layers, model),
        bos=bos_id(tokenizer) if section.bos else None,
        micro_pairs=section.micro_pairs,
    )


def align(
    model: Any,
    tokenizer: Tokenizer,
    words: WordForms,
    blocks: Dataset,
    validation: dict[str, Dataset],
    recipe: Recipe,
    seed: int,
    folder: Path,
    on_progress: OnProgress,
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, Any]:
    """Train stage 1 in place. Returns its record, as `run_trainer`; tokens are those of text and words.

    folder: scratch space, where a whole checkpoint of the same training is gone on from. Under a launcher tokens and FLOPs
    are those of all devices.
    """
    section = recipe.align
    if section.freeze_body:
        freeze_body(model)
    trainer = alignment_trainer(
        model,
        tokenizer,
        words,
        blocks,
        validation,
        recipe,
        training_arguments(recipe, folder, section, steps=section.steps, batch_size=1, seed=seed),
        batch_size=section.lm_batch_size,
        groups=section.pairs_per_batch,
        weight=section.weight,
        lm_weight=section.lm_weight,
    )
    return run_trainer(
        trainer,
        "align",
        on_progress,
        tokens=align_step_tokens(recipe, words),
        flops=align_step_flops(model, recipe, words, launch.count()),
        callbacks=callbacks,
        checkpoint=recipe.checkpoint,
    )
