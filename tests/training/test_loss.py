"""The loss in parts against the stock loss of transformers, and against finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.loss.loss_utils import ForCausalLMLoss

import toys
from prealign.training import loss as token_loss
from prealign.training.forward import training_forward
from prealign.training.loss import causal_lm_loss


def drawn(seed: int, shape: tuple[int, int, int], dtype: torch.dtype, ignored: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(shape, generator=generator)
    labels = torch.randint(shape[2], shape[:2], generator=generator)
    labels[torch.rand(shape[:2], generator=generator) < ignored] = -100
    return logits.to(dtype).requires_grad_(), labels


def loss_and_slope(function: Any, logits: Tensor, labels: Tensor, items: Any, outer: float) -> tuple[Tensor, Tensor]:
    loss = function(logits=logits, labels=labels, vocab_size=logits.shape[2], num_items_in_batch=items)
    (slope,) = torch.autograd.grad(loss * outer, logits)
    return loss.detach(), slope


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(2, 40)),
    st.integers(1, 200),
    st.sampled_from([None, 7, torch.tensor(11)]),
    st.sampled_from([1.0, 0.3]),
    st.integers(0, 2**32),
)
def test_is_the_stock_loss_whatever_the_parts(
    shape: tuple[int, int, int], part: int, items: Any, outer: float, seed: int
) -> None:
    logits, labels = drawn(seed, shape, torch.float64, ignored=0.3)
    labels[0, 1] = 1  # a mean over no label is not a number
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_loss, "PART", part)
        found = loss_and_slope(causal_lm_loss, logits, labels, items, outer)
    log_p = logits[:, :-1].log_softmax(-1).gather(2, labels[:, 1:].clamp(min=0)[..., None])[..., 0]
    counted = labels[:, 1:] != -100
    value = -(log_p * counted).sum() / (counted.sum() if items is None else items)
    torch.testing.assert_close(found[0], value.detach())
    torch.testing.assert_close(found[1], torch.autograd.grad(value * outer, logits)[0])


@pytest.mark.parametrize(("dtype", "items"), [(torch.float32, None), (torch.float32, 0), (torch.float16, 0)])
def test_a_step_without_any_label_has_the_loss_0_and_moves_nothing(dtype: torch.dtype, items: int | None) -> None:
    logits, labels = drawn(0, (2, 5, 7), dtype, ignored=1.0)
    loss, slope = loss_and_slope(causal_lm_loss, logits, labels, items if items is None else torch.tensor(items), 1.0)
    assert (float(loss), float(slope.abs().max())) == (0.0, 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("outer", [1.0, 0.3])
def test_is_as_precise_as_the_stock_loss(dtype: torch.dtype, outer: float) -> None:
    logits, labels = drawn(0, (4, 64, 1000), dtype, ignored=0.1)
    found, stock = (loss_and_slope(f, logits, labels, None, outer) for f in (causal_lm_loss, ForCausalLMLoss))
    exact = loss_and_slope(causal_lm_loss, logits.double(), labels, None, outer)  # the stock loss is float32 even so
    assert found[0].dtype == stock[0].dtype and found[1].dtype == stock[1].dtype
    assert found[0].item() == pytest.approx(stock[0].item(), rel=1e-6)
    errors = [(slope.double() - exact[1]).norm() for slope in (found[1], stock[1])]
    assert errors[0] <= 1.5 * errors[1]


def test_finite_differences_agree() -> None:
    logits, labels = drawn(1, (2, 5, 7), torch.float64, ignored=0.2)
    assert torch.autograd.gradcheck(lambda x: causal_lm_loss(x, labels, 7), logits)


def test_labels_that_were_moved_already_are_taken_as_they_are() -> None:
    logits, labels = drawn(2, (2, 6, 9), torch.float32, ignored=0.2)
    moved = torch.cat([labels[:, 1:], torch.full((2, 1), -100)], dim=1)
    one = causal_lm_loss(logits, labels, 9)
    assert torch.equal(one, causal_lm_loss(logits, None, 9, shift_labels=moved))


def test_a_row_without_a_label_does_not_count_whatever_its_logits_are() -> None:
    logits, labels = drawn(5, (1, 5, 6), torch.float32, ignored=0.0)
    labels[0, 2] = -100
    with torch.no_grad():
        logits[0, 1, 0] = -torch.inf
    loss, slope = loss_and_slope(causal_lm_loss, logits, labels, None, 1.0)
    assert loss.isfinite() and slope.isfinite().all() and not slope[0, 1].any()


def test_a_graph_that_is_kept_has_the_same_gradient_again() -> None:
    logits, labels = drawn(6, (1, 5, 6), torch.float32, ignored=0.0)
    loss = 2 * causal_lm_loss(logits, labels, 6)
    first, second = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_nothing_is_kept_but_the_gradient() -> None:
    logits, labels = drawn(3, (8, 64, 500), torch.bfloat16, ignored=0.0)
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = causal_lm_loss(logits, labels, 500)
    assert sum(saved.values()) == 2 * logits.numel()
    loss.backward()
    assert logits.grad is not None


@pytest.mark.parametrize("case", ["measured", "float16", "compiled"])
def test_the_stock_loss_stands_in_where_this_does_not_do(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(token_loss, "ForCausalLMLoss", lambda *a, **k: calls.append(1) or ForCausalLMLoss(*a, **k))
    dtype = torch.float16 if case == "float16" else torch.float32
    logits, labels = drawn(4, (1, 4, 6), dtype, ignored=0.0)
    if case == "measured":
        logits = logits.detach()
    if case == "compiled":
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    causal_lm_loss(logits, labels, 6)
    assert calls


def test_a_model_in_training_has_it() -> None:
    model = training_forward(toys.llama().train(), {})
    loss = model(input_ids=torch.arange(6)[None], labels=torch.arange(6)[None]).loss
    assert "_TokenLoss" in type(loss.grad_fn).__name__
