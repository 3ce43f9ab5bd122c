"""Bilingual lexicon induction: which words of a test dictionary are asked for, and among which candidates.

The practice of MUSE (Conneau et al. 2018) and VecMap (Artetxe et al. 2018), for words that a language model reads:

1. Words are taken without their case, as those dictionaries have them, and written as the text most often writes them.
2. A pair is asked if both its words occur `floor` times in the training text of their language (in MUSE: have a vector).
   A word without such a pair is dropped; the reasons are counted. All translations of a word that remain are right.
3. Candidates are the `size` most frequent words of each language's text that have a letter and occur `floor` times, and the
   words asked for. They are also the neighbourhood of CSLS, on both sides.

The words of the dictionary leave the lexicon of training (`prealign.dictionaries`), so none was aligned nor switched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prealign.lexicon.groups import Lexicon
from prealign.lexicon.normalise import fold
from prealign.lexicon.spelling import Written, spellings

Key = Callable[[str], str] | None


@dataclass(frozen=True)
class AskedWords:
    """N candidate words of the source, M of `language`, and the P pairs of them that the dictionary has.

    pairs (P, 2): indices into `sources` and `targets`. words: source words of the dictionary. dropped: reason -> words.
    """

    language: str
    sources: list[str]
    targets: list[str]
    pairs: NDArray[np.int64]
    words: int
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def asked(self) -> NDArray[np.int64]:
        """The source words that are asked for, indices in order."""
        return np.unique(self.pairs[:, 0])

    @property
    def asked_back(self) -> NDArray[np.int64]:
        """The target words that are asked for, indices in order."""
        return np.unique(self.pairs[:, 1])

    def gold(self) -> NDArray[np.bool_]:
        """Return (N, M): the pairs as a table."""
        table = np.zeros((len(self.sources), len(self.targets)), dtype=bool)
        table[self.pairs[:, 0], self.pairs[:, 1]] = True
        return table

    @property
    def text(self) -> str:
        """How many words are asked for, how many are not and why, in words."""
        left = "".join(f"; {count:,} {reason}" for reason, count in self.dropped.items())
        return (
            f"{len(self.asked):,} of {self.words:,} words are asked for, {len(self.pairs):,} pairs with "
            f"{len(self.asked_back):,} {self.language} words, among {len(self.targets):,} candidates{left}"
        )


def asked_words(
    dictionary: Lexicon,
    language: str,
    source_counts: Mapping[str, int],
    target_counts: Mapping[str, int],
    *,
    floor: int,
    size: int,
    keys: tuple[Key, Key] = (None, None),
) -> AskedWords:
    """Choose pairs and candidates; counts: word of the training text, case kept -> its frequency.

    keys: those of source and target (`normalise.key_of`), where spellings vary.
    """
    texts = [spellings(counts, key) for counts, key in zip((source_counts, target_counts), keys, strict=True)]
    known = [{word: own for word, own in text.items() if own.count >= floor} for text in texts]
    pairs: dict[tuple[str, str], None] = {}
    dropped: Counter[str] = Counter()
    words = {fold(g.word, keys[0]): None for g in dictionary if g.translations.get(language)}
    translated: set[str] = set()
    for group in dictionary:
        word = fold(group.word, keys[0])
        for sense in group.translations.get(language, ()):
            if fold(sense, keys[1]) in known[1]:
                translated.add(word)
                if word in known[0]:
                    pairs[word, fold(sense, keys[1])] = None
    for word in words:
        if word not in known[0]:
            dropped[f"fewer than {floor} times in the {dictionary.source} text"] += 1
        elif word not in translated:
            dropped[f"without a translation that is {floor} times in the {language} text"] += 1
    vocabularies = [_candidates(own, size, {pair[side] for pair in pairs}) for side, own in enumerate(known)]
    places = [{word: i for i, word in enumerate(own)} for own in vocabularies]
    table = [(places[0][one], places[1][other]) for one, other in pairs]
    return AskedWords(
        language=language,
        sources=[known[0][word].word for word in vocabularies[0]],
        targets=[known[1][word].word for word in vocabularies[1]],
        pairs=np.array(sorted(table), dtype=np.int64).reshape(-1, 2),
        words=len(words),
        dropped=dict(dropped),
    )


def _candidates(known: Mapping[str, Written], size: int, asked: set[str]) -> list[str]:
    """Return the most frequent words that have a letter, and those asked for, most frequent first."""
    lettered = [word for word in known if any(char.isalpha() for char in word)]
    chosen = set(lettered[:size]) | asked
    return [word for word in known if word in chosen]
