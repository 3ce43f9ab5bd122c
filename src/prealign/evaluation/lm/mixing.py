"""Mixing of languages: how much of a model's probability, and of what it writes, is in another language than the text.

1. A row of the vocabulary belongs to a language if its share of that language's text is `RATIO` times its share of every
   other language's; other rows are shared (`language_rows`). A row is *foreign* to a text if it belongs to another language.
2. At each scored position m is the probability of all foreign rows. Where the label y is not foreign,

       -log p(y) = -log(1 - m) + -log(p(y) / (1 - m))

   so perplexity over these positions = language factor x perplexity within the language: what mixing costs, and what the
   content costs. Positions with a foreign label (a quotation) are left out; the signature has the number of the others.
3. The model continues the beginnings of test documents by sampling. A word is of the wrong language if one of its tokens is
   foreign; words of shared tokens alone (digits, signs) are not counted.

    scores, items = LanguageMixing(tokenizer=…, documents=…, foreign=…, own=…, language="de", context=512, prefix=0)(model)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from prealign.evaluation.lm.perplexity import corpus_score, document_sums, read_tokens
from prealign.evaluation.score import Evaluation, Score, signature
from prealign.evaluation.statistics import FloatArray
from prealign.methods.alignment.states import measured
from prealign.text.clone import clone_language
from prealign.text.words import Tokenizer, word_table

IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]

RATIO = 20.0
"""How many times more frequent a row must be in its language than in any other, as for anchored tokens."""
SHARED = -1


def language_rows(counts: Mapping[str, IntArray], ratio: float = RATIO) -> IntArray:
    """Return the language (V,) of each row, by its number in `counts`, or `SHARED`.

    counts: occurrences (V,) of each row in a language's text. One is added to the counts of the other languages: a row that
    they never have still needs some occurrences to belong to a language.
    """
    table = np.stack(list(counts.values())).astype(np.float64)  # (K, V)
    totals = np.maximum(table.sum(axis=1, keepdims=True), 1)
    own, raised = table / totals, (table + 1) / (totals + 1)
    best = own.argmax(axis=0)
    others = np.where(np.arange(len(table))[:, None] == best, 0.0, raised).max(axis=0)
    return np.where(own.max(axis=0) >= ratio * others, best, SHARED).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class LanguageMixing:
    """Evaluator of N documents in a language. foreign, own (V,): ids of other languages, and of this one.

    twins: whether ids include those of a clone.
    documents, context, stride, batch_size and prefix: as those of `Perplexity`. prompts: documents that the model continues
    from their first `prompt` tokens, by `tokens` tokens drawn with `seed`. identity: the end of the signature.
    """

    tokenizer: Tokenizer
    documents: Sequence[NDArray[np.integer]]
    language: str
    foreign: Mask
    own: Mask
    twins: bool = False
    context: int
    prefix: int
    stride: int | None = None
    batch_size: int = 32
    prompts: int = 64
    prompt: int = 16
    tokens: int = 32
    seed: int = 0
    identity: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, model: PreTrainedModel) -> Evaluation:
        """Evaluate a causal LM where it is.

        Scores: foreign_mass, language_factor and perplexity_within, and foreign_words if the model writes any word. Items:
        "within", with nats and tokens (N,), and "written", with words and foreign words of each prompt.
        """
        owned = torch.from_numpy(self.foreign).to(model.device)

        def read(logits: Tensor, targets: Tensor) -> Tensor:
            """Numbers (n, 4): m, -log(1 - m), -log(p(y) / (1 - m)), and whether the label is not foreign."""
            foreign = pad(owned, (0, logits.shape[1] - len(owned)))  # rows beyond the tokenizer's ids are shared
            log_probs = logits.log_softmax(dim=1)
            stays = log_probs.masked_fill(foreign, -torch.inf).logsumexp(dim=1)  # log(1 - m), without cancellation
            content = stays - log_probs.gather(1, targets[:, None])[:, 0]
            return torch.stack([-torch.expm1(stays), -stays, content, (~foreign[targets]).float()], dim=1)

        stride = self.stride or self.context // 2
        settings: dict[str, Any] = {"context": self.context, "stride": stride, "batch_size": self.batch_size}
        found = read_tokens(model, self.documents, read, prefix=self.prefix, **settings)
        native = sum(int(numbers[:, 3].sum()) for numbers in found)
        parts = {"docs": len(self.documents), "ctx": self.context, "stride": stride, "native": native, **self.identity}
        scores, within = mixing_scores(found, language=self.language, signature=signature(**parts))
        words, wrong = self._written(model)
        some = words > 0
        if some.any():
            sign = signature(prompts=int(some.sum()), prompt=self.prompt, tokens=self.tokens, **self.identity)
            share = wrong[some].astype(np.float64), words[some], "foreign_words", lambda share: share
            scores.append(corpus_score(*share, language=self.language, signature=sign))
        written = {"words": words.tolist(), "foreign": wrong.tolist()}
        return Evaluation(scores, {"within": within, "written": written})

    def _written(self, model: PreTrainedModel) -> tuple[IntArray, IntArray]:
        """Return how many words of a language the model writes after each prompt, and how many of the wrong one."""
        long = [ids for ids in self.documents if len(ids) >= self.prompt][: self.prompts]
        counted = []
        with measured(model), torch.random.fork_rng():
            torch.manual_seed(self.seed)
            for first in range(0, len(long), self.batch_size):
                begun = [[self.prefix, *ids[: self.prompt]] for ids in long[first : first + self.batch_size]]
                inputs = torch.tensor(np.array(begun, dtype=np.int64), device=model.device)
                for row in sample(model, inputs, self.tokens, rows=len(self.foreign)).cpu().numpy():
                    counted.append(self._words(row))
        table = np.array(counted, dtype=np.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def _words(self, ids: IntArray) -> tuple[int, int]:
        """Return the number of words with a token of a language among ids (T,), and of those with a foreign one."""
        plain = clone_language(self.tokenizer).unmap(ids) if self.twins else ids
        starts = word_table(self.tokenizer).starts(plain)
        word = np.cumsum(starts)
        foreign = np.unique(word[self.foreign[ids]])
        return len(np.union1d(foreign, word[self.own[ids]])), len(foreign)


def sample(model: PreTrainedModel, inputs: Tensor, tokens: int, *, rows: int) -> Tensor:
    """Return `tokens` ids (B, tokens) that the model continues inputs (B, T) by, drawn from its softmax over ids < rows."""
    written = inputs
    for _ in range(tokens):
        logits = model(input_ids=written, use_cache=False, logits_to_keep=1).logits[:, -1, :rows].float()
        written = torch.cat([written, torch.multinomial(logits.softmax(dim=1), 1)], dim=1)
    return written[:, inputs.shape[1] :]


def mixing_scores(
    found: Sequence[FloatArray], *, language: str, signature: str
) -> tuple[list[Score], dict[str, list[float]]]:
    """Return the scores of documents, (tokens, 4) each as `LanguageMixing` reads them, and "nats" and "tokens" within."""
    native = [numbers[:, 3] > 0 for numbers in found]
    tokens = np.array([own.sum() for own in native], dtype=np.int64)
    some = tokens > 0
    if not some.any():
        return [], {"nats": [], "tokens": []}
    mass, every = document_sums([numbers[:, 0] for numbers in found])
    sums = [np.array([numbers[own, i].sum() for numbers, own in zip(found, native, strict=True)]) for i in (1, 2)]
    shared = {"language": language, "signature": signature}
    scores = [
        corpus_score(mass[every > 0], every[every > 0], "foreign_mass", lambda share: share, **shared),
        corpus_score(sums[0][some], tokens[some], "language_factor", np.exp, **shared),
        corpus_score(sums[1][some], tokens[some], "perplexity_within", np.exp, **shared),
    ]
    return scores, {"nats": sums[1].tolist(), "tokens": tokens.tolist()}
