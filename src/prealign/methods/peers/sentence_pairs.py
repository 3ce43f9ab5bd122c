"""Batches of parallel text, for the losses on sentences and their translations.

1. Join the pairs of all target languages and put them in one random order, which depends on the seed alone.
2. Reading goes round in this order: between two readings of a pair, all other pairs are read. (A new order in each pass
   could bring a pair back at once, while a queue of negatives still holds it.)
3. Tokens of a pair are *partners* if the lexicon links them (`prealign.methods.vocabulary.links`): the token of one side is
   the heaviest link of the token of the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from prealign.methods.alignment.states import pad_words
from prealign.methods.phase import Inputs
from prealign.methods.vocabulary.links import TokenLinks, padded, vocabulary_parts
from prealign.recipe.methods import AnchorEstimate
from prealign.text.bitext import TokenPairs
from prealign.text.ragged import IntArray, Ragged, edges

# N pairs, S pairs of a batch, n tokens of the longest sentence on a side, V rows of the embedding


@dataclass(frozen=True)
class SentencePairs:
    """The pairs of all target languages of `bitext`. Nothing is read before the first batch.

    seed: decides the order. A source sentence and its translation are rows of two `Ragged`.
    """

    bitext: Mapping[str, TokenPairs]
    seed: int

    def __len__(self) -> int:
        return sum(len(source) for source, _ in self.bitext.values())

    @property
    def mean_tokens(self) -> float:
        """The mean number of tokens of a sentence, over both sides."""
        return sum(len(side.values) for sides in self.bitext.values() for side in sides) / (2 * len(self))

    @cached_property
    def _sides(self) -> tuple[Ragged, Ragged]:
        sources, targets = zip(*self.bitext.values(), strict=True)
        return _joined(sources), _joined(targets)

    @cached_property
    def _order(self) -> IntArray:
        key = [xxhash.xxh64_intdigest(b"pairs of sentences", seed=self.seed), 0]
        return np.random.Generator(np.random.Philox(key=key)).permutation(len(self))

    def at(self, places: IntArray) -> tuple[Ragged, Ragged]:
        """Return the source sentences and translations at these places of the order, which repeats without end."""
        rows = self._order[places % len(self)]
        return self._sides[0].take(rows), self._sides[1].take(rows)

    def batch(self, step: int, rank: int, ranks: int, size: int) -> tuple[Ragged, Ragged]:
        """Return the `size` pairs of a rank in a step; those of all ranks follow each other in the order."""
        first = (step * ranks + rank) * size
        return self.at(np.arange(first, first + size))


def side_by_side(sources: Ragged, targets: Ragged) -> dict[str, Tensor]:
    """Return ids (2 S, n), the sources' rows first, padded with 0 on the right, and lengths (2 S,)."""
    ids, lengths = pad_words(_joined((sources, targets)))
    return {"ids": ids, "lengths": lengths}


def mixed(sides: tuple[Ragged, Ragged], turned: NDArray[np.bool_], longest: int) -> tuple[Ragged, Ragged]:
    """Join every two pairs (2 S rows a side) to one. turned (2, S): where a side's second sentence comes first.

    If the two take more than `longest` tokens on a side, the first pair stays alone.
    """
    fits = np.all([side.lengths.reshape(-1, 2).sum(1) <= longest for side in sides], axis=0)  # (S,)
    return _in_twos(sides[0], turned[0], fits), _in_twos(sides[1], turned[1], fits)


def _in_twos(side: Ragged, turned: NDArray[np.bool_], fits: NDArray[np.bool_]) -> Ragged:
    rows = np.arange(len(side)).reshape(-1, 2)
    rows = np.where(turned[:, None], rows[:, ::-1], rows)
    kept = fits[:, None] | (rows % 2 == 0)
    taken = side.take(rows[kept])
    first = np.append(0, np.cumsum(kept.sum(1)))
    return Ragged(taken.values, taken.offsets[first])


def turned_pairs(data: SentencePairs, items: IntArray, *, longest: int | None = None) -> dict[str, Tensor]:
    """Return ids (2 S, n) and lengths (2 S,) of numbered items, as `side_by_side` does; a draw decides which side is first.

    longest: an item is two pairs, which `mixed` joins; None: it is one pair. The draws depend on seed and item alone.
    """
    draws = np.array([_draws(item, data.seed) for item in items.tolist()]).T  # (3, S)
    if longest is None:
        both = side_by_side(*data.at(items))
    else:
        both = side_by_side(*mixed(data.at(np.stack([2 * items, 2 * items + 1], axis=1).ravel()), draws[:2], longest))
    rows = np.arange(2 * len(items)).reshape(2, -1)
    turned = torch.from_numpy(np.where(draws[2], rows[::-1], rows).ravel())
    return {name: tensor[turned] for name, tensor in both.items()}


def _draws(item: int, seed: int) -> list[bool]:
    """Return for an item: the order of its sentences on either side, and whether its sides change places."""
    number = xxhash.xxh64_intdigest(f"sentences {item}".encode(), seed=seed)
    return [bool(number >> bit & 1) for bit in range(3)]


@dataclass(frozen=True)
class Partners:
    """Which tokens of a pair translate each other. estimate: what links are estimated by. LexiconError without any link."""

    inputs: Inputs
    estimate: AnchorEstimate

    @cached_property
    def _link(self) -> IntArray:
        """The heaviest link (V,) of each token, -1 for a token without any."""
        part = vocabulary_parts(self.inputs.token_counts, self.inputs.languages, self.estimate.frequency_ratio)
        links = TokenLinks.estimate(self.inputs.words, part, em_rounds=self.estimate.em_rounds)
        return padded(links.both_ways, 1)[0][:, 0]

    def find(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return partners (S, n, n) of sources (rows) and targets (columns) in ids (2 S, n) of `side_by_side`."""
        tokens: NDArray[Any] = np.where(np.arange(ids.shape[1]) < lengths.numpy()[:, None], ids.numpy(), -1)
        source, target = np.split(tokens, 2)
        linked = np.append(self._link, -2)  # -1, padding, has the link -2, which is no token
        from_source, from_target = linked[source][:, :, None] == target[:, None], linked[target][:, None]
        found = (from_source & (target >= 0)[:, None]) | (
            (from_target == source[:, :, None]) & (source >= 0)[:, :, None]
        )
        return torch.from_numpy(found)

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return {key: getattr(self.estimate, key) for key in ("frequency_ratio", "em_rounds")}


def _joined(parts: tuple[Ragged, ...]) -> Ragged:
    values, lengths = ([getattr(part, name) for part in parts] for name in ("values", "lengths"))
    return Ragged(np.concatenate(values), edges(np.concatenate(lengths)))
