"""States of words at every layer of a causal LM.

1. Encode each word form as the tokenizer encodes it in running text, optionally after BOS.
2. Pack the forms one after another into rows of equal width and run all rows as one batch. Hardly any place is padding.
   Position ids restart at 0 with each form; by them attention keeps the forms of a row apart, as in packed training.
   For a model that does not keep them apart (`packs` tests it), each form gets a padded row. Only the model's body
   runs, so there are no vocabulary logits.
3. The state at layer l = 0 (input embedding) and 1..L (blocks) is the mean of the hidden states over the tokens of the
   form, without BOS and padding. The state at layer L+1 is the mean of the tokens' rows in the output embedding. These
   rows are looked up once for all batches, as each look-up allocates a gradient as large as the matrix. Tied models
   leave layer L+1 out: it equals layer 0.
4. With micro-batches, the activations of a batch are freed and recomputed in the backward pass. The loss of all states
   then has the gradient of one large batch at the memory of one micro-batch: the gradient by the states is computed
   first, then each micro-batch is encoded again, with the same dropout, to propagate it (cached gradients, Gao et al.
   2021).

`hidden_states` are those of Hugging Face: the last one comes after the final norm.
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

# W word forms, n tokens of a form, R rows, N = R · (row width) token places, D width, L transformer blocks

ROW = 36
"""Token places in a row: forms of 1 to 6 tokens fill it almost completely, and attention within it is cheap."""
_LARGEST_BATCH = 4096
_PADDED_BATCH = 256
_FORM = ROW // 2  # tokens of each test form in `_keeps_apart`
_ROUNDING = 0.02  # relative, in bf16; a wrong position changes states by more


# Word batches have many shapes, and `trainer.torch_compile` would compile each.
@torch.compiler.disable
def encoded_word_states(
    model: Any, ids: Tensor, lengths: Tensor, bos: int | None = None, micro: int | None = None, most: int | None = None
) -> Tensor:
    """Return the states (L+2, W, D) of word forms; (L+1, W, D) if input and output embeddings are tied. Gradients flow.

    ids (W, n): padded on the right with any valid id. lengths (W,): >= 1. bos: token id placed before each form, None
    for no token. micro: forms whose activations are in memory at once, None for all. most: maximum of W over the ranks,
    None for W.
    """
    packed = packs(model)
    # Without packing, sort by length: forms of one batch then need little padding.
    order = torch.arange(len(ids), device=ids.device) if packed else torch.argsort(lengths, stable=True)
    size = min(_LARGEST_BATCH if packed else _PADDED_BATCH, micro or _LARGEST_BATCH)
    # The same number of batches on every rank: with sharded weights, all ranks gather the shards for each batch.
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
    """Packing of forms into `number` rows of `width` places: for each of N' tokens its form, position and place."""

    number: int
    width: int
    form: np.ndarray  # (N',) number of the form
    position: np.ndarray  # (N',) index in the form
    place: np.ndarray  # (N',) index into the flattened rows

    @classmethod
    def of(cls, lengths: np.ndarray, least: int) -> Rows:
        """Pack forms of `lengths` (W,) >= 1, shortest first: into the last row if the form fits, else into a new row.

        The row width is the length of the longest form, but at least `least`.
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
    """Return the states (L+1, W, D) of one batch: all layers except the output embedding."""
    if bos is not None:
        ids = F.pad(ids, (1, 0), value=bos)
    prefix = 0 if bos is None else 1
    counts = (lengths + prefix).cpu().numpy()
    # Without packing, every length is set to the longest form's, so each row holds one form.
    rows = Rows.of(counts if packed else np.full_like(counts, counts.max()), ROW if packed else 1)
    form, position, place = (torch.from_numpy(a).to(ids.device) for a in (rows.form, rows.position, rows.place))
    tokens, positions = ids.new_zeros(2, rows.number * rows.width)
    tokens[place], positions[place] = ids[form, position], position
    # Every padding place has position 0, so attention treats each as a separate form.
    packing = {"position_ids": positions.view(rows.number, -1)} if packed else {}
    hidden = model.base_model(
        input_ids=tokens.view(rows.number, -1), use_cache=False, output_hidden_states=True, **packing
    ).hidden_states
    form_at = torch.full_like(tokens, len(ids))  # (N,), W for BOS and padding
    in_form = (position >= prefix) & (position < prefix + lengths[form])
    form_at[place[in_form]] = form[in_form]
    return torch.stack([_means(h.flatten(0, 1), form_at, lengths) for h in hidden])


def _output_states(model: Any, ids: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean of each form's rows in the output embedding, (W, D)."""
    in_form = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]  # (W, n)
    rows = F.embedding(ids[in_form], model.get_output_embeddings().weight)
    return _means(rows, in_form.nonzero()[:, 0], lengths)


def _means(rows: Tensor, form: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean (W, D) of each form's rows. rows (N, D); form (N,): the form of each row, W for no form."""
    sums = torch.zeros(len(lengths) + 1, rows.shape[1], dtype=_precise(rows), device=rows.device)
    return sums.index_add(0, form, rows.to(sums.dtype))[:-1] / lengths[:, None]


_PACKS: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def packs(model: Any) -> bool:
    """Whether the model keeps the forms of a row apart when position ids restart at 0 with each form.

    A test forward decides, once per model. Models without position ids fail (ALiBi, recurrence), and so do some models
    with position ids (convolutions, scans). FlashAttention fails too: it honours restarted positions only in a batch of
    one row.
    """
    body = model.base_model
    if body not in _PACKS:
        _PACKS[body] = "position_ids" in signature(body.forward).parameters and _keeps_apart(model)
    return _PACKS[body]


def _keeps_apart(model: Any) -> bool:
    """Whether the states of a form do not depend on the other form in its row.

    1. Place a form second in a row, after two different first forms: its states must be equal to the last bit.
    2. Place the form first: its states must be equal up to rounding.

    The states of the first forms must differ, else the test proves nothing. All forwards have the same shape.
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

    form, first_a, first_b = tokens
    device = embedding.device.type
    dtype, enabled = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    # Autocast without its weight cache. Weights cast here, without gradients, must not serve the step; and the step's
    # cached weights must not serve here, or a step after a resume, which runs this test again, would round differently.
    with measured(model), torch.autocast(device, dtype, enabled, False):
        after_a, after_b, before = (states(*row) for row in ((first_a, form), (first_b, form), (form, first_a)))
    distinct = not torch.equal(after_a[0, _FORM - 1], after_b[0, _FORM - 1])
    second, second_again, first = after_a[:, _FORM:], after_b[:, _FORM:], before[:, :_FORM]
    near = (first - second).norm(dim=(1, 2)) < _ROUNDING * second.norm(dim=(1, 2))
    return distinct and torch.equal(second, second_again) and bool(near.all())


def _precise(states: Tensor) -> torch.dtype:
    return torch.promote_types(states.dtype, torch.float32)


def tied(model: Any) -> bool:
    """Whether input and output embeddings share one matrix (under a parametrisation: are computed from one matrix)."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    return head is None or _parameter(head) is _parameter(embedding)


def _parameter(module: Any) -> Tensor:
    return module.parametrizations.weight.original if parametrize.is_parametrized(module, "weight") else module.weight


def pad_words(words: Ragged) -> tuple[Tensor, Tensor]:
    """Return ids (W, n), padded with 0, and lengths (W,). A form without tokens is a TokenizerError."""
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
    """Put the model into evaluation mode without gradients; restore its mode afterwards."""
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
    """Return the states (L+2, W, D) of `words` in `language`, float32, on the CPU; L+1 layers if embeddings are tied.

    bos: encode each word after BOS, or after EOS if the tokenizer has no BOS. Raises TokenizerError for a word without
    tokens, or for `bos` if the tokenizer has neither BOS nor EOS.
    """
    ids, lengths = pad_words(encode_words(tokenizer, words, language))
    device = model.get_input_embeddings().weight.device
    with measured(model):
        states = encoded_word_states(model, ids.to(device), lengths.to(device), bos_id(tokenizer) if bos else None)
    return states.float().cpu()


def bos_id(tokenizer: Tokenizer) -> int:
    """Return the token id placed before a word by `align.bos`: BOS, else EOS. TokenizerError if there is neither."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise TokenizerError("align.bos is on, but the tokenizer has neither a BOS nor an EOS token. Set align.bos: false.")
