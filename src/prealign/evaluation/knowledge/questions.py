"""Knowledge questions: is the true object of a fact ranked first among objects of its type, in each language?

1. A question is the start of a document (BOS, or else EOS) and the prompt's tokens. Each candidate continues them,
   tokenised as in that sentence. In a clone both are mapped to twin ids, unless the model reads the clone in source ids.
2. The score of a candidate is the mean log-probability of its tokens: names differ in their number of tokens, and a sum
   would favour short names.
3. Candidates within `TIE` of the best share the hit: a model that cannot tell them apart is exactly at chance.
4. Accuracy per condition (exposures, control or two hops; names in the lexicon or outside), with Wilson's interval.

The sequences of all questions are sorted by length and batched, padded on the right: no scored position of a causal model
sees padding.

    scores, items = KnowledgeQuestions(tokenizer, questions)(model)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prealign.errors import DivergedError, PrealignError
from prealign.evaluation.lm.padding import right_padded
from prealign.evaluation.score import Evaluation, Score, identity, signature
from prealign.evaluation.statistics import FloatArray, wilson
from prealign.languages import is_clone
from prealign.methods.alignment.states import measured
from prealign.text.clone import clone_language
from prealign.text.facts.facts import Question
from prealign.text.words import Tokenizer

TIE = 1e-5
"""Mean log-probabilities closer than this are equal: batches of other widths differ by less in float32."""

Ids = list[int]


class QuestionTokens(NamedTuple):
    """The token ids of a question: the prefix, and the candidates (never empty), the true answer first."""

    prefix: Ids
    candidates: list[Ids]


@dataclass(frozen=True)
class KnowledgeQuestions:
    """Evaluator of Q questions with the same languages and number of candidates N each.

    batch_size: sequences, each a candidate after its prefix. source_ids: read a clone in source ids. before: the id before
    a document's first token, None for EOS. identity: the end of the signature.
    """

    tokenizer: Tokenizer
    questions: Sequence[Question]
    batch_size: int = 32
    source_ids: bool = False
    before: int | None = None
    identity: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, model: PreTrainedModel) -> Evaluation:
        """Evaluate a causal LM where it is; items: condition -> language -> lists of one entry a question.

        "correct": hits in 0..1; "log_probs": scores of the candidates, the true answer's first; "questions": relation,
        subject and answer. Raises PrealignError for no questions and too few positions, DivergedError for a likelihood that
        is not finite.
        """
        if not self.questions:
            raise PrealignError("there are no questions about facts to evaluate.")
        end = self.identity or identity(self.tokenizer)
        conditions = np.array([question.condition for question in self.questions])
        scores: list[Score] = []
        items: dict[str, Any] = {str(condition): {} for condition in dict.fromkeys(conditions)}
        for language in self.questions[0].prompts:
            tokens = [
                tokenise_question(question, language, self.tokenizer, source_ids=self.source_ids, before=self.before)
                for question in self.questions
            ]
            log_probs = candidate_scores(model, tokens, batch_size=self.batch_size)  # (Q, N)
            correct = hits(log_probs)
            scores += knowledge_scores(self.questions, correct, language=language, identity=end)
            for condition, by_language in items.items():
                rows = np.flatnonzero(conditions == condition).tolist()
                chosen = [self.questions[i] for i in rows]
                by_language[language] = {
                    "correct": correct[rows].tolist(),
                    "log_probs": log_probs[rows].tolist(),
                    "questions": [[q.relation, q.subject, q.answer] for q in chosen],
                }
        return Evaluation(scores, items)


def tokenise_question(
    question: Question,
    language: str,
    tokenizer: Tokenizer,
    *,
    source_ids: bool = False,
    before: int | None = None,
) -> QuestionTokens:
    """Return the tokens of a question in a language; source_ids: those of a clone in the source's ids.

    before: the id before a document's first token, where the prefix begins; None for EOS.
    The prefix ends where the tokens of the prompt alone and those of the prompt with each candidate begin to differ.
    """
    prompt = question.prompts[language]
    answers = (question.answer, *(name for name in question.candidates if name != question.answer))
    alone, *whole = (
        tokenizer.encode(text, add_special_tokens=False)
        for text in (prompt.rstrip(), *(prompt + name for name in answers))
    )
    cut = next((i for i, column in enumerate(zip(alone, *whole, strict=False)) if len(set(column)) > 1), len(alone))
    start = tokenizer.eos_token_id if before is None else before
    prefix, candidates = [start, *alone[:cut]], [ids[cut:] for ids in whole]
    if is_clone(language) and not source_ids:
        twins = clone_language(tokenizer).map
        return QuestionTokens(twins(prefix).tolist(), [twins(ids).tolist() for ids in candidates])
    return QuestionTokens(prefix, candidates)


def candidate_scores(model: PreTrainedModel, questions: Sequence[QuestionTokens], *, batch_size: int) -> FloatArray:
    """Return the mean log-probability of the tokens of every candidate (Q, N), in nats; N is the same for all questions.

    batch_size: sequences, each a candidate after its prefix. Raises DivergedError for a likelihood that is not finite, and
    PrealignError for a model with fewer positions than the longest sequence has tokens.
    """
    sequences = [(len(q.prefix), q.prefix + ids) for q in questions for ids in q.candidates]
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
        raise DivergedError("the likelihood of answers is not finite")
    return scores.reshape(len(questions), -1)


def _mean_log_probs(model: PreTrainedModel, batch: Sequence[tuple[int, Ids]]) -> list[float]:
    """Return the mean log-probability of each sequence's tokens after its prefix, from one forward pass."""
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
    """Return the mean log-probability of tokens (n,) from log_probs (>= n, V)."""
    return float(log_probs[torch.arange(len(tokens)), torch.tensor(tokens)].double().mean())


def hits(scores: FloatArray) -> FloatArray:
    """Return hits (Q,) of scores (Q, N): 1 / (number tied for the best) if the first, true one is best, else 0."""
    tied = scores >= scores.max(axis=1, keepdims=True) - TIE
    return tied[:, 0] / tied.sum(axis=1)


def knowledge_scores(
    questions: Sequence[Question], correct: FloatArray, *, language: str, identity: Mapping[str, object]
) -> list[Score]:
    """Return the accuracy of each condition from the questions' hits (Q,)."""
    scores = []
    for condition in dict.fromkeys(question.condition for question in questions):
        chosen = np.array([question.condition == condition for question in questions])
        candidates = len(questions[0].candidates)
        value, low, high = wilson(float(correct[chosen].sum()), int(chosen.sum()))
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
                signature=signature(facts=int(chosen.sum()), of=candidates, **identity),
                stage="pretrain",
                split="test",
            )
        )
    return scores
