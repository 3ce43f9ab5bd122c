"""The optimiser of a phase: against AdamW in loops of float64, whose every setting changes the step as predicted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import toys
from prealign.errors import RecipeError
from prealign.methods.phase import Coupling
from prealign.training.optimiser import TwinAdamW, group_means, twin_rows
from prealign.training.phase import train as train_phase

STEPS, ROWS, RATE, EPS = 3, 64, 0.01, 1e-8
GROUPS = np.arange(ROWS)
GROUPS[[40, 41, 50]] = [3, 3, 7]
EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")


@dataclass
class Twins(Coupling):
    def groups(self, rows: int) -> np.ndarray:
        assert rows == ROWS
        return GROUPS

    def describe(self) -> dict[str, Any]:
        return {"twins": 3}


def trained(folder: Path, *, tied: bool = False, **settings: Any) -> dict[str, np.ndarray]:
    model = toys.llama(tied=tied).double()
    phase = toys.phase(steps=STEPS, batch_size=2, learning_rate=RATE, **settings)
    blocks = toys.blocks(2 * STEPS, 12, vocabulary=60)
    train_phase(
        phase, model, blocks, {"en": blocks}, seed=0, folder=folder, on_progress=lambda _: None, trainer={"bf16": False}
    )
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


def by_hand(
    *, tied: bool = False, weight_decay: float = 0.1, embedding_rate: float = 1.0, coupling: Any = None
) -> dict[str, np.ndarray]:
    """AdamW with the Trainer's cosine schedule and clipping: one number at a time where rows are coupled."""
    model, blocks = toys.llama(tied=tied).double(), toys.blocks(2 * STEPS, 12, vocabulary=60)
    first = {name: np.zeros(p.shape) for name, p in model.named_parameters()}
    second = {name: np.zeros(p.shape) for name, p in model.named_parameters()}
    for step in range(STEPS):
        rows = blocks[2 * step : 2 * step + 2]
        model.zero_grad()
        toys.lm_loss(model, torch.tensor(rows["input_ids"]), torch.tensor(rows["labels"])).backward()
        gradients = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
        norm = math.sqrt(sum((g**2).sum() for g in gradients.values()))
        factor = 0.5 * (1 + math.cos(math.pi * step / STEPS))
        for name, p in model.named_parameters():
            g = gradients[name] * min(1.0, 1 / (norm + 1e-6))
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.95 * second[name] + 0.05 * g**2
            rate = RATE * factor * (embedding_rate if name in EMBEDDINGS else 1.0)
            decay = 0.0 if "norm" in name else weight_decay
            v = second[name].copy()
            if coupling and name in EMBEDDINGS:
                for row in range(ROWS):
                    members = [other for other in range(ROWS) if GROUPS[other] == GROUPS[row]]
                    v[row] = sum(second[name][other] for other in members) / len(members)
            m, v = first[name] / (1 - 0.9 ** (step + 1)), v / (1 - 0.95 ** (step + 1))
            with torch.no_grad():
                p.copy_(torch.from_numpy(p.numpy() * (1 - rate * decay) - rate * m / (np.sqrt(v) + EPS)))
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


SETTINGS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.0},
    {"weight_decay": 1.0},
    {"embedding_rate": 0.1},
    {"embedding_rate": 3.0, "weight_decay": 0.5},
    {"coupling": Twins()},
    {"coupling": Twins(), "embedding_rate": 0.3},
    {"coupling": Twins(), "embedding_rate": 0.3, "tied": True},
]


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_steps_are_those_of_loops(number: int, tmp_path: Path) -> None:
    settings = SETTINGS[number]
    found, expected = trained(tmp_path, **settings), by_hand(**settings)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        np.testing.assert_allclose(found[name], weight, rtol=0, atol=1e-7, err_msg=name)


def test_each_setting_moves_the_weights_elsewhere() -> None:
    start = by_hand()
    for settings in SETTINGS[1:-1]:
        changed = by_hand(**settings)
        assert max(np.abs(changed[name] - start[name]).max() for name in start) > 1e-3


def test_twins_take_equal_steps_for_equal_gradients() -> None:
    """Row 0 had large gradients, its twin 1 small ones: AdamW moves 1 much further, and coupled they move alike."""
    steps = {}
    for way, groups in (("alone", [0, 1, 2]), ("coupled", [0, 0, 2])):
        rows = nn.Parameter(torch.zeros(3, 2, dtype=torch.float64))
        optimiser = TwinAdamW([{"params": [rows], "lr": 0.1, "weight_decay": 0.0}], {rows: np.array(groups)})
        for gradient in ([10.0, 0.1, 5.0], [0.1, 0.1, 0.1]):
            before = rows.detach().clone()
            rows.grad = torch.tensor(gradient, dtype=torch.float64)[:, None].expand(3, 2).clone()
            optimiser.state[rows].get("exp_avg", torch.zeros(1)).zero_()  # the last gradient alone
            optimiser.step()
        steps[way] = (rows - before).detach()[:, 0].abs().tolist()
    assert steps["alone"][1] > 10 * steps["alone"][0]
    assert steps["coupled"][0] == pytest.approx(steps["coupled"][1])
    assert steps["coupled"][2] == steps["alone"][2], "a row without twins is not touched"


def test_group_means_by_hand() -> None:
    rows = torch.tensor([[1.0], [2.0], [3.0], [5.0]])
    assert group_means(rows, torch.tensor([2, 1, 2, 1])).ravel().tolist() == [2.0, 3.5, 2.0, 3.5]


def test_rows_with_twins_by_hand() -> None:
    rows, groups = twin_rows(torch.tensor([0, 7, 2, 0, 4, 7, 7]))
    assert rows.tolist() == [0, 1, 3, 5, 6] and groups.tolist() == [0, 1, 0, 1, 1]
    assert twin_rows(torch.arange(3))[0].tolist() == []


def test_a_loaded_state_goes_on() -> None:
    def made() -> tuple[nn.Parameter, nn.Parameter, TwinAdamW]:
        rows, other = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(2))
        return rows, other, TwinAdamW([{"params": [rows, other], "lr": 0.1}], {rows: np.array([0, 0, 2])})

    def step(rows: nn.Parameter, other: nn.Parameter, optimiser: TwinAdamW, scale: float) -> None:
        rows.grad, other.grad = scale * torch.arange(6.0).view(3, 2), scale * torch.ones(2)
        optimiser.step()

    whole, parts = made(), made()
    step(*whole, 1.0)
    step(*parts, 1.0)
    later = made()
    with torch.no_grad():
        later[0].copy_(parts[0])
        later[1].copy_(parts[1])
    later[2].load_state_dict(parts[2].state_dict())
    step(*whole, -0.5)
    step(*later, -0.5)
    assert torch.equal(whole[0], later[0]) and torch.equal(whole[1], later[1])


def test_another_optimiser_cannot_be_coupled(tmp_path: Path) -> None:
    phase = toys.phase(coupling=Twins())
    blocks = toys.blocks(2, 12, vocabulary=60)
    with pytest.raises(RecipeError, match="twin_adam couples the second moments of AdamW"):
        train_phase(
            phase, toys.llama(), blocks, {"en": blocks}, seed=0, folder=tmp_path, on_progress=lambda _: None,
            trainer={"bf16": False, "optim": "sgd"},
        )  # fmt: skip
    assert phase.unshardable and not toys.phase().unshardable


def test_a_phase_without_own_settings_describes_none_of_them() -> None:
    assert {"embedding_rate", "lm_every", "coupling", "goal"}.isdisjoint(toys.phase().describe())
    described = toys.phase(embedding_rate=0.5, lm_every=2, coupling=Twins()).describe()
    assert (described["embedding_rate"], described["lm_every"], described["coupling"]) == (0.5, 2, {"twins": 3})
