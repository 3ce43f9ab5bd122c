"""Representations of words at every layer of a causal LM.

1. Encode each word form as the tokenizer would in running text, optionally after BOS.
2. Sort the forms by their number of tokens and run each length as one batch: (nearly) no padding, and no vocabulary
   logits, as the model's body alone is called.
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
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from prealign.errors import TokenizerError
from prealign.text.languages import encode_words
from prealign.text.ragged import Ragged
from prealign.text.words import Tokenizer

# W word forms, n tokens of a form, D width, L transformer blocks

_LEAST_BATCH = 32
_LARGEST_BATCH = 4096


def length_batches(lengths: Tensor, least: int = _LEAST_BATCH, largest: int = _LARGEST_BATCH) -> list[Tensor]:
    """Split the indices of `lengths` (W,) into batches of equal length.

    Lengths with fewer than `least` forms join the next longer one (a forward pass costs more than a little padding);
    no batch holds more than `largest`.
    """
    order = torch.argsort(lengths, stable=True)
    changes = torch.nonzero(torch.diff(lengths[order])).flatten() + 1
    batches: list[Tensor] = []
    begin = 0
    for end in [*changes.tolist(), len(order)]:
        if end - begin >= least or end == len(order):
            batches.extend(torch.split(order[begin:end], largest))
            begin = end
    return [batch for batch in batches if len(batch)]


# Batches of words have a shape each, and `trainer.torch_compile` would compile every new one.
@torch.compiler.disable
def encoded_word_states(
    model: Any, ids: Tensor, lengths: Tensor, bos: int | None = None, micro: int | None = None
) -> Tensor:
    """Return the states (L+2, W, D) of word forms; (L+1, W, D) if input and output embeddings are tied.

    ids (W, n) padded on the right with any valid id, lengths (W,) >= 1; micro: how many forms have their activations in
    memory at once, all if None. Gradients flow.
    """
    largest = _LARGEST_BATCH if micro is None else min(micro, _LARGEST_BATCH)
    batches = [batch.to(ids.device) for batch in length_batches(lengths.cpu(), largest=largest)]
    order = torch.cat(batches)  # (W,)
    outputs = None if tied(model) else _output_states(model, ids[order], lengths[order]).split([*map(len, batches)])
    parts = []
    for number, batch in enumerate(batches):
        inputs = (model, ids[batch], lengths[batch], bos)
        part = _body_states(*inputs) if micro is None else checkpoint(_body_states, *inputs, use_reentrant=False)
        parts.append(part if outputs is None else torch.cat([part, outputs[number][None]]))  # (L+2, w, D)
    return torch.cat(parts, dim=1).index_select(1, torch.argsort(order))


def _body_states(model: Any, ids: Tensor, lengths: Tensor, bos: int | None) -> Tensor:
    """Return the states (L+1, w, D) of one batch: all layers but the output embedding."""
    longest = int(lengths.max())
    first = 0 if bos is None else 1
    tokens = ids[:, :longest] if bos is None else F.pad(ids[:, :longest], (1, 0), value=bos)  # (w, n)
    hidden = model.base_model(input_ids=tokens, use_cache=False, output_hidden_states=True).hidden_states
    own = torch.arange(longest, device=ids.device) < lengths[:, None]  # (w, n)
    share = (own.to(_precise(hidden[0])) / lengths[:, None]).unsqueeze(-1)  # (w, n, 1)
    return torch.stack([(h[:, first:] * share).sum(1) for h in hidden])


def _output_states(model: Any, ids: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean of each form's rows in the output embedding, (W, D)."""
    own = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]  # (W, n)
    form = own.nonzero()[:, 0]  # (N,) of every token
    rows = F.embedding(ids[own], model.get_output_embeddings().weight)  # (N, D)
    rows = rows.to(_precise(rows)) / lengths[form, None]
    return rows.new_zeros(len(ids), rows.shape[1]).index_add(0, form, rows)


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
