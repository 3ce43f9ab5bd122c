"""Memory for training a causal LM on one device, in bytes, computed without that device.

1. Weights and gradients are float32: 4 bytes a parameter each. AdamW keeps two more float32 tensors: 8 bytes a
   parameter. Frozen parameters have weights only.
2. Activations are the tensors that autograd saves for the backward pass. They are counted, not estimated: the model's
   forward runs on fake tensors (shapes without data, `torch._subclasses`), and hooks add up the saved storages.
3. Logits: the loss (`prealign.training.loss`) computes their gradient in the forward pass, in the precision of the
   logits. Two tensors (B, T, V) exist at once: 4 · B · T · V bytes in bf16 autocast, 8 · B · T · V in float32. float16
   uses the stock loss, which holds three float32 tensors: the log-probabilities and the gradients on both sides of
   log-softmax. liger-kernel's loss (`trainer.use_liger_kernel`) holds three tensors for one chunk of tokens, and the
   gradient of the output weights from the forward pass on.
4. L_align saves the activations of the word forms, packed in full rows: of all forms, or of one micro-batch. It keeps
   their states (L + 2, W, D) in float32: three copies while the batches are joined, then one. Beside them are the unit
   vectors, the gradient and a copy of the scored layers. Similarities exist one tile at a time. Each device scores the
   joined batch of all devices, so each holds the joined states too.

The parts add up to an upper bound on one device, where gradients are allocated while activations are freed. On several
devices, DDP's buckets hold the gradients all the time. The CUDA context and fragmentation are not counted.
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
    """Bytes on one device, by their use."""

    weights: float
    gradients: float
    optimiser: float
    activations: float = 0.0
    logits: float = 0.0
    objectives: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all parts, in bytes."""
        return float(sum(astuple(self)))


def parameter_memory(model: Any, shards: int = 1) -> Memory:
    """Return the memory of weights, gradients and optimiser state, spread over `shards` devices."""
    sizes = [(FLOAT * p.numel() / shards, p.requires_grad) for p in model.parameters()]
    trained = sum(size for size, trains in sizes if trains)
    return Memory(sum(size for size, _ in sizes), gradients=trained, optimiser=_OPTIMISER_STATES * trained)


@lru_cache(maxsize=64)  # most arms have the same steps
def text_memory(model: Any, batch: int, context: int, *, bf16: bool, stock: bool = False) -> tuple[float, float]:
    """Return (bytes of activations, bytes of logits) of a step on `batch` sequences of `context` tokens.

    model: on the meta device. stock: the step uses the loss of transformers.
    """
    captured: list[Tensor] = []

    def compute_logits(fake: Any) -> Tensor:
        captured.append(fake(input_ids=torch.zeros(batch, context, dtype=torch.long), use_cache=False).logits)
        return captured[0]

    activations = saved_bytes(model, compute_logits, bf16=bf16)
    logits = captured[0]
    # Some models return float32 logits in any precision, so the element size comes from the logits.
    return activations, logits.numel() * (_STOCK_AT_ONCE * FLOAT if stock else _LOGITS_AT_ONCE * logits.element_size())


def fused_loss_memory(tokens: int, width: int, rows: int) -> float:
    """Return the bytes of liger-kernel's fused loss. They replace the bytes of logits from `text_memory`.

    tokens: of a step. width: of a hidden state. rows: of the output embedding. A chunk has ceil(tokens / ceil(rows /
    width)) tokens, rounded up to a power of two (liger-kernel's `fused_linear_cross_entropy_forward`). The gradients of
    hidden states and weights are kept.
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
    """Return the bytes of L_align over `layers` layers, for `forms` word forms a device with a mean length of `length`
    tokens.

    model: on the meta device. ranks: number of devices. tile: similarities in memory at once. row: tokens in a row of
    packed forms. micro: forms encoded at once; None encodes all.
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
    """Return the bytes that the contrastive loss adds to its states (layers, forms, width).

    tile: similarities in memory at once.
    """
    at_once = min(forms**2, max(tile, forms))  # a tile has at least one anchor
    copies = 2 if forms**2 <= tile else 1  # a single tile also needs the sum of its derivative and its transpose
    return _STATES_SCORED * layers * FLOAT * forms * width + (copies * FLOAT + _MASKS) * at_once


def saved_bytes(model: Any, forward: Callable[[Any], Tensor], *, bf16: bool) -> int:
    """Return the bytes that autograd saves in `forward(model)`, without weights and buffers. Nothing is computed.

    model: on the meta device, as `model_shapes` returns it. It is not changed.
    """
    fake = copy.deepcopy(model).train()
    with FakeTensorMode(allow_non_fake_inputs=True):
        # Fake tensors on the CPU: autocast ignores the meta device.
        fake = fake.to_empty(device="cpu")
        weights = {t.untyped_storage()._cdata for t in (*fake.parameters(), *fake.buffers())}
        saved: dict[int, Any] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                saved[storage._cdata] = storage
            return tensor

        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
        ):
            result = forward(fake)
        total = sum(storage.nbytes() for storage in saved.values())
        del result  # the graph must live until here: storages are told apart by their addresses
    return total
