"""Bilingual lexicon induction: which words of a test dictionary are asked for, and among which candidates.

The practice of MUSE (Conneau et al. 2018) and VecMap (Artetxe et al. 2018), for words that a language model reads:

1. Words are taken without their case, as those dictionaries have them, and written as the text most often writes them.
2. A pair is asked if both its words occur `floor` times in the training text of their language (in MUSE: have a vector).
   A word without such a pair is dropped; the reasons are counted. All translations of a word that remain are right.
   A word that both languages write alike (hotel) is a right answer to a word that is asked for anyway, but no question:
   a model that knows nothing answers it.
3. Candidates are the `size` most frequent words of each language's text that have a letter and occur `floor` times, and the
   words asked for. They are also the neighbourhood of CSLS, on both sides.

The words of the dictionary leave the lexicon of training (`prealign.run.dictionaries`), so none was aligned nor switched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prealign.lexicon.lexicon import Lexicon
from prealign.lexicon.normalise import Key, fold
from prealign.lexicon.spelling import Written, spellings


@dataclass(frozen=True)
class AskedWords:
    """N candidate words of `source`, M of `language`, and the P pairs of them that the dictionary has.

    pairs (P, 2): indices into `sources` and `targets`, those of words written alike among them.
    words: source words of the dictionary. dropped: reason -> words.
    """

    source: str
    language: str
    sources: list[str]
    targets: list[str]
    pairs: NDArray[np.int64]
    words: int
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def asked(self) -> NDArray[np.int64]:
        """The source words that are asked for, indices in order."""
        return np.unique(self._questions[:, 0])

    @property
    def asked_back(self) -> NDArray[np.int64]:
        """The target words that are asked for, indices in order."""
        return np.unique(self._questions[:, 1])

    @property
    def _questions(self) -> NDArray[np.int64]:
        """The pairs of different words."""
        sources = [fold(word, self.source) for word in self.sources]
        targets = [fold(word, self.language) for word in self.targets]
        different = [sources[i] != targets[j] for i, j in self.pairs.tolist()]
        return self.pairs[np.array(different, dtype=bool)]

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
            f"{len(self.asked):,} of {self.words:,} words ({len(self.asked) / max(self.words, 1):.0%}) are asked for, "
            f"{len(self.pairs):,} pairs with "
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
    keys: tuple[Key | None, Key | None] = (None, None),
) -> AskedWords:
    """Choose pairs and candidates; counts: word of the training text, case kept -> its frequency.

    keys: those of source and target (`normalise.key_of`), where spellings vary.
    """
    tags = (dictionary.source, language)
    counted = zip((source_counts, target_counts), tags, keys, strict=True)
    texts = [spellings(counts, tag, key) for counts, tag, key in counted]
    known = [{word: own for word, own in text.items() if own.count >= floor} for text in texts]
    there = {
        (fold(group.word, tags[0], keys[0]), fold(sense, tags[1], keys[1])): None
        for group in dictionary
        for sense in group.translations.get(language, ())
    }
    pairs = _right({(s, t): _alike(known, tags, s, t) for s, t in there if s in known[0] and t in known[1]})
    dropped = _dropped(there, known, pairs, tags, floor)
    vocabularies = [_candidates(own, size, {pair[side] for pair in pairs}) for side, own in enumerate(known)]
    places = [{word: i for i, word in enumerate(own)} for own in vocabularies]
    table = [(places[0][one], places[1][other]) for one, other in pairs]
    return AskedWords(
        source=dictionary.source,
        language=language,
        sources=[known[0][word].word for word in vocabularies[0]],
        targets=[known[1][word].word for word in vocabularies[1]],
        pairs=np.array(sorted(table), dtype=np.int64).reshape(-1, 2),
        words=len({word for word, _ in there}),
        dropped=dropped,
    )


def _alike(known: Sequence[Mapping[str, Written]], languages: tuple[str, str], word: str, sense: str) -> bool:
    return fold(known[0][word].word, languages[0]) == fold(known[1][sense].word, languages[1])


def _right(found: Mapping[tuple[str, str], bool]) -> list[tuple[str, str]]:
    """Return the pairs of different words, and those written alike (True) that answer a question of these."""
    asked = [{pair[side] for pair, alike in found.items() if not alike} for side in (0, 1)]
    return [(s, t) for (s, t), alike in found.items() if not alike or s in asked[0] or t in asked[1]]


def _dropped(
    there: Iterable[tuple[str, str]],
    known: Sequence[Mapping[str, Written]],
    pairs: Sequence[tuple[str, str]],
    languages: tuple[str, str],
    floor: int,
) -> dict[str, int]:
    """Count the source words that are not asked for, by reason."""
    asked = {s for s, t in pairs if not _alike(known, languages, s, t)}
    translated = {s for s, t in there if t in known[1]}
    dropped: Counter[str] = Counter()
    for word in dict.fromkeys(s for s, _ in there):
        if word not in known[0]:
            dropped[f"fewer than {floor} times in the {languages[0]} text"] += 1
        elif word not in translated:
            dropped[f"without a translation that is {floor} times in the {languages[1]} text"] += 1
        elif word not in asked:
            dropped[f"without such a translation that is written otherwise in {languages[1]}"] += 1
    return dict(dropped)


def _candidates(known: Mapping[str, Written], size: int, asked: set[str]) -> list[str]:
    """Return the most frequent words that have a letter, and those asked for, most frequent first."""
    lettered = [word for word in known if any(char.isalpha() for char in word)]
    chosen = set(lettered[:size]) | asked
    return [word for word in known if word in chosen]
