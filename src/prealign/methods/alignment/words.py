"""The word forms of a lexicon in token ids, and batches of translation groups for the alignment loss.

1. Encode every form of every group: the source word and all its translations.
2. Number the groups and the distinct surfaces (token sequences). Forms with equal surfaces are the same to the model.
3. Batch s of a run takes `size` groups from position s · size of a random order. The order is a permutation of all
   groups for each pass, and depends on (seed, pass) alone. Resume, workers and ranks cannot change a batch.
   With `together` above 1, groups that are next to each other by the tokens of their source words come together: words
   that share their first subword are the negatives that are hardest to tell apart.
4. With `one_sense`, a batch has one form per language of each group. (seed, pass) alone decides which.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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

    @property
    def source_tokens_per_group(self) -> float:
        """Mean number of tokens of the source word of a group."""

    def one_sense(self) -> WordSizes:
        """Return the sizes of batches with one form per language."""


@dataclass(frozen=True)
class WordForms:
    """All word forms of a lexicon.

    The forms of group g are rows first[g] .. first[g+1]-1: the source word first, then the forms of each language in turn.
    """

    ids: Ragged  # W rows of token ids
    first: np.ndarray  # (G + 1,)
    surface: np.ndarray  # (W,) equal for forms with equal tokens
    language: np.ndarray  # (W,) number of the form's language; 0 is the source
    count: np.ndarray  # (G,) frequency of the source word, 1 if unknown

    @property
    def groups(self) -> int:
        """Number of translation groups."""
        return len(self.first) - 1

    def batch(self, groups: np.ndarray) -> dict[str, Tensor]:
        """Return the inputs of the given groups: word_ids (W, n), and word_lengths, word_groups, word_surfaces, word_source
        (W,).

        word_source: whether a form is the source word of its group.
        """
        sizes = np.diff(self.first)[groups]
        return self.rows(spans(self.first[groups], sizes), np.repeat(groups, sizes))

    def rows(self, rows: np.ndarray, groups: np.ndarray) -> dict[str, Tensor]:
        """Return the inputs of the given rows (W,), which belong to `groups` (W,). See `batch`."""
        ids, lengths = pad_words(self.ids.take(rows))
        return {
            "word_ids": ids,
            "word_lengths": lengths,
            "word_groups": torch.from_numpy(groups),
            "word_surfaces": torch.from_numpy(self.surface[rows]),
            "word_source": torch.from_numpy(self.language[rows] == 0),
        }

    def numbered_batch(self, number: int, size: int, seed: int, together: int = 1) -> dict[str, Tensor]:
        """Return batch `number` of a run, with up to `size` groups. No group repeats before all groups were read.

        together: neighbours by their source words' tokens that come one after another.
        """
        return self.batch(self.numbered_groups(number, size, seed, together)[0])

    def numbered_groups(self, number: int, size: int, seed: int, together: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return the groups of batch `number`, ascending, without repetition, and the pass that each was taken from."""
        positions = np.arange(number * size, (number + 1) * size)
        groups = np.empty(size, dtype=np.int64)
        laps = positions // self.groups
        for lap in np.unique(laps):
            here = laps == lap
            groups[here] = self._permutation(seed, int(lap), together)[positions[here] % self.groups]
        # A batch that reaches into the next pass may draw a group twice, and its forms would be their own positives.
        groups, where = np.unique(groups, return_index=True)
        return groups, laps[where]

    def _permutation(self, seed: int, lap: int, together: int = 1) -> np.ndarray:
        """Return all groups in the order of a pass: chunks of `together` neighbours, cut anew and in random order."""
        key = [xxhash.xxh64_intdigest(b"alignment batches", seed=seed), lap]
        generator = np.random.Generator(np.random.Philox(key=key))
        if together == 1:
            return generator.permutation(self.groups)
        chunk = (np.arange(self.groups) + generator.integers(together)) // together
        place = generator.permutation(int(chunk[-1]) + 1)
        return self._by_tokens[np.argsort(place[chunk], kind="stable")]

    @cached_property
    def _by_tokens(self) -> np.ndarray:
        """All groups (G,), sorted by the tokens of their first forms."""
        rows = [tuple(self.ids[row].tolist()) for row in self.first[:-1]]
        return np.array(sorted(range(self.groups), key=rows.__getitem__), dtype=np.int64)

    @property
    def mean_tokens_per_group(self) -> float:
        """Mean number of tokens of all forms of a group."""
        return len(self.ids.values) / self.groups

    @property
    def mean_forms_per_group(self) -> float:
        """Mean number of word forms of a group."""
        return len(self.ids) / self.groups

    @property
    def source_tokens_per_group(self) -> float:
        """Mean number of tokens of the source word of a group."""
        return float(self.ids.lengths[self.language == 0].sum()) / self.groups

    def one_sense(self) -> OneSense:
        """Return the same groups with one form per language in a batch."""
        return OneSense(self)


class OneSense:
    """Batches that have one form per language of each group, drawn uniformly in each pass anew."""

    def __init__(self, forms: WordForms) -> None:
        self.forms = forms
        group = np.repeat(np.arange(forms.groups), np.diff(forms.first))
        new = np.r_[True, (group[1:] != group[:-1]) | (forms.language[1:] != forms.language[:-1])]
        # Forms of one group and language are a sense set: rows start[i] .. start[i] + size[i] - 1.
        self._start = np.flatnonzero(new)
        self._size = np.diff(np.r_[self._start, len(new)])
        self._group = group[self._start]
        self._first = np.searchsorted(self._group, np.arange(forms.groups + 1))

    @property
    def groups(self) -> int:
        """Number of translation groups."""
        return self.forms.groups

    @property
    def mean_tokens_per_group(self) -> float:
        """Expected number of tokens of a group in a batch."""
        return float((np.add.reduceat(self.forms.ids.lengths, self._start) / self._size).sum()) / self.groups

    @property
    def mean_forms_per_group(self) -> float:
        """Mean number of languages of a group."""
        return len(self._start) / self.groups

    @property
    def source_tokens_per_group(self) -> float:
        """Mean number of tokens of the source word of a group."""
        return self.forms.source_tokens_per_group

    def numbered_batch(self, number: int, size: int, seed: int, together: int = 1) -> dict[str, Tensor]:
        """Return batch `number` of a run: the groups of `WordForms.numbered_batch`, one form per language.

        Beside the keys of `WordForms.batch`: member_groups and member_surfaces (M,), those of all forms of the groups.
        """
        groups, laps = self.forms.numbered_groups(number, size, seed, together)
        languages = self._first[groups + 1] - self._first[groups]
        sets, lap_of_set = spans(self._first[groups], languages), np.repeat(laps, languages)
        drawn = np.empty(len(sets), dtype=np.int64)
        for lap in np.unique(laps):
            key = [xxhash.xxh64_intdigest(b"drawn senses", seed=seed), int(lap)]
            of_all = np.random.Generator(np.random.Philox(key=key)).integers(self._size)
            drawn[lap_of_set == lap] = of_all[sets[lap_of_set == lap]]
        members = spans(self.forms.first[groups], np.diff(self.forms.first)[groups])
        return self.forms.rows(self._start[sets] + drawn, self._group[sets]) | {
            "member_groups": torch.from_numpy(np.repeat(groups, np.diff(self.forms.first)[groups])),
            "member_surfaces": torch.from_numpy(self.forms.surface[members]),
        }

    def one_sense(self) -> OneSense:
        """Return itself."""
        return self


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
    numbers = {language: number for number, language in enumerate((lexicon.source, *lexicon.targets))}
    encoded: list[Any] = [None] * len(entries)
    for language in dict.fromkeys(language for _, language, _ in entries):
        where = [i for i, entry in enumerate(entries) if entry[1] == language]
        for i, ids in zip(where, encode_words(tokenizer, [entries[i][2] for i in where], language), strict=True):
            encoded[i] = ids
    rows: dict[int, list[tuple[int, np.ndarray]]] = {}
    for (number, language, _), ids in zip(entries, encoded, strict=True):
        if len(ids):
            rows.setdefault(number, []).append((numbers[language], ids))
    kept = {number: forms for number, forms in rows.items() if len(forms) > 1}
    if not kept:
        raise LexiconError(
            f"the training lexicon has {len(lexicon)} words, and none has a translation that this tokenizer can write; at "
            "least one is needed."
        )
    table = Ragged.of([form for forms in kept.values() for _, form in forms])
    return WordForms(
        ids=table,
        first=np.concatenate([[0], np.cumsum([len(forms) for forms in kept.values()])]),
        surface=np.unique(table.hashes(), return_inverse=True)[1].astype(np.int64),
        language=np.array([language for forms in kept.values() for language, _ in forms]),
        count=np.array([lexicon.groups[number].count or 1 for number in kept]),
    )
