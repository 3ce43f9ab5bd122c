"""Train one phase of an arm: a model, the phase's objectives and blocks of text to a trained model and its record.

1. Freeze the body, if the phase says so, and give the model the forward of training.
2. Without objectives it is the stock `transformers.Trainer` on the blocks: what a rewriter does lies in their labels and
   nowhere else. With objectives it is `PhaseTrainer`, where an example is a whole step.
3. Steps, tokens and FLOPs are those of all devices. The FLOPs include those of the initialisations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import Trainer, TrainerCallback

from prealign.events import OnProgress
from prealign.methods.phase import Phase
from prealign.recipe.sections import CheckpointSection
from prealign.training import launch
from prealign.training.forward import training_forward, with_objectives
from prealign.training.loop import run_trainer, training_arguments
from prealign.training.models import freeze_body
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
) -> dict[str, Any]:
    """Train a phase in place. Returns its record, as `run_trainer`.

    blocks: steps · batch_size · devices of input_ids and labels (context,), in the order of reading. validation: blocks by
    language, measured `validations` times. folder: scratch space; a checkpoint of the same training there is resumed.
    trainer: more arguments of `transformers.TrainingArguments`.
    """
    assert phase.steps, "the budget has not been settled"
    settings = dict(trainer or {})
    arguments = training_arguments(
        settings,
        folder,
        phase,
        steps=phase.steps,
        batch_size=1 if phase.terms else phase.batch_size,
        seed=seed,
        eval_batch_size=eval_batch_size,
        validations=validations,
        # An objective reaches all layers, but not, say, the bias of an output embedding.
        every_weight_used=bool(phase.lm_weight),
    )
    if phase.freeze_body:
        freeze_body(model)
    phase.check(model)
    cost, start = phase.cost(model, launch.count()), phase.start_cost(model).flops
    made: Trainer
    if phase.terms:
        objectives = {term.objective.name: term.objective for term in phase.terms}
        made = PhaseTrainer(
            with_objectives(training_forward(model, settings), objectives),
            arguments,
            phase=phase,
            data_collator=collate,
            train_dataset=PhaseSteps(blocks, phase, ranks=arguments.world_size),
            eval_dataset=validation,
        )
    else:
        # As arrays: rows would be Python lists, and a batch made of them number by number.
        model = training_forward(model, settings)
        made = Trainer(model, arguments, train_dataset=blocks.with_format("numpy"), eval_dataset=validation)
    record = run_trainer(
        made,
        phase.name,
        on_progress,
        tokens=cost.tokens,
        flops=cost.flops,
        callbacks=callbacks,
        checkpoint=checkpoint,
    )
    return record | {"flops": record["flops"] + launch.count() * start}
