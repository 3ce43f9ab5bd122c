"""A causal LM as a classifier: a linear head on its last token, fine-tuned with the stock `transformers.Trainer`.

1. Head: `AutoModelForSequenceClassification`, which reads the last token that is not padding. Batches are padded on the
   right with EOS. That is safe as long as no example ends in EOS: EOS *inside* a pair is read like any token, because
   the attention mask says what is padding and a causal model sees nothing to its right.
2. Examples of all epochs are put in an order decided by seed: shuffled, sorted by length within pools of some batches,
   the batches shuffled again. So a batch has examples of like length and little padding.
3. AdamW with warm-up and cosine, as both stages of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, Trainer, set_seed

from prealign.compute import training_flops
from prealign.errors import DataError, PrealignError
from prealign.evaluation.task_data import Example, IntArray
from prealign.recipe import ModelSection, Recipe, TransferTask
from prealign.training import OnProgress, run_trainer, schedule, training_arguments

POOL = 50
"""Batches among which examples are sorted by length."""


def load_classifier(folder: Path, section: ModelSection, *, classes: int, eos: int, seed: int) -> Any:
    """Load a checkpoint with a new head, in float32; the seed decides the head's weights.

    Raises DataError if transformers has no classifier of this architecture.
    """
    set_seed(seed)
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            num_labels=classes,
            dtype=torch.float32,
            attn_implementation=section.attention,
            trust_remote_code=section.trust_remote_code,
        )
    except ValueError as error:
        raise DataError(f"no transfer task for this model: {str(error).splitlines()[0]}. Remove `transfer`.") from None
    # Set after loading: a padding row given at construction gets no gradient, and EOS is read in pairs.
    model.config.get_text_config().pad_token_id = eos
    model.config.problem_type = "single_label_classification"
    return model


def reading_order(lengths: Sequence[int], *, batch_size: int, epochs: int, seed: int) -> IntArray:
    """Return the order (epochs · N,) in which to read examples: batches are consecutive, only the last may be smaller."""
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(lengths)) for _ in range(epochs)])
    sizes = np.asarray(lengths)
    batches = []
    for pool in np.split(order, range(POOL * batch_size, len(order), POOL * batch_size)):
        pool = pool[np.argsort(sizes[pool], kind="stable")]
        batches += np.split(pool, range(batch_size, len(pool), batch_size))
    full = [batch for batch in batches if len(batch) == batch_size]
    rest = [batch for batch in batches if len(batch) < batch_size]
    return np.concatenate([full[i] for i in rng.permutation(len(full))] + rest).astype(np.int64)


def collate(examples: Sequence[Example], eos: int) -> dict[str, Tensor]:
    """Return input_ids and attention_mask (B, T), and labels (B,)."""
    assert all(len(example.ids) and example.ids[-1] != eos for example in examples), "the head would read elsewhere"
    width = max(len(example.ids) for example in examples)
    ids = np.full((len(examples), width), eos, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = example.ids
        mask[row, : len(example.ids)] = 1
    labels = torch.tensor([example.label for example in examples])
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask), "labels": labels}


def fine_tune(
    model: Any,
    examples: Sequence[Example],
    task: TransferTask,
    recipe: Recipe,
    *,
    eos: int,
    seed: int,
    folder: Path,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Train the whole model in place. Returns steps, tokens, FLOPs, seconds and history."""
    lengths = [len(example.ids) for example in examples]
    order = reading_order(lengths, batch_size=task.batch_size, epochs=task.epochs, seed=seed)
    steps = -(-len(order) // task.batch_size)
    tokens = task.epochs * sum(lengths)
    arguments = training_arguments(recipe, folder, steps=steps, batch_size=task.batch_size, seed=seed, **schedule(task))
    arguments.set_evaluate(strategy="no")  # a target language must not choose the checkpoint
    trainer = Trainer(
        model,
        arguments,
        data_collator=partial(collate, eos=eos),
        train_dataset=[examples[i] for i in order],
    )
    seconds, history = run_trainer(trainer, f"fine-tune {task.name}", tokens / steps, on_progress)
    flops = training_flops(model, tokens, tokens / len(order), logits=False)
    return {"steps": steps, "tokens": tokens, "flops": flops, "seconds": seconds, "history": history}


@torch.no_grad()
def predict(model: Any, examples: Sequence[Example], *, batch_size: int, eos: int) -> IntArray:
    """Return the class (N,) of each example. Raises PrealignError if the model's output is not finite."""
    order = np.argsort([-len(example.ids) for example in examples], kind="stable")
    predicted = np.empty(len(examples), dtype=np.int64)
    training = model.training
    model.eval()
    try:
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            batch = collate([examples[i] for i in rows], eos)
            logits = model(
                input_ids=batch["input_ids"].to(model.device), attention_mask=batch["attention_mask"].to(model.device)
            ).logits  # (B, classes)
            if not torch.isfinite(logits).all():
                raise PrealignError("fine-tuning diverged: the classifier's output is not finite. Lower learning_rate.")
            predicted[rows] = logits.argmax(-1).cpu().numpy()
    finally:
        model.train(training)
    return predicted
