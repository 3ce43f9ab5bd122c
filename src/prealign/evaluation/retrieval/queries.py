"""Dictionary retrieval: select queries and candidates from a test dictionary and the word counts of two texts.

The practice of MUSE (Conneau et al. 2018) and VecMap (Artetxe et al. 2018), for words that a language model reads:

1. Compare words without case, as those dictionaries are in lower case; write them in the text's most frequent spelling.
2. Keep a pair if both words occur `floor` times in the training text of their language (in MUSE: have a vector). Drop a word
   without such a pair, and count the reason. All remaining translations of a word are gold.
   A word that both languages write alike (hotel) is a gold translation of another query, but no query itself: a model that
   knows nothing retrieves it.
3. Candidates are the `size` most frequent words of each language's text that have a letter and occur `floor` times, and the
   queries. They are also the neighbourhood of CSLS, on both sides.

`prealign.lexicon.strict` removes the words of the dictionary from the training lexicon: none was aligned or switched.
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
class DictionaryQueries:
    """N candidate words of `source`, M of `language`, and the P pairs of them that the dictionary has.

    pairs (P, 2): indices into `sources` and `targets`, including those of words written alike.
    words: number of source words of the dictionary. floor: occurrences that a word needs. dropped: reason -> words.
    strata: of `forward` and of `backward`, index of each query's stratum (`strata.STRATA`); None: not known.
    """

    source: str
    language: str
    sources: list[str]
    targets: list[str]
    pairs: NDArray[np.int64]
    words: int
    floor: int
    dropped: dict[str, int] = field(default_factory=dict)
    strata: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def forward(self) -> NDArray[np.int64]:
        """Return the queries from source to target: sorted indices into `sources`."""
        return np.unique(self._different[:, 0])

    @property
    def backward(self) -> NDArray[np.int64]:
        """Return the queries from target to source: sorted indices into `targets`."""
        return np.unique(self._different[:, 1])

    @property
    def _different(self) -> NDArray[np.int64]:
        """Return the pairs of words that are not written alike."""
        sources = [fold(word, self.source) for word in self.sources]
        targets = [fold(word, self.language) for word in self.targets]
        different = [sources[i] != targets[j] for i, j in self.pairs.tolist()]
        return self.pairs[np.array(different, dtype=bool)]

    def gold(self) -> NDArray[np.bool_]:
        """Return the pairs as a table (N, M)."""
        table = np.zeros((len(self.sources), len(self.targets)), dtype=bool)
        table[self.pairs[:, 0], self.pairs[:, 1]] = True
        return table

    @property
    def summary(self) -> str:
        """Say how many words are queries, and how many are not for which reason."""
        left = "".join(f"; {count:,} {reason}" for reason, count in self.dropped.items())
        return (
            f"{len(self.forward):,} of {self.words:,} words ({len(self.forward) / max(self.words, 1):.0%}) are asked for, "
            f"{len(self.pairs):,} pairs with "
            f"{len(self.backward):,} {self.language} words, among {len(self.targets):,} candidates{left}"
        )


def select_queries(
    dictionary: Lexicon,
    language: str,
    source_counts: Mapping[str, int],
    target_counts: Mapping[str, int],
    *,
    floor: int,
    size: int,
    keys: tuple[Key | None, Key | None] = (None, None),
) -> DictionaryQueries:
    """Select queries and candidates. Counts: word of the training text, case kept -> its frequency.

    keys: those of source and target (`normalise.key_of`), where spellings vary.
    """
    tags = (dictionary.source, language)
    counted = zip((source_counts, target_counts), tags, keys, strict=True)
    texts = [spellings(counts, tag, key) for counts, tag, key in counted]
    known = [{word: own for word, own in text.items() if own.count >= floor} for text in texts]
    entries = {
        (fold(group.word, tags[0], keys[0]), fold(sense, tags[1], keys[1])): None
        for group in dictionary
        for sense in group.translations.get(language, ())
    }
    pairs = _gold_pairs({(s, t): _alike(known, tags, s, t) for s, t in entries if s in known[0] and t in known[1]})
    dropped = _dropped(entries, known, pairs, tags, floor)
    vocabularies = [_candidates(words, size, {pair[side] for pair in pairs}) for side, words in enumerate(known)]
    places = [{word: i for i, word in enumerate(words)} for words in vocabularies]
    table = [(places[0][one], places[1][other]) for one, other in pairs]
    return DictionaryQueries(
        source=dictionary.source,
        language=language,
        sources=[known[0][word].word for word in vocabularies[0]],
        targets=[known[1][word].word for word in vocabularies[1]],
        pairs=np.array(sorted(table), dtype=np.int64).reshape(-1, 2),
        words=len({word for word, _ in entries}),
        floor=floor,
        dropped=dropped,
    )


def _alike(known: Sequence[Mapping[str, Written]], languages: tuple[str, str], word: str, sense: str) -> bool:
    return fold(known[0][word].word, languages[0]) == fold(known[1][sense].word, languages[1])


def _gold_pairs(found: Mapping[tuple[str, str], bool]) -> list[tuple[str, str]]:
    """Return the pairs of different words, and those written alike (True) that share a word with one of them."""
    queries = [{pair[side] for pair, alike in found.items() if not alike} for side in (0, 1)]
    return [(s, t) for (s, t), alike in found.items() if not alike or s in queries[0] or t in queries[1]]


def _dropped(
    entries: Iterable[tuple[str, str]],
    known: Sequence[Mapping[str, Written]],
    pairs: Sequence[tuple[str, str]],
    languages: tuple[str, str],
    floor: int,
) -> dict[str, int]:
    """Count the source words that are no queries, by reason."""
    queries = {s for s, t in pairs if not _alike(known, languages, s, t)}
    translated = {s for s, t in entries if t in known[1]}
    dropped: Counter[str] = Counter()
    for word in dict.fromkeys(s for s, _ in entries):
        if word not in known[0]:
            dropped[f"fewer than {floor} times in the {languages[0]} text"] += 1
        elif word not in translated:
            dropped[f"without a translation that is {floor} times in the {languages[1]} text"] += 1
        elif word not in queries:
            dropped[f"without such a translation that is written otherwise in {languages[1]}"] += 1
    return dict(dropped)


def _candidates(known: Mapping[str, Written], size: int, queries: set[str]) -> list[str]:
    """Return the `size` most frequent words that have a letter, and the queries, most frequent first."""
    lettered = [word for word in known if any(char.isalpha() for char in word)]
    chosen = set(lettered[:size]) | queries
    return [word for word in known if word in chosen]
