"""Sentence retrieval per layer: is a sentence's nearest neighbour in the other language its translation?

1. A sentence stands after the document separator, as in running text. Its state at layer l = 0..L is the position-weighted
   mean of the hidden states of its own tokens, w_t = t / sum of t, t = 1..T: in a causal model late tokens have seen more
   (Muennighoff 2022, "SGPT"; used by MEXA). The output embedding has no state of a sentence.
2. P@1 among all N sentences of the other language, by cosine, both directions and pooled; ties are shared. Chance is 1/N.
3. MEXA (Kargaran et al. 2024, "MEXA: Multilingual Evaluation of English-Centric LLMs via Cross-Lingual Alignment"): the
   share of sentences whose similarity with their translation is greater than all others in its row *and* its column, by more
   than `TIE`. Chance is 1 / (2N - 1): the largest of so many. It falls with N; the paper has N = 100.
4. mexa_mean and mexa_max are MEXA averaged over layers, and of the best layer, as in the paper.
5. Intervals are Wilson's over sentences. Of mexa_mean it is too wide, as a sentence's mean over layers varies less than a
   coin; of mexa_max it is that of the best layer, as if that had been chosen beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from prealign.evaluation.lm.padding import right_padded
from prealign.evaluation.retrieval.retrieval import TIE, hits_by_layer, layer_scores, refuse_divergence
from prealign.evaluation.score import Score, Stage
from prealign.evaluation.statistics import wilson
from prealign.methods.alignment.states import measured

# N sentences, T tokens, L transformer blocks, D width


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
    own = similarity.diagonal().clone()
    similarity.fill_diagonal_(-torch.inf)
    others = torch.maximum(similarity.amax(dim=0), similarity.amax(dim=1))
    return (own > others + TIE).double()


def sentence_scores(
    source: Tensor, target: Tensor, *, language: str, condition: str, stage: Stage, signature: str
) -> tuple[list[Score], dict[str, list[Any]]]:
    """Return scores of task sentence_retrieval and hits by metric, a row a layer; states (L+1, N, D) of both languages.

    Raises PrealignError on states that are not finite.
    """
    refuse_divergence(source, target)
    number = source.shape[1]
    gold, chance = torch.eye(number, dtype=torch.bool), torch.full((number,), 1 / number, dtype=torch.float64)
    hits = {
        "p_at_1_forward": hits_by_layer(source, target, gold),
        "p_at_1_backward": hits_by_layer(target, source, gold),
        "mexa": torch.stack([mexa_hits(s, t) for s, t in zip(source, target, strict=True)]),
    }  # (L+1, N)
    pooled = torch.cat([hits["p_at_1_forward"], hits["p_at_1_backward"]], dim=1)
    luck = chance * number / (2 * number - 1)
    measures = [(name, hits[name], chance, 1) for name in ("p_at_1_forward", "p_at_1_backward")]
    measures += [("p_at_1", pooled, torch.cat([chance, chance]), 2), ("mexa", hits["mexa"], luck, 1)]
    fields: dict[str, Any] = {
        "task": "sentence_retrieval",
        "language": language,
        "condition": condition,
        "stage": stage,
        "split": "test",
        "signature": signature,
    }
    scores = [
        score
        for name, own, guess, asked in measures
        for score in layer_scores(own, guess, asked=asked, metric=name, **fields)
    ]
    best = int(hits["mexa"].mean(dim=1).argmax())
    # No chance of the best layer: it depends on how much layers differ.
    for name, own, guess in (("mexa_mean", hits["mexa"].mean(dim=0), luck), ("mexa_max", hits["mexa"][best], None)):
        value, low, high = wilson(float(own.sum()), number)
        chosen = None if guess is None else float(guess.mean())
        scores.append(Score(**fields, metric=name, value=value, low=low, high=high, n=number, chance=chosen))
    return scores, {name: table.tolist() for name, table in hits.items()}
