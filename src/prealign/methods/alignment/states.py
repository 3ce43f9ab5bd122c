"""Representations of words at every layer of a causal LM.

1. Encode each word form as the tokenizer would in running text, optionally after BOS.
2. Pack the forms, one after the other, into rows of equal width, so that hardly anything is padding, and run all rows as
   one batch. The positions of each form begin at 0, and by them attention keeps the forms of a row apart, as in packed
   training. A model that does not (`packs` tries it out) has a padded row for each form. There are no vocabulary logits,
   as the model's body alone is called.
3. Layer l = 0 (input embedding), 1..L (blocks) is the mean of the hidden states over the form's own tokens, never BOS and
   never padding. Layer L+1 is the mean of their rows in the output embedding, looked up for all batches together, as every
   look-up costs a gradient as large as the matrix; tied models leave it out (it is layer 0).
4. In micro-batches, the activations of a batch are forgotten and made again when its gradient is due. A loss of all states
   then has the gradient of one batch of all forms at the memory of one micro-batch: its gradient by the states comes first,
   and each micro-batch is encoded once more to pass it on (cached gradients, Gao et al. 2021), with the same dropout.

`hidden_states` are what Hugging Face returns: the last one is after the final norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from prealign.errors import TokenizerError
from prealign.text.encode import encode_words
from prealign.text.ragged import Ragged
from prealign.text.words import Tokenizer

# W word forms, n tokens of a form, R rows, N = R · width places in them, D width, L transformer blocks

ROW = 36
"""Places of a row: forms of 1 to 6 tokens fill it (nearly) without rest, and attention within it costs little."""
_LARGEST_BATCH = 4096
_PADDED_BATCH = 256
_FORM = ROW // 2  # tokens of the forms by which a model is asked whether it packs
_ROUNDING = 0.02  # in bf16; a position taken for another moves states by more


# Batches of words have a shape each, and `trainer.torch_compile` would compile every new one.
@torch.compiler.disable
def encoded_word_states(
    model: Any, ids: Tensor, lengths: Tensor, bos: int | None = None, micro: int | None = None, most: int | None = None
) -> Tensor:
    """Return the states (L+2, W, D) of word forms; (L+1, W, D) if input and output embeddings are tied.

    ids (W, n) padded on the right with any valid id, lengths (W,) >= 1; micro: how many forms have their activations in
    memory at once, all if None; most: the most forms that a rank has, W if None. Gradients flow.
    """
    packed = packs(model)
    # By length, as what pads a form without a row to share is then little.
    order = torch.arange(len(ids), device=ids.device) if packed else torch.argsort(lengths, stable=True)
    size = min(_LARGEST_BATCH if packed else _PADDED_BATCH, micro or _LARGEST_BATCH)
    # As many batches on every rank: where weights are in shards, all gather them for each.
    batches = -(-(most or len(ids)) // size)
    parts = []
    for forms in order.tensor_split(batches):
        inputs = (model, ids[forms], lengths[forms], bos, packed)
        parts.append(_body_states(*inputs) if micro is None else checkpoint(_body_states, *inputs, use_reentrant=False))
    states = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
    if not packed:
        states = states.index_select(1, torch.argsort(order))
    return states if tied(model) else torch.cat([states, _output_states(model, ids, lengths)[None]])


@dataclass(frozen=True)
class Rows:
    """Where the tokens of forms stand in rows of one width."""

    number: int
    width: int
    form: np.ndarray  # (N',) of every token
    position: np.ndarray  # (N',) of every token in its form
    place: np.ndarray  # (N',) of every token in all rows

    @classmethod
    def of(cls, lengths: np.ndarray, least: int) -> Rows:
        """Put forms of `lengths` (W,) >= 1 into rows, the short ones first, each into the last row if it fits.

        The rows are as wide as the longest form, but at least `least`.
        """
        order = np.argsort(lengths, kind="stable")
        lengths = lengths[order]
        width = max(least, lengths[-1])
        ends = np.cumsum(lengths)
        begins = ends - lengths
        first = [0]  # form of each row
        while (after := int(np.searchsorted(ends, begins[first[-1]] + width, "right"))) < len(ends):
            first.append(after)
        row = np.repeat(np.arange(len(first)), np.diff([*first, len(ends)]))  # (W,)
        form = np.repeat(np.arange(len(ends)), lengths)
        position = np.arange(len(form)) - begins[form]
        place = (row * width + begins - begins[first][row])[form] + position
        return cls(len(first), int(width), order[form], position, place)


def _body_states(model: Any, ids: Tensor, lengths: Tensor, bos: int | None, packed: bool) -> Tensor:
    """Return the states (L+1, W, D) of one batch: all layers but the output embedding."""
    if bos is not None:
        ids = F.pad(ids, (1, 0), value=bos)
    prefix = 0 if bos is None else 1
    counts = (lengths + prefix).cpu().numpy()
    # Rows no wider than the longest form have room for one form each only if all are of that length.
    rows = Rows.of(counts if packed else np.full_like(counts, counts.max()), ROW if packed else 1)
    form, position, place = (torch.from_numpy(a).to(ids.device) for a in (rows.form, rows.position, rows.place))
    tokens, positions = ids.new_zeros(2, rows.number * rows.width)
    tokens[place], positions[place] = ids[form, position], position
    # Padding has position 0 wherever it stands: to attention, each place of it is a form of its own.
    given = {"position_ids": positions.view(rows.number, -1)} if packed else {}
    hidden = model.base_model(
        input_ids=tokens.view(rows.number, -1), use_cache=False, output_hidden_states=True, **given
    ).hidden_states
    owner = torch.full_like(tokens, len(ids))  # (N,), W: none
    own = (position >= prefix) & (position < prefix + lengths[form])
    owner[place[own]] = form[own]
    return torch.stack([_means(h.flatten(0, 1), owner, lengths) for h in hidden])


def _output_states(model: Any, ids: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean of each form's rows in the output embedding, (W, D)."""
    own = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]  # (W, n)
    return _means(F.embedding(ids[own], model.get_output_embeddings().weight), own.nonzero()[:, 0], lengths)


def _means(rows: Tensor, form: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean (W, D) of each form's rows (N, D), form (N,), W for rows of none."""
    sums = torch.zeros(len(lengths) + 1, rows.shape[1], dtype=_precise(rows), device=rows.device)
    return sums.index_add(0, form, rows.to(sums.dtype))[:-1] / lengths[:, None]


_PACKS: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def packs(model: Any) -> bool:
    """Whether this model keeps forms apart that share a row, told by positions that begin at 0 with each.

    Asked of the model itself, once. Models without positions do not (ALiBi, recurrence), nor do some with them
    (convolutions, scans), nor any whose attention reads such positions in a batch of one row alone (FlashAttention).
    """
    body = model.base_model
    if body not in _PACKS:
        _PACKS[body] = "position_ids" in signature(body.forward).parameters and _keeps_apart(model)
    return _PACKS[body]


def _keeps_apart(model: Any) -> bool:
    """Whether a form's states are the same after different forms, to the last bit, and before one, but for rounding.

    Each row is two forms; every call has the same shape.
    """
    embedding = model.get_input_embeddings().weight
    tokens = torch.arange(3 * _FORM, device=embedding.device).remainder(len(embedding)).view(3, _FORM)
    positions = torch.arange(_FORM, device=embedding.device).repeat(2, 2)  # (2, ROW)

    def states(first: Tensor, second: Tensor) -> Tensor:
        hidden = model.base_model(
            input_ids=torch.cat([first, second]).repeat(2, 1),
            position_ids=positions,
            use_cache=False,
            output_hidden_states=True,
        ).hidden_states
        return torch.stack([h[0] for h in hidden]).float()  # (L+1, ROW, D)

    form, one, other = tokens
    device = embedding.device.type
    dtype, enabled = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    # Weights that autocast casts here would know no gradient, and those that it has are the step's own: a step after a
    # resume, which asks anew, must round as any other.
    with measured(model), torch.autocast(device, dtype, enabled, False):
        after, after_other, before = (states(*pair) for pair in ((one, form), (other, form), (form, one)))
    told_apart = not torch.equal(after[0, _FORM - 1], after_other[0, _FORM - 1])
    own, again, moved = after[:, _FORM:], after_other[:, _FORM:], before[:, :_FORM]
    near = (moved - own).norm(dim=(1, 2)) < _ROUNDING * own.norm(dim=(1, 2))
    return told_apart and torch.equal(own, again) and bool(near.all())


def _precise(states: Tensor) -> torch.dtype:
    return torch.promote_types(states.dtype, torch.float32)


def tied(model: Any) -> bool:
    """Whether input and output embeddings are one matrix (under a parametrisation: computed from one)."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    return head is None or _parameter(head) is _parameter(embedding)


def _parameter(module: Any) -> Tensor:
    return module.parametrizations.weight.original if parametrize.is_parametrized(module, "weight") else module.weight


def pad_words(words: Ragged) -> tuple[Tensor, Tensor]:
    """Return ids (W, n) padded with 0 and lengths (W,). A form without tokens is a TokenizerError."""
    lengths = words.lengths
    if len(lengths) and lengths.min() == 0:
        raise TokenizerError(
            f"word form {int(lengths.argmin())} has no tokens: the tokenizer drops all its characters."
        )
    ids = np.zeros((len(lengths), lengths.max(initial=1)), dtype=np.int64)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = words.values
    return torch.from_numpy(ids), torch.from_numpy(lengths.astype(np.int64))


@contextmanager
def measured(model: Any) -> Iterator[None]:
    """Put the model into evaluation mode, without gradients, and its mode back afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def word_states(
    model: Any, tokenizer: Tokenizer, words: Sequence[str], *, language: str = "en", bos: bool = False
) -> Tensor:
    """Return the states (L+2, W, D) of `words` of a language, float32, on the CPU (L+1 layers if tied).

    A word without tokens, or `bos` with a tokenizer that has none, is a TokenizerError.
    """
    ids, lengths = pad_words(encode_words(tokenizer, words, language))
    device = model.get_input_embeddings().weight.device
    with measured(model):
        states = encoded_word_states(model, ids.to(device), lengths.to(device), bos_id(tokenizer) if bos else None)
    return states.float().cpu()


def bos_id(tokenizer: Tokenizer) -> int:
    """Return the id a word is encoded after when `align.bos` is on: BOS, or the document separator EOS."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise TokenizerError("align.bos is on, but the tokenizer has neither a BOS nor an EOS token. Set align.bos: false.")
