"""Keep words aligned in your own Hugging Face Trainer: the alignment loss in `compute_loss`, the vocabulary anchored.

python examples/align_in_a_trainer.py MODEL DICTIONARY TARGET TEXT [STEPS]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import AutoTokenizer, Trainer, TrainingArguments

from prealign import AnchoredVocabulary, Lexicon, WordAlignment
from prealign.training.weights import load_causal_lm


class AligningTrainer(Trainer):
    """Adds 0.1 · L_align of a batch of words to the loss of each step. For one device; see docs/library.md for several."""

    def __init__(self, *args: Any, objective: WordAlignment, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.objective = objective

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any) -> Any:
        """Return L_LM + 0.1 · L_align."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        words = self._prepare_inputs(self.objective.batch(self.state.global_step))
        loss = loss + 0.1 * self.objective.loss(self.objective.encode(model, words), words)["align"]
        return (loss, outputs) if return_outputs else loss


def main(model_path: str, dictionary: str, target: str, text: str, steps: int = 100) -> Any:
    """Return the trained model, with plain weights."""
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    model = load_causal_lm(model_path)
    lexicon = Lexicon.read(dictionary, source="en", target=target)
    english, foreign = (
        np.array(tokenizer(line, add_special_tokens=False)["input_ids"])
        for line in (Path(text).read_text(encoding="utf-8"), " ".join(_translations(lexicon, target)))
    )
    rows = model.get_input_embeddings().weight.shape[0]
    counts = {"en": np.bincount(english, minlength=rows), target: np.bincount(foreign, minlength=rows)}
    objective = WordAlignment(tokenizer, lexicon, groups=32)
    anchored = AnchoredVocabulary(objective.words, counts, ["en", target], frequency_ratio=2.0)
    anchored.apply(model, fresh=False)  # the embeddings of target tokens are tied to those of their translations
    blocks = english[: len(english) // 32 * 32].reshape(-1, 32).tolist()
    data = Dataset.from_dict({"input_ids": blocks, "labels": blocks})
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, max_steps=steps, report_to="none", save_strategy="no", disable_tqdm=True)
        AligningTrainer(model, arguments, train_dataset=data, objective=objective).train()
    anchored.export(model)  # ordinary weights again: save_pretrained, generate, anything
    return model


def _translations(lexicon: Lexicon, target: str) -> list[str]:
    return [word for group in lexicon.groups for word in group.translations[target]]


if __name__ == "__main__":
    main(*sys.argv[1:5], *map(int, sys.argv[5:]))
