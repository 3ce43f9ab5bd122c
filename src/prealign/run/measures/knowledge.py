"""Knowledge of a run's model: questions about the made-up facts."""

from __future__ import annotations

from typing import Any

from prealign.evaluation.knowledge.questions import KnowledgeQuestions
from prealign.evaluation.score import Evaluation
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared


def evaluate_knowledge(model: Any, prepared: Prepared, recipe: Recipe) -> Evaluation:
    """Return accuracy per language and condition, and the statistics of each question, by condition and language."""
    evaluator = KnowledgeQuestions(
        prepared.tokenizer,
        prepared.questions,
        batch_size=recipe.evaluate.batch_size,
        source_ids=recipe.mixture.clone_in_source_ids,
        before=prepared.before,
        identity={**({} if prepared.bos is None else {"after": "bos"}), **prepared.identity},
    )
    return evaluator(model)
