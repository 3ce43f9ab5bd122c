"""Align the words of a dictionary in a plain PyTorch loop: L_align + L_LM, stage 1 of PreAlign, on any causal LM.

python examples/align_in_a_loop.py MODEL DICTIONARY TARGET TEXT [STEPS]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer

from prealign import Lexicon, WordAlignment, word_states
from prealign.training.weights import load_causal_lm


def main(model_path: str, dictionary: str, target: str, text: str, steps: int = 100) -> list[float]:
    """Return the alignment loss of each step."""
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    model = load_causal_lm(model_path).train()
    lexicon = Lexicon.read(dictionary, source="en", target=target)
    objective = WordAlignment(tokenizer, lexicon, groups=64, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.tensor(tokenizer(Path(text).read_text(encoding="utf-8"))["input_ids"])
    losses = []
    for step in range(steps):
        start = 64 * step % max(1, len(ids) - 64)
        block = ids[None, start : start + 64]  # (1, T)
        words = objective.batch(step)
        align_loss = objective.loss(objective.encode(model, words), words)["align"]
        loss = model(input_ids=block, labels=block).loss + align_loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(align_loss.item())
    states = word_states(model, tokenizer, [group.word for group in lexicon.groups[:5]])  # (L+2, W, D)
    print(f"L_align {losses[0]:.3f} -> {losses[-1]:.3f}; states of five words: {tuple(states.shape)}")
    return losses


if __name__ == "__main__":
    main(*sys.argv[1:5], *map(int, sys.argv[5:]))
