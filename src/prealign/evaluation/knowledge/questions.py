"""Knowledge: is the true object of a fact ranked first among objects of its type, asked in each language?

1. A question is EOS (a document begins) and the prompt's tokens; each candidate goes on from there as it would be tokenised
   in that sentence. In a clone both are mapped to their twins, unless the arm reads the clone in source ids.
2. A candidate's score is its mean log-probability over its tokens: names have different numbers of them, and a sum would
   favour short names.
3. Candidates within `TIE` of the best share the hit, so a model that cannot tell them apart is at chance exactly.
4. Accuracy per condition (exposures, control or two hops; names in the lexicon or outside), with Wilson's interval.

Sequences of all questions are sorted by length and batched, padded on the right: no scored position of a causal model sees
padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prealign import __version__
from prealign.errors import PrealignError
from prealign.evaluation.knowledge.facts import Question
from prealign.evaluation.lm.padding import right_padded
from prealign.evaluation.score import Score, signature
from prealign.evaluation.statistics import FloatArray, wilson
from prealign.languages import is_clone
from prealign.methods.alignment.states import measured
from prealign.text.clone import clone_language
from prealign.text.words import Tokenizer

TIE = 1e-5
"""Mean log-probabilities closer than this are equal: batches of other widths differ by less in float32."""

Ids = list[int]


class Asked(NamedTuple):
    """A question in tokens: what is read, and what may follow (never empty)."""

    prefix: Ids
    candidates: list[Ids]


def in_tokens(question: Question, language: str, tokenizer: Tokenizer, *, merged: bool = False) -> Asked:
    """Write a question in a language's tokens, EOS first; its true answer is the first candidate.

    The prefix ends where the tokenizer no longer reads the prompt alone and with each candidate alike.
    """
    prompt = question.prompts[language]
    answers = (question.answer, *(name for name in question.candidates if name != question.answer))
    alone, *whole = (
        tokenizer.encode(text, add_special_tokens=False)
        for text in (prompt.rstrip(), *(prompt + name for name in answers))
    )
    cut = next((i for i, column in enumerate(zip(alone, *whole, strict=False)) if len(set(column)) > 1), len(alone))
    prefix, candidates = [tokenizer.eos_token_id, *alone[:cut]], [ids[cut:] for ids in whole]
    if is_clone(language) and not merged:
        twins = clone_language(tokenizer).map
        return Asked(twins(prefix).tolist(), [twins(ids).tolist() for ids in candidates])
    return Asked(prefix, candidates)


def candidate_scores(model: PreTrainedModel, asked: Sequence[Asked], *, batch_size: int) -> FloatArray:
    """Mean log-probability over its tokens of every candidate (Q, N), in nats; N the same for all questions.

    `batch_size` sequences (a candidate after its prefix) a batch. Raises PrealignError on a model that diverged, and on
    one with too few positions for the longest sequence.
    """
    sequences = [(len(q.prefix), q.prefix + ids) for q in asked for ids in q.candidates]
    longest = max(len(ids) for _, ids in sequences)
    positions = getattr(model.config, "max_position_embeddings", None) or longest
    if longest > positions:
        raise PrealignError(
            f"a question of knowledge has {longest} tokens with its answer, and the model {positions} positions: "
            f"set pretrain.context to {longest} or more, or shorten the templates"
        )
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i][1]))
    scores = np.zeros(len(sequences))
    with measured(model):
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            scores[rows] = _mean_log_probs(model, [sequences[i] for i in rows])
    if not np.isfinite(scores).all():
        raise PrealignError(
            "the model's likelihood of answers is not finite: training diverged; "
            "lower pretrain.learning_rate and run the arm again"
        )
    return scores.reshape(len(asked), -1)


def _mean_log_probs(model: PreTrainedModel, batch: Sequence[tuple[int, Ids]]) -> list[float]:
    """Score each sequence's tokens from its prefix's length on, from one forward pass."""
    ids, mask = right_padded([ids for _, ids in batch], model.device)  # (B, T)
    width = ids.shape[1]
    kept = width - min(prefix for prefix, _ in batch) + 1  # from the position that predicts the first scored token
    output = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=kept)
    log_probs = output.logits[:, -kept:].float().log_softmax(dim=-1).cpu()  # (B, kept, V)
    return [
        _mean(log_probs[row, prefix - 1 - (width - kept) :], tokens[prefix:])
        for row, (prefix, tokens) in enumerate(batch)
    ]


def _mean(log_probs: Tensor, tokens: Ids) -> float:
    """Mean over tokens (n,) of log_probs (>= n, V)."""
    return float(log_probs[torch.arange(len(tokens)), torch.tensor(tokens)].double().mean())


def hits(scores: FloatArray) -> FloatArray:
    """Hits (Q,) in 0..1 of scores (Q, N) whose first column is the truth's: 1 / (number tied for the best), or 0."""
    tied = scores >= scores.max(axis=1, keepdims=True) - TIE
    return tied[:, 0] / tied.sum(axis=1)


def knowledge_scores(questions: Sequence[Question], won: FloatArray, *, language: str, tokenizer: str) -> list[Score]:
    """Accuracy of each condition from the questions' hits (Q,)."""
    scores = []
    for condition in dict.fromkeys(question.condition for question in questions):
        chosen = np.array([question.condition == condition for question in questions])
        candidates = len(questions[0].candidates)
        value, low, high = wilson(float(won[chosen].sum()), int(chosen.sum()))
        scores.append(
            Score(
                task="knowledge",
                language=language,
                metric="accuracy",
                condition=condition,
                value=value,
                low=low,
                high=high,
                n=int(chosen.sum()),
                chance=1 / candidates,
                signature=signature(facts=int(chosen.sum()), of=candidates, tok=tokenizer, v=__version__),
                stage="pretrain",
                split="test",
            )
        )
    return scores
