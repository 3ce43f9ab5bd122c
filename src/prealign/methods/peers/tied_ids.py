"""Tied ids: a target token and its one translation share one row, E_t = E_s + v_lang.

1. Take the pairs of the lexicon whose words are one token each. A source token and a target token share a row if neither has
   another partner: the source token none in the target's language, the target token none at all.
2. Tie E_t = E_s + v_lang in the input and the output embedding. v_lang is one vector per language and starts at 0. This
   is the anchored vocabulary with a single source of weight 1 per row and without a residual.
3. `export` writes the shared rows as plain weights.

Parallel tokenizers learn vocabularies in which translations have the same id, and distinguish languages by a language
vector. Here all arms keep one tokenizer [choice], and rows are shared where the lexicon is one-to-one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from prealign.errors import LexiconError
from prealign.methods.phase import Inputs, Method, Phase, main_phase
from prealign.methods.vocabulary.anchored import LexiconAnchors, anchor_vocabulary
from prealign.methods.vocabulary.parametrised import ParametrisedVocabulary
from prealign.recipe.methods import AnchorEstimate
from prealign.recipe.section import Rate, Section
from prealign.recipe.sections import PretrainSection

# V rows of the embedding, P pairs


def one_to_one(pairs: Sequence[tuple[np.ndarray, np.ndarray, float]], language: np.ndarray) -> sparse.csr_matrix:
    """Return M (V, V): 1 where a target token (row) and a source token (column) translate each other alone.

    pairs: (source ids, target ids, weight). language (V,): the number of a row's target language, -1 for source rows.
    LexiconError if there is no such pair.
    """
    single = [(s[0], t[0]) for s, t, _ in pairs if len(s) == len(t) == 1]
    source, target = np.unique(np.array(single, dtype=np.int64).reshape(-1, 2), axis=0).T  # (P,)
    meets = (language[source] < 0) & (language[target] >= 0)
    source, target = source[meets], target[meets]
    _, row, sources = np.unique(target, return_inverse=True, return_counts=True)
    of_language = source * (language.max() + 1) + language[target]
    _, column, targets = np.unique(of_language, return_inverse=True, return_counts=True)
    alone = (sources[row] == 1) & (targets[column] == 1)
    if not alone.any():
        raise LexiconError(
            f"tied_ids: none of the lexicon's {len(pairs):,} pairs joins two words of one token each that translate nothing "
            "else. Raise tokenizer.vocab_size, so that more words are one token, or take the arm `anchored`."
        )
    size, ones = len(language), np.ones(int(alone.sum()))
    return sparse.csr_matrix((ones, (target[alone], source[alone])), shape=(size, size))


class TiedRows(ParametrisedVocabulary):
    """E_t = E_s + v_lang for one-to-one translations; `apply` ties the rows, `export` writes them out.

    The rows of a pretrained model become those of their translations: its outputs change.
    """

    action = "ties ids of the vocabulary"

    def __init__(self, anchors: LexiconAnchors) -> None:
        self.anchors = anchors

    def apply(self, model: Any, *, fresh: bool) -> None:
        """Tie the rows. LexiconError if no pair is one-to-one."""
        language = self.anchors.row_languages()
        ties = one_to_one(self.anchors.pairs(), language)
        self.changed = ties.nnz
        anchor_vocabulary(model, ties, language, rate=0.0, fresh=fresh)

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return {"initialisation": "tied ids", "frequency_ratio": self.anchors.frequency_ratio}


class TiedIds(Method):
    """Joint training in which one-to-one translations share a row."""

    label: ClassVar[str] = "Tied ids"
    description: ClassVar[str] = "joint training, one-to-one translations share a row, with a vector for each language"
    citation: ClassVar[str] = (
        "Al Kautsar, Koto: Parallel Tokenizers: Rethinking Vocabulary Design for Cross-Lingual Transfer. arXiv:2510.06128"
    )

    class Settings(Section):
        """Which tokens are of a target language, and the sections of the recipe that the method reads."""

        pretrain: PretrainSection
        frequency_ratio: Rate = AnchorEstimate.model_fields["frequency_ratio"].default
        """Of a target language are tokens at least this many times more frequent in its text than in source text."""

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase."""
        ratio = settings.frequency_ratio
        anchors = LexiconAnchors(inputs.words, inputs.token_counts, inputs.languages, frequency_ratio=ratio)
        return [main_phase(settings.pretrain, initialisations=(TiedRows(anchors),))]
