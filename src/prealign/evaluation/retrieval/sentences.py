"""Sentence retrieval per layer: is the nearest sentence of the other language the translation?

1. A sentence follows the document separator, as in running text. Its state at layer l = 0..L is the position-weighted mean
   of the hidden states of its tokens, w_t = t / sum of t, t = 1..T: in a causal model late tokens have seen more
   (Muennighoff 2022, "SGPT"; used by MEXA). The output embedding has no state of a sentence.
2. P@1 among all N sentences of the other language, by cosine, both directions and pooled; ties are shared. Chance is 1/N.
3. MEXA (Kargaran et al. 2024, "MEXA: Multilingual Evaluation of English-Centric LLMs via Cross-Lingual Alignment"): the
   share of sentences whose similarity with their translation is greater than all others in its row *and* its column, by more
   than `TIE`. Chance is 1 / (2N - 1): the largest of so many. It falls with N; the paper has N = 100.
4. mexa_mean and mexa_max are MEXA averaged over layers, and of the best layer, as in the paper.
5. Intervals are Wilson's over sentences. Of mexa_mean it is too wide, as a sentence's mean over layers varies less than a
   coin; of mexa_max it is that of the best layer, as if it had been chosen beforehand.

    scores, hits = SentenceRetrieval.from_texts(tokenizer, english, german, language="de", max_tokens=511)(model)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from prealign.errors import DataError
from prealign.evaluation.lm.padding import right_padded
from prealign.evaluation.retrieval.nearest import TIE, Metric, hit_lists, two_way_precision
from prealign.evaluation.score import Evaluation, Score, Stage, identity, signature
from prealign.evaluation.statistics import wilson
from prealign.languages import is_clone
from prealign.methods.alignment.states import measured
from prealign.text.clone import clone_language
from prealign.text.encode import text_ids
from prealign.text.words import Tokenizer

# N sentences, T tokens, L transformer blocks, D width

Ids = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SentenceRetrieval:
    """Evaluator of N parallel sentences: P@1 and MEXA per layer.

    sources, targets: token ids (T,), T >= 1; row i of both is the same sentence. separator: id before every sentence.
    after: its name in the signature.
    condition: name of the set of sentences. cut: how many sentences were cut; repeated: how many lines were left out.
    batch_size: sentences. identity: the end of the signature.
    """

    sources: Sequence[Ids]
    targets: Sequence[Ids]
    language: str
    separator: int
    after: str = "eos"
    condition: str | None = None
    cut: int = 0
    repeated: int = 0
    batch_size: int = 32
    identity: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_texts(
        cls,
        tokenizer: Tokenizer,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        language: str,
        max_tokens: int,
        **settings: Any,
    ) -> SentenceRetrieval:
        """Tokenise N sentences and their translations; those of a clone are the source's, in twin ids.

        Longer sentences are cut at the end to `max_tokens` and counted. settings: other fields; default `separator`: EOS.
        Raises DataError for a sentence without tokens, for no sentences, and for different lengths.
        """
        if len(sources) != len(targets) or not sources:
            raise DataError(
                f"{len(sources):,} sentences, {len(targets):,} translations: pass one translation a sentence."
            )
        sides, cut = [], 0
        for texts, twins in ((sources, False), (targets, is_clone(language))):
            rows = text_ids(tokenizer, texts)
            empty = [text for text, row in zip(texts, rows, strict=True) if not row]
            if empty:
                raise DataError(f"the sentence {empty[0]!r} has no tokens. Remove it and its translation.")
            cut += sum(len(row) > max_tokens for row in rows)
            ids = [np.asarray(row[:max_tokens], dtype=np.int64) for row in rows]
            sides.append([clone_language(tokenizer).map(row) for row in ids] if twins else ids)
        defaults = {"separator": tokenizer.eos_token_id, "identity": identity(tokenizer)}
        return cls(sources=sides[0], targets=sides[1], language=language, cut=cut, **defaults | settings)

    def __call__(self, model: Any, *, stage: Stage = "pretrain") -> Evaluation:
        """Evaluate a causal LM where it is. Raises DivergedError for states that are not finite."""
        source, target = (
            sentence_states(model, ids, separator=self.separator, batch_size=self.batch_size)
            for ids in (self.sources, self.targets)
        )
        measured_on = {"sentences": len(self.sources), "repeated": self.repeated, "cut": self.cut}
        return sentence_scores(
            source,
            target,
            language=self.language,
            condition=self.condition,
            stage=stage,
            signature=signature(**measured_on, pool="position", after=self.after, **self.identity),
        )


def sentence_states(model: Any, sentences: Sequence[NDArray[Any]], *, separator: int, batch_size: int) -> Tensor:
    """Return the states (L+1, N, D) of sentences of token ids (T,), float32, on the CPU; T >= 1."""
    device = model.get_input_embeddings().weight.device
    order = sorted(range(len(sentences)), key=lambda i: -len(sentences[i]))
    parts = []
    with measured(model):
        for first in range(0, len(order), batch_size):
            rows = [[separator, *sentences[i]] for i in order[first : first + batch_size]]
            ids, mask = right_padded(rows, device)
            hidden = model.base_model(
                input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True
            ).hidden_states
            weights = position_weights(mask[:, 1:])  # (b, T)
            parts.append(torch.stack([torch.einsum("bt,btd->bd", weights, h[:, 1:].float()) for h in hidden]).cpu())
    return torch.cat(parts, dim=1)[:, torch.argsort(torch.tensor(order))]


def position_weights(mask: Tensor) -> Tensor:
    """Return w_t = t / sum of t (B, T) of the tokens that a mask (B, T), 1 before 0, has; 0 elsewhere."""
    positions = mask.cumsum(dim=1) * mask
    return positions / positions.sum(dim=1, keepdim=True)


def mexa_hits(source: Tensor, target: Tensor) -> Tensor:
    """Return (N,) float64: 1 where similarity i,i is strictly the greatest of its row and column; states (N, D)."""
    similarity = normalize(source.float(), dim=1) @ normalize(target.float(), dim=1).T  # (N, N)
    translations = similarity.diagonal().clone()
    similarity.fill_diagonal_(-torch.inf)
    others = torch.maximum(similarity.amax(dim=0), similarity.amax(dim=1))
    return (translations > others + TIE).double()


def sentence_scores(
    source: Tensor, target: Tensor, *, language: str, condition: str | None, stage: Stage, signature: str
) -> Evaluation:
    """Return scores of task sentence_retrieval and hits by metric, a row a layer; states (L+1, N, D) of both languages.

    Raises DivergedError on states that are not finite.
    """
    number = source.shape[1]
    metrics = two_way_precision(source, target, torch.eye(number, dtype=torch.bool), {"p_at_1": None})
    mexa = torch.stack([mexa_hits(s, t) for s, t in zip(source, target, strict=True)])  # (L+1, N)
    chance = torch.full((number,), 1 / (2 * number - 1), dtype=torch.float64)
    metrics["mexa"] = Metric("mexa", mexa, chance)
    fields: dict[str, Any] = {"task": "sentence_retrieval", "language": language, "condition": condition}
    fields |= {"stage": stage, "split": "test", "signature": signature}
    scores = [score for metric in metrics.values() for score in metric.scores(**fields)]
    best = int(mexa.mean(dim=1).argmax())
    # No chance of the best layer: it depends on how much layers differ.
    for name, hits, guess in (("mexa_mean", mexa.mean(dim=0), float(chance.mean())), ("mexa_max", mexa[best], None)):
        interval = wilson(float(hits.sum()), number)._asdict()
        scores.append(Score(**fields, metric=name, **interval, n=number, chance=guess))
    return Evaluation(scores, hit_lists(metrics))
