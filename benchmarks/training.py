"""Training: tokens per second of stage 2, and the share of the machine's arithmetic that it uses.

Measured is stage 2 (the stock Trainer, with the loss in parts of `prealign.training.loss`) on switched blocks (16 blocks of
128 tokens a step) with the presets nano, micro and mini, in bf16 autocast where the processor has it and in fp32. The
reference is a plain PyTorch loop in the manner of nanoGPT around the same Hugging Face model: random batches from one
array, fused AdamW, clipped gradients, no Trainer. Trainer and loop take turns within one run.

The arithmetic is the FLOPs by `prealign.methods.flops`, forward and backward, per second. Its reference is the rate of
multiplying
two 2048 x 2048 matrices in the same precision, between the same rounds: the ratio is the share of the machine's matrix rate
that training uses.

The targets are the speed of the loop, for every preset in the precision that a run chooses, and 0.55 of the matrix rate for
mini.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from benchmarks.figures import ROUNDS, Target, figure, rates
from benchmarks.material import SEED, Material
from benchmarks.steps import RoundClock, train
from prealign.methods.flops import training_flops
from prealign.recipe.sections import Recipe
from prealign.training.precision import bf16_available

OVERRIDES = ()
AS_FAST = Target("ratio", "≥", 1)
OF_THE_MACHINE = Target("ratio", "≥", 0.55)

_STEPS = {"nano": 12, "micro": 4, "mini": 1}  # a round
_SIDE = 2048
_LEAST_SECONDS = 0.2


def run(material: Material, quick: bool) -> list[dict[str, Any]]:
    """Measure; `material` is the demo's."""
    rounds, presets = (1, ["nano"]) if quick else (ROUNDS, list(_STEPS))
    longest = (1 + rounds) * max(_STEPS.values())
    blocks = material.blocks("training-blocks", longest, switched=True)
    figures = []
    for preset in presets:
        runs = [
            _measure(material, preset, bf16, blocks, rounds) for bf16 in (True, False) if bf16_available() or not bf16
        ]
        for one in runs:
            figures += one.figures()
        if len(runs) == 2:
            half, full = (one.tokens_per_second for one in runs)
            figures.append(
                figure(f"{preset}, bf16 against fp32", "tokens/s", half, references=full, against="the Trainer in fp32")
            )
    return figures


@dataclass
class TrainingRun:
    """Rounds of one preset in one precision."""

    preset: str
    bf16: bool
    tokens: int  # of a step
    flops: float  # of a step
    trainer: list[float] = field(default_factory=list)  # seconds a step
    plain: list[float] = field(default_factory=list)  # seconds a step
    matmul: list[float] = field(default_factory=list)  # FLOP/s

    @property
    def tokens_per_second(self) -> list[float]:
        """Of the Trainer, in each round."""
        return rates(self.tokens, self.trainer)

    def figures(self) -> list[dict[str, Any]]:
        """Return tokens a second, and the arithmetic in them."""
        plain, flops = rates(self.tokens, self.plain), rates(self.flops, self.trainer)
        name, chosen = f"{self.preset}, {'bf16' if self.bf16 else 'fp32'}", self.bf16 == bf16_available()
        return [
            figure(
                name,
                "tokens/s",
                self.tokens_per_second,
                references=plain,
                against="a plain PyTorch loop",
                target=AS_FAST if chosen else None,
            ),
            figure(
                f"{name}, arithmetic",
                "FLOP/s",
                flops,
                references=self.matmul,
                against="matrix products alone",
                target=OF_THE_MACHINE if chosen and self.preset == "mini" else None,
            ),
        ]


def _measure(material: Material, preset: str, bf16: bool, blocks: Dataset, rounds: int) -> TrainingRun:
    recipe = material.recipe.model_copy(update={"trainer": {"bf16": bf16}})
    section, every = recipe.pretrain, _STEPS[preset]
    model = material.model(preset)
    tokens = section.batch_size * section.context
    one = TrainingRun(preset, bf16, tokens, training_flops(model, tokens, section.context))
    plain = PlainLoop(material.model(preset), blocks, recipe, bf16)

    def between(counts: bool) -> None:
        rate = matmul_rate(torch.bfloat16 if bf16 else torch.float32)
        plain.seconds_per_step(1)  # a step that comes after nothing but products is slower
        taken = plain.seconds_per_step(every)
        if counts:
            one.plain.append(taken)
            one.matmul.append(rate)

    clock = RoundClock(every, between)
    read = blocks.select(range((1 + rounds) * every * section.batch_size))
    train(material, model, read, recipe, material.folder / "training", clock)
    one.trainer = clock.seconds
    return one


class PlainLoop:
    """The reference: a training loop of a dozen lines."""

    def __init__(self, model: Any, blocks: Dataset, recipe: Recipe, bf16: bool) -> None:
        section = recipe.pretrain
        rows = blocks.with_format("numpy")[:]
        self.inputs, self.labels = (np.concatenate(rows[name]) for name in ("input_ids", "labels"))
        self.batch_size, self.context, self.bf16 = section.batch_size, section.context, bf16
        self.model = model.train()
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=section.learning_rate,
            betas=(0.9, 0.95),
            weight_decay=section.weight_decay,
            fused=True,
        )
        self.random = np.random.default_rng(SEED)

    def seconds_per_step(self, steps: int) -> float:
        """Train some steps."""
        began = time.perf_counter()
        for _ in range(steps):
            self._step()
        return (time.perf_counter() - began) / steps

    def _step(self) -> None:
        begins = self.random.integers(len(self.inputs) - self.context, size=self.batch_size)
        inputs, labels = (self._cut(array, begins) for array in (self.inputs, self.labels))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = self.model(input_ids=inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _cut(self, array: np.ndarray, begins: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.stack([array[b : b + self.context] for b in begins]).astype(np.int64))


def matmul_rate(dtype: torch.dtype) -> float:
    """Return the FLOP/s of multiplying square matrices, over at least a fifth of a second."""
    a, b = (torch.randn(_SIDE, _SIDE).to(dtype) for _ in range(2))
    a @ b
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _LEAST_SECONDS:
        a @ b
        count += 1
    return 2 * _SIDE**3 * count / (time.perf_counter() - began)
