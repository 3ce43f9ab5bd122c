"""Perplexity and bits per byte of held-out documents, every token scored once with a full context window.

1. A document of tokens x_1..x_n is read as inputs prefix, x_1..x_{n-1} and targets x_1..x_n: the prefix
   (bos or eos) is context and is never scored. Without a prefix x_1 is context only.
2. Windows of `context` inputs move on by `stride`; each scores the targets no earlier window scored. The
   last window is moved back so that it is full too: only documents shorter than `context` have shorter
   windows.
3. Windows of all documents are sorted by shape and batched, so that there is next to no padding; logits are
   computed only from the first scored position of a batch on.
4. Negative log likelihoods are kept per token in float64 and added up per document; a corpus number is a ratio of
   sums over documents, and its interval is a bootstrap over documents.

Why bits per byte beside perplexity: perplexity is per token and compares only under one tokenizer, bytes
are everyone's. The softmax is the model's: rows of the embedding matrix beyond the tokenizer's ids take
part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from prealign.errors import PrealignError, RecipeError
from prealign.evaluation.lm.padding import right_padded
from prealign.evaluation.score import Score
from prealign.evaluation.statistics import FloatArray, Transform, bootstrap_ratio
from prealign.methods.alignment.states import measured

IntArray = NDArray[np.int64]


class _Window(NamedTuple):
    """A slice of one document: `inputs` (T,), and `targets` for its last positions, from scored token `first` on."""

    document: int
    first: int
    inputs: IntArray
    targets: IntArray

    @property
    def skipped(self) -> int:
        """Leading positions that are context only."""
        return len(self.inputs) - len(self.targets)


def windows(length: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """Windows (start, stop, first_scored) over `length` positions.

    A position reads one token and predicts the next. A window reads start..stop-1 and scores
    first_scored..stop-1. Every position is scored once, and outside the first window after reading at least
    context - stride + 1 tokens (its own among them). Raises RecipeError unless 1 <= stride <= context.
    """
    if not 1 <= stride <= context:
        raise RecipeError(
            f"evaluate.stride is {stride}, but must lie between 1 and the context of {context} tokens, "
            "or tokens would go unscored; lower evaluate.stride"
        )
    spans = []
    scored, stop = 0, min(context, length)
    while scored < length:
        spans.append((max(0, stop - context), stop, scored))
        scored, stop = stop, min(stop + stride, length)
    return spans


def document_sums(nats: Sequence[FloatArray]) -> tuple[FloatArray, IntArray]:
    """Nats (N,) and number of tokens (N,) of documents from those of their tokens."""
    return np.array([own.sum() for own in nats], dtype=np.float64), np.array([len(own) for own in nats], dtype=np.int64)


def token_nats(
    model: PreTrainedModel,
    documents: Sequence[NDArray[np.integer]],
    *,
    context: int,
    stride: int,
    batch_size: int,
    prefix: int | None,
    on_progress: Callable[[int], None] = lambda tokens: None,
) -> list[FloatArray]:
    """Negative log likelihood in nats of every scored token of N documents (token ids): all, or without a prefix all
    but the first.

    Runs where the model is, in evaluation mode, and puts its mode back. `on_progress` gets the tokens
    scored by each batch. Needs room for batch_size * stride * V logits. Raises PrealignError if a document's
    likelihood is not finite.
    """
    pieces = _cut(documents, context, stride, prefix)
    unscored = prefix is None
    nats = [np.zeros(max(0, len(document) - unscored)) for document in documents]
    with measured(model):
        for first in range(0, len(pieces), batch_size):
            batch = pieces[first : first + batch_size]
            for piece, nll in zip(batch, _window_nats(model, batch), strict=True):
                nats[piece.document][piece.first : piece.first + len(nll)] = nll
            on_progress(sum(len(piece.targets) for piece in batch))
    _refuse_divergence(document_sums(nats)[0])
    return nats


def perplexity_scores(
    nats: FloatArray, tokens: IntArray, byte_counts: IntArray, *, language: str, signature: str
) -> list[Score]:
    """Perplexity and bits per byte of a corpus from its documents' nats, scored tokens and bytes, each (N,).

    perplexity = exp(sum nats / sum tokens); bits per byte = sum nats / ln 2 / sum bytes. `byte_counts` are
    the UTF-8 bytes of each document's scored text. Documents without a scored token say nothing and are not
    part of n. Raises PrealignError if that is all of them.
    """
    scored = tokens > 0
    if not scored.any():
        raise PrealignError(
            f"none of the {len(tokens)} test documents in {language} has a token to score; give longer documents"
        )
    measures: list[tuple[str, IntArray, Transform]] = [
        ("perplexity", tokens, np.exp),
        ("bits_per_byte", byte_counts, lambda nats_per_byte: nats_per_byte / np.log(2)),
    ]
    return [
        corpus_score(nats[scored], sizes[scored], metric, transform, language=language, signature=signature)
        for metric, sizes, transform in measures
    ]


def corpus_score(
    nats: FloatArray, sizes: IntArray, metric: str, transform: Transform, *, language: str, signature: str
) -> Score:
    """transform(sum nats / sum sizes) over documents, nats and sizes (N,), all sizes positive."""
    value, low, high = bootstrap_ratio(nats, sizes.astype(np.float64), transform)
    return Score(
        task="lm",
        language=language,
        metric=metric,
        value=value,
        low=low,
        high=high,
        n=len(nats),
        signature=signature,
        stage="pretrain",
        split="test",
    )


def _cut(documents: Sequence[NDArray[np.integer]], context: int, stride: int, prefix: int | None) -> list[_Window]:
    """Windows of all documents, like shapes together; the longest first, so memory fails early or never."""
    pieces = []
    for number, document in enumerate(documents):
        head = [] if prefix is None else [prefix]
        ids = np.concatenate([np.asarray(head, dtype=np.int64), np.asarray(document, dtype=np.int64)])
        for start, stop, first_scored in windows(max(0, len(ids) - 1), context, stride):
            pieces.append(_Window(number, first_scored, ids[start:stop], ids[first_scored + 1 : stop + 1]))
    return sorted(pieces, key=lambda piece: (-len(piece.inputs), piece.skipped))


def _window_nats(model: PreTrainedModel, batch: list[_Window]) -> list[FloatArray]:
    """Nats of each window's targets, from one forward pass."""
    input_ids, mask = right_padded([piece.inputs for piece in batch], model.device)  # (B, T)
    kept = input_ids.shape[1] - min(piece.skipped for piece in batch)
    # Without padding the mask says nothing, and costs a tenth of the time.
    padding = None if bool(mask.all()) else mask
    output = model(input_ids=input_ids, attention_mask=padding, use_cache=False, logits_to_keep=kept)
    logits = output.logits[:, -kept:]  # (B, kept, V); the slice serves models that ignore logits_to_keep
    return [
        _nats(logits[row, kept - input_ids.shape[1] + piece.skipped :], piece.targets)
        for row, piece in enumerate(batch)
    ]


def _nats(logits: Tensor, targets: IntArray) -> FloatArray:
    """Nats of the targets (n,) from logits (>= n, V); a window at a time, so no (B, T, V) copy is made."""
    labels = torch.from_numpy(targets).to(logits.device)
    losses = cross_entropy(logits[: len(targets)].float(), labels, reduction="none")  # (n,)
    return losses.cpu().double().numpy()


def _refuse_divergence(nats: FloatArray) -> None:
    broken = np.flatnonzero(~np.isfinite(nats))
    if len(broken):
        raise PrealignError(
            f"the model's likelihood is not finite for {len(broken)} of {len(nats)} documents (first: number "
            f"{broken[0]}): training diverged; lower pretrain.learning_rate and run the arm again"
        )
