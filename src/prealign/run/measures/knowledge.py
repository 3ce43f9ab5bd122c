"""Ask a run's model about the made-up facts."""

from __future__ import annotations

from typing import Any

import numpy as np

from prealign.evaluation.knowledge.questions import candidate_scores, hits, in_tokens, knowledge_scores
from prealign.evaluation.score import Score
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared


def evaluate_knowledge(model: Any, prepared: Prepared, recipe: Recipe) -> tuple[list[Score], dict[str, Any]]:
    """Return accuracy per language and condition, and by condition and language the hits of its questions, in order.

    With each question come its fact and every candidate's score, first the true one's.
    """
    questions = prepared.questions
    conditions = np.array([question.condition for question in questions])
    scores: list[Score] = []
    items: dict[str, Any] = {str(condition): {} for condition in dict.fromkeys(conditions)}
    for language in questions[0].prompts:
        asked = [
            in_tokens(q, language, prepared.tokenizer, merged=recipe.mixture.clone_ids == "merged") for q in questions
        ]
        ranked = candidate_scores(model, asked, batch_size=recipe.evaluate.batch_size)  # (Q, N)
        won = hits(ranked)
        scores += knowledge_scores(questions, won, language=language, tokenizer=prepared.identity["tok"])
        for condition, by_language in items.items():
            rows = np.flatnonzero(conditions == condition)
            by_language[language] = {
                "correct": won[rows].tolist(),
                "log_probs": ranked[rows].tolist(),
                "questions": [[questions[i].relation, questions[i].subject, questions[i].answer] for i in rows],
            }
    return scores, items
