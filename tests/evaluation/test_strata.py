"""Strata of the queries of a test dictionary: a case worked by hand, and scores that add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from prealign.evaluation.retrieval.dictionary import dictionary_scores
from prealign.evaluation.retrieval.queries import DictionaryQueries, select_queries
from prealign.evaluation.retrieval.strata import STRATA, stratum_sizes, with_strata
from prealign.lexicon import Group, Lexicon


def lexicon(**groups: str) -> Lexicon:
    return Lexicon([Group(w, {"de": tuple(s.split())}) for w, s in groups.items()], source="en", targets=["de"])


TESTS = lexicon(house="Haus Gebäude", river="Fluss", cup="Tasse", moon="Mond", sun="Sonne")
TRAINED = lexicon(
    flat="gebäude",  # an answer of house
    rivers="Strom",  # a relative of river
    bag="Taschen Tassen",  # a relative of Tasse
    tree="Baum",
)
COUNTS = (
    dict.fromkeys(("house", "river", "cup", "moon", "sun"), 9),
    dict.fromkeys(("Haus", "Gebäude", "Fluss", "Tasse", "Mond", "Sonne"), 9),
)


def queries() -> DictionaryQueries:
    return with_strata(select_queries(TESTS, "de", *COUNTS, floor=1, size=20), TRAINED, {})


def test_the_most_trained_of_a_query_and_its_answers_decides() -> None:
    found = queries()
    assert found.strata is not None
    forward = {found.sources[i]: STRATA[k] for i, k in zip(found.forward, found.strata[0], strict=True)}
    assert forward == {
        "house": "trained", "river": "relative", "cup": "relative", "moon": "unrelated", "sun": "unrelated",
    }  # fmt: skip
    backward = {found.targets[i]: STRATA[k] for i, k in zip(found.backward, found.strata[1], strict=True)}
    assert backward == {
        "Haus": "unrelated",  # of the two answers of house only the other is trained
        "Gebäude": "trained", "Fluss": "relative", "Tasse": "relative", "Mond": "unrelated", "Sonne": "unrelated",
    }  # fmt: skip
    assert stratum_sizes(found) == {"trained": 2, "relative": 4, "unrelated": 5}


def test_scores_of_strata_add_up_to_the_score_of_all() -> None:
    found, generator = queries(), torch.Generator().manual_seed(0)
    states = [torch.randn(2, len(words), 3, generator=generator) for words in (found.sources, found.targets)]
    settings: dict[str, Any] = {"stage": "pretrain", "signature": "x", "csls_neighbours": 2}
    scores, items = dictionary_scores(*states, found, **settings)
    assert found.strata is not None
    assert items["stratum_forward"] == found.strata[0].tolist()
    sizes, told = stratum_sizes(found), 0
    for layer in range(2):
        for metric in ("p_at_1", "csls_p_at_1"):
            own = {s.condition: s for s in scores if s.layer == layer and s.metric == metric}
            assert own.keys() == {"dictionary", *(f"dictionary|{name}" for name in STRATA)}
            parts = [own[f"dictionary|{name}"].value * size for name, size in sizes.items()]
            assert own["dictionary"].value == pytest.approx(sum(parts) / 11)
            chance = [(own[f"dictionary|{name}"].chance or 0) * size for name, size in sizes.items()]
            assert own["dictionary"].chance == pytest.approx(sum(chance) / 11)
            told += len(set(parts)) > 1
    assert told, "a case in which strata differ"


def test_an_empty_stratum_has_no_score() -> None:
    found = with_strata(select_queries(TESTS, "de", *COUNTS, floor=1, size=20), lexicon(tree="Baum"), {})
    states = [torch.randn(1, len(words), 3) for words in (found.sources, found.targets)]
    scores, _ = dictionary_scores(*states, found, stage="init", signature="x", csls_neighbours=2)
    assert {s.condition for s in scores} == {"dictionary", "dictionary|unrelated"}
    assert np.isfinite([s.value for s in scores]).all()
