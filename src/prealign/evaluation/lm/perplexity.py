"""Perplexity and bits per byte of held-out documents: every token is scored once, with a full context window.

1. A document of tokens x_1..x_n is read as inputs prefix, x_1..x_{n-1} and targets x_1..x_n: the prefix (BOS or EOS) is
   context and is never scored. Without a prefix, x_1 is context only.
2. Windows of `context` inputs move on by `stride`; each scores the targets that no earlier window scored. The last window is
   moved back to be full as well: only documents shorter than `context` have shorter windows.
3. Windows of all documents are sorted by shape and batched, with next to no padding. Logits are computed only from the
   first scored position of a batch on.
4. Negative log likelihoods are kept per token in float64 and summed per document. A corpus number is a ratio of sums over
   documents; its interval is a bootstrap over documents.

Perplexity is per token and compares models of one tokenizer only; bits per byte compare models of different tokenizers. The
softmax is the model's: it includes embedding rows beyond the tokenizer's ids.

    scores, items = Perplexity.from_texts(tokenizer, texts, language="en", context=512)(model)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from prealign.errors import DivergedError, PrealignError, RecipeError, TokenizerError
from prealign.evaluation.lm.coverage import KINDS, WordKinds, nats_of_kinds
from prealign.evaluation.lm.padding import right_padded
from prealign.evaluation.score import Evaluation, Score, identity, signature
from prealign.evaluation.statistics import FloatArray, Transform, bootstrap_ratio
from prealign.methods.alignment.states import measured
from prealign.text.encode import text_ids
from prealign.text.words import Tokenizer

IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Perplexity:
    """Evaluator of N documents: perplexity and bits per byte, and with `words` the perplexity of each kind of word.

    documents: token ids (T,). byte_counts (N,): UTF-8 bytes of each document's scored text. context: tokens of a window, at
    most the model's positions; stride: tokens from one window to the next, None: half the context. prefix: id read before
    each document, None: the first token is not scored. batch_size: windows. identity: the end of the signature.
    """

    documents: Sequence[NDArray[np.integer]]
    byte_counts: IntArray
    language: str
    context: int
    prefix: int | None
    stride: int | None = None
    batch_size: int = 32
    words: WordKinds | None = None
    identity: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_texts(
        cls, tokenizer: Tokenizer, texts: Sequence[str], *, language: str, context: int, **settings: Any
    ) -> Perplexity:
        """Tokenise documents. settings: other fields; the default `prefix` is BOS, or EOS for a tokenizer without BOS.

        Raises TokenizerError for a tokenizer that has neither.
        """
        prefix = next((i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None), None)
        if "prefix" not in settings and prefix is None:
            raise TokenizerError(
                "the tokenizer has neither a BOS nor an EOS token. Pass the id to read first as prefix=."
            )
        sizes = np.array([len(text.encode()) for text in texts], dtype=np.int64)
        settings = {"prefix": prefix, "identity": identity(tokenizer), **settings}
        documents = [np.asarray(ids, dtype=np.int64) for ids in text_ids(tokenizer, texts)]
        return cls(documents=documents, byte_counts=sizes, language=language, context=context, **settings)

    def __call__(self, model: PreTrainedModel, *, on_progress: Callable[[int], None] | None = None) -> Evaluation:
        """Evaluate a causal LM where it is; items are "nats", "tokens" and "bytes" (N,), and the same of each kind of word.

        `on_progress` gets the number of tokens of each batch. Raises PrealignError for a context beyond the model's
        positions, for a likelihood that is not finite, and for documents without any token to score.
        """
        positions = getattr(model.config, "max_position_embeddings", None)
        if positions is not None and self.context > positions:
            raise PrealignError(
                f"the context is {self.context} tokens, and the model has {positions} positions: lower it"
            )
        stride = self.stride or self.context // 2
        by_token = token_nats(
            model,
            self.documents,
            context=self.context,
            stride=stride,
            batch_size=self.batch_size,
            prefix=self.prefix,
            on_progress=on_progress,
        )
        sign = signature(docs=len(self.documents), ctx=self.context, stride=stride, **self.identity)
        nats, tokens = document_sums(by_token)
        scores = perplexity_scores(nats, tokens, self.byte_counts, language=self.language, signature=sign)
        items: dict[str, Any] = {"nats": nats.tolist(), "tokens": tokens.tolist(), "bytes": self.byte_counts.tolist()}
        if self.words is not None:
            sign += f"|words:{self.words.lexicon}"
            for kind, summed, counted in zip(
                KINDS, *(t.T for t in nats_of_kinds(by_token, self.words.kinds)), strict=True
            ):
                items[kind] = {"nats": summed.tolist(), "tokens": counted.tolist()}
                some, name = counted > 0, f"perplexity_{kind}"  # a kind without a word has no score
                if some.any():
                    parts = summed[some], counted[some], name, np.exp
                    scores.append(corpus_score(*parts, language=self.language, signature=sign))
        return Evaluation(scores, items)


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
    """Return windows (start, stop, first_scored) over `length` positions.

    A position reads one token and predicts the next. A window reads start..stop-1 and scores first_scored..stop-1. Every
    position is scored once. Outside the first window it has at least context - stride + 1 tokens to read, including its
    token. Raises RecipeError unless 1 <= stride <= context.
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
    """Return the summed nats (N,) and the number of tokens (N,) of documents from the nats of their tokens."""
    return np.array([n.sum() for n in nats], dtype=np.float64), np.array([len(n) for n in nats], dtype=np.int64)


def token_nats(
    model: PreTrainedModel,
    documents: Sequence[NDArray[np.integer]],
    *,
    context: int,
    stride: int,
    batch_size: int,
    prefix: int | None,
    on_progress: Callable[[int], None] | None = None,
) -> list[FloatArray]:
    """Return the negative log likelihoods, in nats, of the scored tokens of N documents: all, without a prefix all but one.

    Runs on the model's device in evaluation mode, and restores the mode. `on_progress` gets the number of tokens that a
    batch scored. Needs memory for batch_size * stride * V logits. Raises DivergedError if a likelihood is not finite.
    """
    settings: dict[str, Any] = {"context": context, "stride": stride, "batch_size": batch_size, "prefix": prefix}
    found = read_tokens(model, documents, _nats, on_progress=on_progress, **settings)
    nats = [by_token[:, 0] for by_token in found]
    _refuse_divergence(document_sums(nats)[0])
    return nats


def read_tokens(
    model: PreTrainedModel,
    documents: Sequence[NDArray[np.integer]],
    read: Callable[[Tensor, Tensor], Tensor],
    *,
    context: int,
    stride: int,
    batch_size: int,
    prefix: int | None,
    on_progress: Callable[[int], None] | None = None,
) -> list[FloatArray]:
    """Return what `read` gives for the scored tokens of N documents, (tokens, K) each; settings as those of `token_nats`.

    read: from logits (n, V), float32, and targets (n,) to numbers (n, K).
    """
    pieces = _cut(documents, context, stride, prefix)
    unscored = prefix is None
    found: list[FloatArray] = [np.zeros((max(0, len(document) - unscored), 1)) for document in documents]
    with measured(model):
        for first in range(0, len(pieces), batch_size):
            batch = pieces[first : first + batch_size]
            for piece, numbers in zip(batch, _read_windows(model, batch, read), strict=True):
                if found[piece.document].shape[1] != numbers.shape[1]:
                    found[piece.document] = np.zeros((len(found[piece.document]), numbers.shape[1]))
                found[piece.document][piece.first : piece.first + len(numbers)] = numbers
            if on_progress:
                on_progress(sum(len(piece.targets) for piece in batch))
    return found


def perplexity_scores(
    nats: FloatArray, tokens: IntArray, byte_counts: IntArray, *, language: str, signature: str
) -> list[Score]:
    """Return perplexity and bits per byte of a corpus from its documents' nats, scored tokens and bytes, each (N,).

    perplexity = exp(sum nats / sum tokens); bits per byte = sum nats / ln 2 / sum bytes. `byte_counts` are the UTF-8 bytes
    of each document's scored text. n leaves out documents without a scored token. Raises PrealignError if all are such.
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
    """Return transform(sum nats / sum sizes) over documents; nats and sizes (N,), all sizes positive.

    Raises DivergedError if the result overflows.
    """
    with np.errstate(over="ignore"):
        value, low, high = bootstrap_ratio(nats, sizes.astype(np.float64), transform)
    if not all(math.isfinite(number) for number in (value, low, high) if number is not None):
        per_token = nats.sum() / sizes.sum()
        raise DivergedError(f"the {metric} in {language} is too large for a number ({per_token:,.0f} nats a unit)")
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
    """Return the windows of all documents, equal shapes together; the longest first: too little memory shows at once."""
    pieces = []
    for number, document in enumerate(documents):
        head = [] if prefix is None else [prefix]
        ids = np.concatenate([np.asarray(head, dtype=np.int64), np.asarray(document, dtype=np.int64)])
        for start, stop, first_scored in windows(max(0, len(ids) - 1), context, stride):
            pieces.append(_Window(number, first_scored, ids[start:stop], ids[first_scored + 1 : stop + 1]))
    return sorted(pieces, key=lambda piece: (-len(piece.inputs), piece.skipped))


def _read_windows(
    model: PreTrainedModel, batch: list[_Window], read: Callable[[Tensor, Tensor], Tensor]
) -> list[FloatArray]:
    """Return what `read` gives for each window's targets, from one forward pass."""
    input_ids, mask = right_padded([piece.inputs for piece in batch], model.device)  # (B, T)
    kept = input_ids.shape[1] - min(piece.skipped for piece in batch)
    # Without padding the mask says nothing, and costs a tenth of the time.
    padding = None if bool(mask.all()) else mask
    output = model(input_ids=input_ids, attention_mask=padding, use_cache=False, logits_to_keep=kept)
    logits = output.logits[:, -kept:]  # (B, kept, V); the slice serves models that ignore logits_to_keep
    found = []
    for row, piece in enumerate(batch):  # a window at a time, so no (B, T, V) copy is made
        first = kept - input_ids.shape[1] + piece.skipped
        own = logits[row, first : first + len(piece.targets)].float()
        labels = torch.from_numpy(piece.targets).to(own.device)
        found.append(read(own, labels).cpu().double().numpy())
    return found


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the nats (n, 1) of targets (n,) from logits (n, V)."""
    return cross_entropy(logits, targets, reduction="none")[:, None]


def _refuse_divergence(nats: FloatArray) -> None:
    broken = np.flatnonzero(~np.isfinite(nats))
    if len(broken):
        raise DivergedError(
            f"the likelihood is not finite for {len(broken)} of {len(nats)} documents (first: number {broken[0]})"
        )
