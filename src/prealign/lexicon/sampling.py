"""Random choices among words that depend on a seed and on the words alone, not on their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import xxhash

from prealign.errors import LexiconError
from prealign.lexicon.case import lower


def draw(words: Iterable[str], language: str, purpose: str, share: float, seed: int) -> list[str]:
    """Return this share of the lower-cased words by rank of hash(purpose, seed, word): a smaller draw begins a larger one.

    LexiconError if the share is not in 0..1.
    """
    if not 0 <= share <= 1:
        raise LexiconError(f"a share of {share} of the lexicon cannot be drawn; give one from 0 to 1")

    def rank(word: str) -> tuple[int, str]:
        return xxhash.xxh3_64_intdigest(f"{purpose} {seed} {word}".encode()), word

    caseless = {lower(word, language) for word in words}
    return sorted(caseless, key=rank)[: round(share * len(caseless))]


def derangement(members: Sequence[Set[str]]) -> list[int]:
    """Return a permutation by which each set gets one that it shares nothing with.

    1. Each takes the next one's; 2. where the two share something, the first other that both can exchange with mends it.
    LexiconError if none can: too many are alike.
    """
    taken = [(i + 1) % len(members) for i in range(len(members))]

    def fits(one: int, other: int) -> bool:
        return members[one].isdisjoint(members[other])

    for i in range(len(members)):
        if fits(i, taken[i]):
            continue
        other = next((j for j in range(len(members)) if fits(i, taken[j]) and fits(j, taken[i])), None)
        if other is None:
            raise LexiconError(
                f"{len(members)} words of the lexicon cannot exchange their translations so that none keeps one: they are "
                "too few, or too many have the same. Set lexicon.wrong to 0, or higher."
            )
        taken[i], taken[other] = taken[other], taken[i]
    return taken
