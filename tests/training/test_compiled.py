"""`trainer.torch_compile`: the same losses, and batches of objectives of any shape compile nothing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

import toys
from prealign.methods.alignment.objective import WordFormAlignment
from prealign.methods.phase import Cost, Objective, Term
from prealign.training.phase import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="needs a C++ compiler"),
]
STEPS, BATCH, CONTEXT = 6, 4, 16
# Groups of one to five tokens a form: hardly two batches have one shape.
WORDS = toys.forms(*([list(range(g, g + 1 + g % 5)), [g + 30]] for g in range(24)))


class Margins(Objective):
    """A loss on the text's logits at some positions, another number of them in each step."""

    name, reads_text = "margins", True

    def of_text(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"rows": (input_ids % 7 == 0).flatten().nonzero()[:, 0]}

    @torch.compiler.disable
    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits, states = (batch[key].flatten(0, 1)[batch["rows"]] for key in ("text_logits", "text_states"))
        return {"margins": logits.amax(1) + states.square().mean(1)}

    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"margin": encoded["margins"].sum() / batch["rows"].numel()}

    def cost(self, model: Any, devices: int = 1, *, freeze_body: bool = False) -> Cost:
        return Cost()

    def describe(self) -> dict[str, Any]:
        return {}


def losses(folder: Path, **trainer: Any) -> list[float]:
    model = toys.llama(initializer_range=0.02)
    shape: dict[str, Any] = {
        "steps": STEPS,
        "batch_size": BATCH,
        "context": CONTEXT,
        "warmup": 0.05,
        "learning_rate": 5e-4,
    }
    phase = toys.phase(Term(WordFormAlignment(WORDS, groups=7)), Term(Margins(), 0.5), **shape)
    text = toys.blocks(STEPS * BATCH, CONTEXT, vocabulary=64)
    record = train(
        phase,
        model,
        text,
        {"en": text.select(range(BATCH))},
        seed=0,
        folder=folder,
        on_progress=lambda _: None,
        trainer={"bf16": False, **trainer},
    )
    return [point["loss"] for point in record["history"]]


def test_objectives_are_left_out_of_compiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")  # the Trainer sets it, and it would outlive this test
    plain = losses(tmp_path / "plain")
    torch.compiler.reset()
    counters.clear()
    try:
        compiled = losses(tmp_path / "compiled", torch_compile=True)
        graphs = counters["stats"]["unique_graphs"]
    finally:
        torch.compiler.reset()
    assert compiled == pytest.approx(plain, rel=1e-4)
    assert 1 <= graphs <= 6, "the text's forward in training and in validation, not a graph a word batch"
