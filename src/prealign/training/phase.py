"""Train one phase of an arm: from a model, objectives and blocks of text to a trained model and its record.

1. Freeze the body if the phase asks for it, and install the training forward (`prealign.training.forward`).
2. Without objectives, train with the stock loss of `transformers.Trainer` on the blocks: their input_ids and labels already
   hold the work of the rewriter. With objectives, train with `PhaseTrainer`, where an example is a whole step.
3. Return the record. Its steps, tokens, tokens of text (`lm_tokens`) and FLOPs count all devices; the FLOPs include those of
   the initialisations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from prealign.events import OnProgress
from prealign.methods.phase import Phase
from prealign.recipe.sections import CheckpointSection
from prealign.training import launch
from prealign.training.finite import Remedies
from prealign.training.forward import check_fused_loss, training_forward, with_objectives
from prealign.training.loop import run_trainer, training_arguments
from prealign.training.models import freeze_body
from prealign.training.optimiser import OptimisedTrainer
from prealign.training.trainer import PhaseSteps, PhaseTrainer, collate


def train(
    phase: Phase,
    model: Any,
    blocks: Dataset,
    validation: dict[str, Dataset],
    *,
    seed: int,
    folder: Path,
    on_progress: OnProgress,
    trainer: Mapping[str, Any] | None = None,
    checkpoint: CheckpointSection | None = None,
    eval_batch_size: int = 32,
    validations: int = 1,
    callbacks: Sequence[TrainerCallback] = (),
    at_start: str = "check the model that it starts from",
) -> dict[str, Any]:
    """Train `model` in place for one phase and return the record (see `run_trainer`).

    blocks: text_steps · batch_size · devices rows of input_ids and labels (context,), in reading order. validation: blocks
    by language, measured `validations` times. folder: scratch folder; a whole checkpoint of this training in it is
    resumed. trainer: further arguments of `transformers.TrainingArguments`. at_start: what to do if numbers are not
    finite before the first update. Raises RecipeError if an objective cannot train this model, DivergedError at the
    first number that is not finite, PrealignError if training stops early.
    """
    assert phase.steps, "call `settled` first: the phase has no number of steps"
    settings = dict(trainer or {})
    check_fused_loss([term.objective for term in phase.terms], settings)
    arguments = training_arguments(
        settings,
        folder,
        phase,
        steps=phase.steps,
        batch_size=1 if phase.terms else phase.batch_size,
        seed=seed,
        eval_batch_size=eval_batch_size,
        validations=validations,
        # Objectives alone leave some weights without a gradient, for example the bias of an output embedding.
        every_weight_used=bool(phase.lm_weight) and phase.lm_every == 1,
    )
    if phase.freeze_body:
        freeze_body(model)
    phase.check(model)
    cost, start = phase.cost(model, launch.count()), phase.start_cost(model).flops
    record = run_trainer(
        _trainer(phase, training_forward(model, settings), arguments, blocks, validation),
        phase.name,
        on_progress,
        tokens=cost.tokens,
        flops=cost.flops,
        remedies=Remedies(
            moved=f"lower {phase.name}.learning_rate",
            start=at_start,
            parts={f"{part}_loss": what for term in phase.terms for part, what in term.objective.remedies.items()},
        ),
        callbacks=callbacks,
        checkpoint=checkpoint,
    )
    text = phase.steps * phase.text_tokens * launch.count()
    return record | {"flops": record["flops"] + launch.count() * start, "lm_tokens": text}


def _trainer(
    phase: Phase, model: Any, arguments: TrainingArguments, blocks: Dataset, validation: dict[str, Dataset]
) -> Trainer:
    """Return the Trainer of a phase; without objectives, optimiser and learning rate are all that may be its own."""
    if not phase.terms:
        # As numpy arrays: Python lists would be collated number by number.
        read = blocks.with_format("numpy")
        return OptimisedTrainer(model, arguments, phase=phase, train_dataset=read, eval_dataset=validation)
    objectives = {term.objective.name: term.objective for term in phase.terms}
    return PhaseTrainer(
        with_objectives(model, objectives),
        arguments,
        phase=phase,
        data_collator=collate,
        train_dataset=PhaseSteps(blocks, phase, ranks=arguments.world_size),
        eval_dataset=validation,
    )
