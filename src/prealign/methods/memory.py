"""Bytes of memory that training a causal LM takes on one device, before there is any device to measure on.

1. Weights and gradients are float32, 4 bytes a parameter each; AdamW keeps two more such tensors, 8 bytes. Parameters that
   do not train have weights only.
2. Activations are what autograd keeps for the backward pass. They are not estimated but counted: the model's own forward
   runs on fake tensors (shapes without data, `torch._subclasses`), and hooks add up the storages that are saved.
3. Logits: the loss (`prealign.training.loss`) makes their gradient in the forward pass, in their precision, so two tensors
   (B, T, V) exist at once: 4 · B · T · V bytes in bf16 autocast, 8 in float32. The stock loss, which stands in for it in
   float16, has three in float32, the log-probabilities and the gradients on both sides of log-softmax. liger-kernel's loss
   (`trainer.use_liger_kernel`) has three of a chunk of tokens alone, and the gradient of the weights from the forward pass
   on.
4. L_align keeps the words' activations, in full rows, of one micro-batch if words are encoded in such, and their states
   (L + 2, W, D) in float32: three copies while they are joined, then one, and beside it unit vectors, gradient and a copy of
   the layers that are scored. Similarities exist one tile at a time. Each device scores the joined batch, so it holds that
   as well.

The parts add up to an upper bound on one device, where gradients come as activations go. With several, DDP's buckets hold
the gradients all the time. Neither the CUDA context nor fragmentation is counted.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

FLOAT = 4
_OPTIMISER_STATES = 2
_LOGITS_AT_ONCE = 2
_STOCK_AT_ONCE = 3  # also in a chunk of liger-kernel's loss
_STATES_ENCODED = 3
_STATES_SCORED = 3
_MASKS = 5


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by what takes them."""

    weights: float
    gradients: float
    optimiser: float
    activations: float = 0.0
    logits: float = 0.0
    objectives: float = 0.0

    @property
    def total(self) -> float:
        """All parts together."""
        return float(sum(astuple(self)))


def parameter_memory(model: Any, shards: int = 1) -> Memory:
    """Return the memory of weights, gradients and optimiser state, spread over `shards` devices."""
    sizes = [(FLOAT * p.numel() / shards, p.requires_grad) for p in model.parameters()]
    trained = sum(size for size, trains in sizes if trains)
    return Memory(sum(size for size, _ in sizes), gradients=trained, optimiser=_OPTIMISER_STATES * trained)


@lru_cache(maxsize=64)  # most arms have the same steps
def text_memory(model: Any, batch: int, context: int, *, bf16: bool, stock: bool = False) -> tuple[float, float]:
    """Return the bytes of activations and of logits of a language-modelling step. `model` is on the meta device.

    stock: the loss is that of transformers.
    """
    found: list[Tensor] = []

    def scores(fake: Any) -> Tensor:
        found.append(fake(input_ids=torch.zeros(batch, context, dtype=torch.long), use_cache=False).logits)
        return found[0]

    activations = saved_bytes(model, scores, bf16=bf16)
    number, size = found[0].numel(), found[0].element_size()  # some models have logits in float32 whatever the rest is
    return activations, number * (_STOCK_AT_ONCE * FLOAT if stock else _LOGITS_AT_ONCE * size)


def fused_loss_memory(tokens: int, width: int, rows: int) -> float:
    """Return the bytes of liger-kernel's fused loss: what takes the place of the logits in `text_memory`.

    rows: of the output embedding. A chunk has ceil(tokens / ceil(rows / width)) tokens, rounded up to a power of two (its
    `fused_linear_cross_entropy_forward`); kept are the gradients of hidden states and weights.
    """
    chunk = min(tokens, 1 << (math.ceil(tokens / math.ceil(rows / width)) - 1).bit_length())
    return FLOAT * (_STOCK_AT_ONCE * chunk * rows + tokens * width + rows * width)


@lru_cache(maxsize=64)
def words_memory(
    model: Any,
    forms: float,
    length: float,
    *,
    layers: int,
    ranks: int,
    bf16: bool,
    tile: int,
    row: int,
    micro: float | None = None,
) -> float:
    """Return the bytes of L_align over `layers` layers, on `forms` word forms a device, `length` tokens long on average.

    tile: similarities at once; row: tokens in a row of forms; micro: forms that are encoded at once, all if None.
    """
    at_once = forms if micro is None else min(micro, forms)
    rows = math.ceil(at_once * length / row)

    def states(fake: Any) -> Tensor:
        ids = torch.zeros(rows, row, dtype=torch.long)
        return fake.base_model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states[-1]

    body = saved_bytes(model, states, bf16=bf16) * (at_once * length) / (rows * row)
    width = model.config.hidden_size
    encoded = FLOAT * (model.config.num_hidden_layers + 2) * forms * width
    gathered = FLOAT * layers * ranks * forms * width if ranks > 1 else 0
    scored = encoded + gathered + loss_memory(ranks * forms, width, layers, tile)
    return body + max(_STATES_ENCODED * encoded, scored)


def loss_memory(forms: float, width: int, layers: int, tile: int) -> float:
    """Return the bytes that the contrastive loss of states (layers, forms, width) takes beside them.

    tile: similarities at once.
    """
    at_once = min(forms**2, max(tile, forms))  # those of one anchor at least
    copies = 2 if forms**2 <= tile else 1  # where one tile holds all, their sum with those across the diagonal
    return _STATES_SCORED * layers * FLOAT * forms * width + (copies * FLOAT + _MASKS) * at_once


def saved_bytes(model: Any, forward: Callable[[Any], Tensor], *, bf16: bool) -> int:
    """Return the bytes that autograd saves in `forward(model)`, weights and buffers apart, without computing anything.

    model: on the meta device, as `model_shapes` returns it; it stays as it is.
    """
    fake = copy.deepcopy(model).train()
    with FakeTensorMode(allow_non_fake_inputs=True):
        # Fake tensors of the CPU and not of the meta device, which autocast passes over.
        fake = fake.to_empty(device="cpu")
        own = {t.untyped_storage()._cdata for t in (*fake.parameters(), *fake.buffers())}
        saved: dict[int, Any] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                saved[storage._cdata] = storage
            return tensor

        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
        ):
            result = forward(fake)
        total = sum(storage.nbytes() for storage in saved.values())
        del result  # until here the graph keeps the storages, whose addresses tell them apart
    return total
