"""The word forms of a lexicon in token ids, and batches of translation groups for the alignment loss.

1. Encode every form of every group: the source word and all its translations.
2. Number the groups and the distinct surfaces (token sequences). Forms with equal surfaces are the same to the model.
3. Batch s of a run takes `size` groups from position s · size of a random order. The order is a permutation of all
   groups for each pass, and depends on (seed, pass) alone. Resume, workers and ranks cannot change a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import xxhash
from torch import Tensor

from prealign.errors import LexiconError
from prealign.lexicon import Lexicon
from prealign.methods.alignment.states import pad_words
from prealign.text.encode import encode_words
from prealign.text.ragged import Ragged, spans
from prealign.text.words import Tokenizer


class WordSizes(Protocol):
    """Sizes of a lexicon's forms, for budgets. `WordForms` has them; `prealign plan` assumes them without data."""

    @property
    def groups(self) -> float:
        """Number of translation groups."""

    @property
    def mean_tokens_per_group(self) -> float:
        """Mean number of tokens of all forms of a group."""

    @property
    def mean_forms_per_group(self) -> float:
        """Mean number of word forms of a group."""


@dataclass(frozen=True)
class WordForms:
    """All word forms of a lexicon. The forms of group g are rows first[g] .. first[g+1]-1; the source word comes first."""

    ids: Ragged  # W rows of token ids
    first: np.ndarray  # (G + 1,)
    surface: np.ndarray  # (W,) equal for forms with equal tokens
    count: np.ndarray  # (G,) frequency of the source word, 1 if unknown

    @property
    def groups(self) -> int:
        """Number of translation groups."""
        return len(self.first) - 1

    def batch(self, groups: np.ndarray) -> dict[str, Tensor]:
        """Return the inputs of the given groups: word_ids (W, n), word_lengths, word_groups and word_surfaces (W,)."""
        sizes = np.diff(self.first)[groups]
        rows = spans(self.first[groups], sizes)
        ids, lengths = pad_words(self.ids.take(rows))
        return {
            "word_ids": ids,
            "word_lengths": lengths,
            "word_groups": torch.from_numpy(np.repeat(groups, sizes)),
            "word_surfaces": torch.from_numpy(self.surface[rows]),
        }

    def numbered_batch(self, number: int, size: int, seed: int) -> dict[str, Tensor]:
        """Return batch `number` of a run, with up to `size` groups. No group repeats before all groups were read."""
        positions = np.arange(number * size, (number + 1) * size)
        groups = np.empty(size, dtype=np.int64)
        for lap in np.unique(positions // self.groups):
            here = positions // self.groups == lap
            groups[here] = self._permutation(seed, int(lap))[positions[here] % self.groups]
        # A batch that reaches into the next pass may draw a group twice, and its forms would be their own positives.
        return self.batch(np.unique(groups))

    def _permutation(self, seed: int, lap: int) -> np.ndarray:
        key = [xxhash.xxh64_intdigest(b"alignment batches", seed=seed), lap]
        return np.random.Generator(np.random.Philox(key=key)).permutation(self.groups)

    @property
    def mean_tokens_per_group(self) -> float:
        """Mean number of tokens of all forms of a group."""
        return len(self.ids.values) / self.groups

    @property
    def mean_forms_per_group(self) -> float:
        """Mean number of word forms of a group."""
        return len(self.ids) / self.groups


def word_forms(lexicon: Lexicon, tokenizer: Tokenizer) -> WordForms:
    """Encode a lexicon. Forms without tokens are dropped, then groups with fewer than two forms.

    Raises LexiconError if no group is left.
    """
    entries = [
        (number, language, word)
        for number, group in enumerate(lexicon)
        for language, words in {lexicon.source: (group.word,), **group.translations}.items()
        for word in words
    ]
    encoded: list[Any] = [None] * len(entries)
    for language in dict.fromkeys(language for _, language, _ in entries):
        where = [i for i, entry in enumerate(entries) if entry[1] == language]
        for i, ids in zip(where, encode_words(tokenizer, [entries[i][2] for i in where], language), strict=True):
            encoded[i] = ids
    rows: dict[int, list[np.ndarray]] = {}
    for (number, _, _), ids in zip(entries, encoded, strict=True):
        if len(ids):
            rows.setdefault(number, []).append(ids)
    kept = {number: forms for number, forms in rows.items() if len(forms) > 1}
    if not kept:
        raise LexiconError("the lexicon has no word with a translation that this tokenizer can write.")
    table = Ragged.of([form for forms in kept.values() for form in forms])
    return WordForms(
        ids=table,
        first=np.concatenate([[0], np.cumsum([len(forms) for forms in kept.values()])]),
        surface=np.unique(table.hashes(), return_inverse=True)[1].astype(np.int64),
        count=np.array([lexicon.groups[number].count or 1 for number in kept]),
    )
