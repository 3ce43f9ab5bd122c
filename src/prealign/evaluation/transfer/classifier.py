"""A causal LM as a classifier: a linear head on its last token, fine-tuned with the stock `transformers.Trainer`.

1. Head: the base model's last hidden state at the last token of an example, times a matrix (classes, D), as in the
   `...ForSequenceClassification` of transformers. That class is not used because some eighty architectures with a causal LM
   have none (Granite, Cohere, OLMoE, Gemma 4 …), and because it finds the last token by the padding *id*: the tokenizers
   here have no id for padding alone. Here the attention mask marks the last token.
2. The seed decides the order of the examples of all epochs: shuffle, sort by length within pools of some batches, shuffle
   the batches. A batch has examples of similar length and little padding.
3. AdamW with warm-up and cosine schedule, as in both stages of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import Trainer, set_seed

from prealign.errors import DivergedError
from prealign.evaluation.lm.padding import right_padded
from prealign.evaluation.transfer.data import Example, IntArray
from prealign.events import OnProgress
from prealign.methods.alignment.states import measured
from prealign.methods.flops import training_flops
from prealign.recipe.measures import TransferTask
from prealign.training.finite import Remedies
from prealign.training.loop import run_trainer, training_arguments

POOL = 50
"""Batches among which examples are sorted by length."""


class Classifier(nn.Module):
    """A base model and its head; without labels there is no loss."""

    def __init__(self, body: Any, classes: int) -> None:
        super().__init__()
        config = body.config.get_text_config()
        self.body = body
        self.score = nn.Linear(config.hidden_size, classes, bias=False)
        nn.init.normal_(self.score.weight, std=getattr(config, "initializer_range", 0.02))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Return "logits" (B, classes) and "loss", from ids and mask (B, T) padded on the right, and labels (B,)."""
        hidden = self.body(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        last = attention_mask.sum(dim=1) - 1  # (B,)
        logits = self.score(hidden[torch.arange(len(last), device=last.device), last])
        return {"logits": logits} if labels is None else {"loss": cross_entropy(logits, labels), "logits": logits}


def classifier(model: Any, *, classes: int, seed: int) -> Classifier:
    """Return a causal LM's base model, which it shares, with a new head, whose weights the seed decides."""
    set_seed(seed)
    return Classifier(model.base_model, classes)


def reading_order(lengths: Sequence[int], *, batch_size: int, epochs: int, seed: int) -> IntArray:
    """Return the order (epochs · N,) of reading N examples in consecutive batches; only the last may be smaller."""
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


def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Return input_ids and attention_mask (B, T), and labels (B,)."""
    ids, mask = right_padded([example.ids for example in examples])
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([example.label for example in examples])}


def fine_tune(
    model: Classifier,
    examples: Sequence[Example],
    task: TransferTask,
    trainer_settings: Mapping[str, Any],
    *,
    seed: int,
    folder: Path,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Train the whole model in place. Returns steps, tokens, FLOPs, seconds and history.

    trainer_settings: those of `transformers.TrainingArguments`. folder: scratch space of the Trainer.
    """
    lengths = [len(example.ids) for example in examples]
    order = reading_order(lengths, batch_size=task.batch_size, epochs=task.epochs, seed=seed)
    steps = -(-len(order) // task.batch_size)
    tokens = task.epochs * sum(lengths)
    # Batches have many shapes and steps are few: compiling would take longer than training.
    settings = {key: value for key, value in trainer_settings.items() if not key.startswith("torch_compile")}
    arguments = training_arguments(settings, folder, task, steps=steps, batch_size=task.batch_size, seed=seed)
    arguments.set_evaluate(strategy="no")  # a target language must not choose the checkpoint
    trainer = Trainer(model, arguments, data_collator=collate, train_dataset=[examples[i] for i in order])
    flops = training_flops(model.body, tokens / steps, tokens / len(order), logits=False)
    remedies = Remedies(moved=f"lower learning_rate of the task {task.name!r} in transfer")
    return run_trainer(
        trainer, f"fine-tune {task.name}", on_progress, tokens=tokens / steps, flops=flops, remedies=remedies
    )


def predict(
    model: Classifier,
    examples: Sequence[Example],
    *,
    batch_size: int,
    on_tokens: Callable[[int], None] = lambda tokens: None,
) -> IntArray:
    """Return the class (N,) of each example; `on_tokens` gets the number of tokens of each batch.

    Raises DivergedError if the model's output is not finite.
    """
    order = np.argsort([-len(example.ids) for example in examples], kind="stable")
    predicted = np.empty(len(examples), dtype=np.int64)
    device = next(model.parameters()).device
    with measured(model):
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            batch = collate([examples[i] for i in rows])
            logits = model(batch["input_ids"].to(device), batch["attention_mask"].to(device))["logits"]  # (B, classes)
            if not torch.isfinite(logits).all():
                raise DivergedError("the output of the fine-tuned classifier is not finite: lower its learning_rate")
            predicted[rows] = logits.argmax(-1).cpu().numpy()
            on_tokens(int(batch["attention_mask"].sum()))
    return predicted
