"""Word retrieval: is the nearest form of the other language a translation of the word, for seen and for held-out words?

1. Take the states of all forms of `WordPairs` in both languages at every layer.
2. The candidates of a query are all forms of the other language, seen and held-out together, so both splits face the same
   candidates and the same chance (`prealign.evaluation.retrieval.nearest`).
3. Scores are per layer, split and direction, and pooled; forward also by the number of subwords of the query, as a mean over
   subwords may lose information that a single subword keeps.

    seen, held_out = Lexicon.read("en-de.txt", source="en", target="de").split(0.2, seed=0)
    scores, hits = WordRetrieval(tokenizer, draw_pairs(seen, held_out, "de", 1000, seed=0))(model)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prealign.errors import LexiconError
from prealign.evaluation.retrieval.nearest import Metric, hit_lists, two_way_precision
from prealign.evaluation.retrieval.pairs import WordPairs
from prealign.evaluation.score import Evaluation, Stage, identity, signature
from prealign.methods.alignment.states import word_states
from prealign.text.encode import encode_words
from prealign.text.words import Tokenizer

SUBWORDS = ("subwords=1", "subwords=2", "subwords=3+")
"""Conditions of scores by the number of subwords of a query."""


@dataclass(frozen=True)
class WordRetrieval:
    """Evaluator of word pairs: P@1 and CSLS P@1 per layer (0 input embedding, 1..L blocks, L+1 output embedding).

    bos: encode words after BOS. csls_neighbours: k of CSLS. identity: the end of the signature.
    """

    tokenizer: Tokenizer
    pairs: WordPairs
    bos: bool = False
    csls_neighbours: int = 10
    identity: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, model: Any, *, stage: Stage = "pretrain") -> Evaluation:
        """Evaluate a causal LM.

        Raises LexiconError for no pairs, TokenizerError for a word without tokens, DivergedError for states not finite.
        """
        pairs, tokenizer = self.pairs, self.tokenizer
        if not pairs.sources:
            raise LexiconError(f"no words to retrieve: the lexicon has no translation into {pairs.language!r}.")
        end = self.identity or identity(tokenizer)
        return word_scores(
            word_states(model, tokenizer, pairs.sources, language=pairs.source_language, bos=self.bos),
            word_states(model, tokenizer, pairs.targets, language=pairs.language, bos=self.bos),
            pairs,
            encode_words(tokenizer, pairs.sources, pairs.source_language).lengths,
            stage=stage,
            signature=signature(sources=len(pairs.sources), targets=len(pairs.targets), **end),
            csls_neighbours=self.csls_neighbours,
        )


def word_scores(
    source: Tensor,
    target: Tensor,
    pairs: WordPairs,
    subwords: NDArray[np.integer],
    *,
    stage: Stage,
    signature: str,
    csls_neighbours: int,
) -> Evaluation:
    """Return scores per layer and split, and the hits per word.

    source (L, N, D) and target (L, M, D): states of the pairs' forms, each with at least one translation. subwords (N,):
    tokens of the source forms. Metrics: p_at_1_forward, p_at_1_backward, p_at_1 and csls_p_at_1 (both directions);
    p_at_1_forward also with the conditions of `SUBWORDS`. A split without words has no scores.
    Raises DivergedError on states that are not finite.
    """
    gold = torch.from_numpy(pairs.gold)  # (N, M)
    assert gold.any(dim=0).all() and gold.any(dim=1).all(), "a form without translation is no query"
    metrics = two_way_precision(source, target, gold, {"p_at_1": None, "csls_p_at_1": csls_neighbours})
    forward, backward = torch.from_numpy(pairs.held_out), torch.from_numpy(pairs.target_held_out)
    held_out = {"p_at_1_forward": forward, "p_at_1_backward": backward}
    held_out |= dict.fromkeys(("p_at_1", "csls_p_at_1"), torch.cat([forward, backward]))
    parts: list[tuple[Metric, Tensor, str | None]] = [(metrics[name], mask, None) for name, mask in held_out.items()]
    number = torch.from_numpy(np.minimum(subwords, len(SUBWORDS)))
    for i, condition in enumerate(SUBWORDS, start=1):
        parts.append((metrics["p_at_1_forward"].where(number == i), forward[number == i], condition))
    fields: dict[str, Any] = {"task": "retrieval", "language": pairs.language, "stage": stage, "signature": signature}
    scores = [
        score
        for metric, mask, condition in parts
        for split, chosen in (("seen", ~mask), ("held_out", mask))
        for score in metric.where(chosen).scores(split=split, condition=condition, **fields)
    ]
    splits = {"held_out_forward": forward.tolist(), "held_out_backward": backward.tolist()}
    return Evaluation(scores, hit_lists(metrics) | splits | {"subwords": subwords.tolist()})
