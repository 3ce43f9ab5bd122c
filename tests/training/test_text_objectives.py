"""Objectives that read the text of the step: they get its states and logits from the forward that computes L_LM."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import toys
from prealign.errors import RecipeError
from prealign.methods.phase import Cost, Objective, Term
from prealign.training.forward import check_fused_loss, training_forward, with_objectives
from prealign.training.phase import train
from prealign.training.trainer import PhaseSteps

CONTEXT, STEPS = 12, 4
BLOCKS = toys.blocks(2 * STEPS, CONTEXT, vocabulary=60)


class Spread(Objective):
    """The mean square of the text's states and logits, at labels that are even."""

    name = "spread"

    def __init__(self, *, reads_text: bool = True) -> None:
        self.reads_text = reads_text

    def of_text(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"even": labels % 2 == 0, "copy": input_ids.clone()}

    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"states": batch["text_states"][batch["even"]], "logits": batch["text_logits"][batch["even"]]}

    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: encoded[key].square().mean() for key in ("states", "logits")}

    def cost(self, model: Any, devices: int = 1, *, freeze_body: bool = False) -> Cost:
        return Cost()

    def describe(self) -> dict[str, Any]:
        return {"objective": "spread"}


def text(row: int = 0) -> dict[str, Tensor]:
    return {key: torch.tensor(BLOCKS[2 * row : 2 * row + 2][key]) for key in ("input_ids", "labels")}


@pytest.mark.parametrize("make", list(toys.ARCHITECTURES.values()))
def test_states_and_logits_are_those_of_the_output_embedding(make: Any) -> None:
    plain = make().eval()
    model = with_objectives(training_forward(make(), {}).eval(), {"spread": Spread()})
    batch = {"even": torch.ones(2, CONTEXT, dtype=torch.bool)}
    calls: list[Any] = []
    model.get_output_embeddings().register_forward_hook(lambda *call: calls.append(call))
    with torch.no_grad():
        found = model(**text(), objectives={"spread": batch})["objectives"]["spread"]
        hidden = plain.base_model(input_ids=text()["input_ids"]).last_hidden_state
        logits = plain(input_ids=text()["input_ids"]).logits
    torch.testing.assert_close(found["states"], hidden.flatten(0, 1))
    torch.testing.assert_close(found["logits"], logits.flatten(0, 1))
    assert len(calls) == 1, "one forward"


def test_the_batch_of_a_step_has_what_the_objective_makes_of_its_text() -> None:
    phase = toys.phase(Term(Spread(), every=2), steps=STEPS)
    steps = PhaseSteps(BLOCKS, phase)
    assert "objectives" not in steps[1]
    batch = steps[2]["objectives"]["spread"]
    assert torch.equal(batch["copy"], text(2)["input_ids"]) and torch.equal(batch["even"], text(2)["labels"] % 2 == 0)
    without = toys.phase(Term(Spread(reads_text=False)), steps=STEPS)
    assert PhaseSteps(BLOCKS, without)[0]["objectives"]["spread"] == {}


def test_the_loss_of_the_text_is_part_of_the_step(tmp_path: Path) -> None:
    model = toys.llama()
    with torch.no_grad():
        even = text()["labels"] % 2 == 0
        states = model.base_model(input_ids=text()["input_ids"]).last_hidden_state[even]
        logits = model(input_ids=text()["input_ids"]).logits[even]
        lm = toys.lm_loss(model, **{"ids": text()["input_ids"], "labels": text()["labels"]})
    phase = toys.phase(Term(Spread(), 0.5, every=2), steps=STEPS)
    record = train(
        phase,
        model,
        BLOCKS,
        {"en": BLOCKS},
        seed=0,
        folder=tmp_path,
        on_progress=lambda _: None,
        trainer={"bf16": False},
    )
    first, second = record["history"][:2]
    assert first["states_loss"] == pytest.approx(float(states.square().mean()), rel=1e-5)
    assert first["logits_loss"] == pytest.approx(float(logits.square().mean()), rel=1e-5)
    total = lm + 0.5 * (states.square().mean() + logits.square().mean())
    assert first["loss"] == pytest.approx(float(total), rel=1e-4)
    assert "states_loss" not in second


def test_a_fused_loss_is_refused_for_objectives_that_read_the_text(tmp_path: Path) -> None:
    fused = {"use_liger_kernel": True}
    with pytest.raises(RecipeError, match="does not compute the logits that spread needs"):
        check_fused_loss([Spread()], fused)
    with pytest.raises(RecipeError, match=r"trainer\.use_liger_kernel"):
        train(
            toys.phase(Term(Spread())),
            toys.llama(),
            BLOCKS,
            {},
            seed=0,
            folder=tmp_path,
            on_progress=print,
            trainer=fused,
        )
    check_fused_loss([Spread(reads_text=False)], fused)
    check_fused_loss([Spread()], {})
