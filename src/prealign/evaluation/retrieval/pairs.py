"""The word pairs of word retrieval: a sample of seen and held-out words of one target language, drawn by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prealign.lexicon import Group, Lexicon


@dataclass(frozen=True)
class WordPairs:
    """N source words and their M translations into `language`.

    gold (N, M): source n and target m translate each other. held_out (N,): the source word was kept out of training.
    target_held_out (M,): no training word has this translation, neither a drawn nor another one.
    """

    language: str
    source_language: str
    sources: list[str]
    targets: list[str]
    gold: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    target_held_out: NDArray[np.bool_]


def draw_pairs(seen: Lexicon, held_out: Lexicon, language: str, number: int, seed: int) -> WordPairs:
    """Draw at most `number` groups of each split that translate into `language`."""
    parts = [_draw(lexicon, language, number, seed) for lexicon in (seen, held_out)]
    groups = [group for part in parts for group in part]
    targets = list(dict.fromkeys(sense for group in groups for sense in group.translations[language]))
    column = {word: i for i, word in enumerate(targets)}
    trained = {sense for group in seen for sense in group.translations.get(language, ())}
    gold = np.zeros((len(groups), len(targets)), dtype=bool)
    for row, group in enumerate(groups):
        gold[row, [column[sense] for sense in group.translations[language]]] = True
    return WordPairs(
        language=language,
        source_language=seen.source,
        sources=[group.word for group in groups],
        targets=targets,
        gold=gold,
        held_out=np.repeat([False, True], [len(part) for part in parts]),
        target_held_out=np.array([word not in trained for word in targets], dtype=bool),
    )


def _draw(lexicon: Lexicon, language: str, number: int, seed: int) -> Sequence[Group]:
    groups = [group for group in lexicon if group.translations.get(language)]
    if len(groups) <= number:
        return groups
    return Lexicon(groups, source=lexicon.source).sample(number / len(groups), seed).groups[:number]
