"""From aligned sentences to a lexicon with probabilities.

1. Cut sentences into words. Pairs with a side of no word, or of too many, are left out.
2. Align the words in lower case, where a word is one word wherever it stands, and count the links c(s, t).
3. p(t | s) = c(s, t) / c(s), p(s | t) = c(s, t) / c(t), where c(s) and c(t) are all the links of a word.
4. Keep what passes every threshold: of letters on both sides, in the languages' scripts, not equal, of usual length, aligned
   often enough, probable enough in both directions, and, if asked for, the best of each other. A pair of words that fails
   is counted under the first threshold it fails.
5. Spell each word as it is mostly spelled where no sentence begins: German nouns keep their capital, `The` becomes `the`.
6. Order the senses of a word by p(t | s).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prealign.errors import LexiconError
from prealign.languages import language_name, plausible_script
from prealign.lexicon.case import lower
from prealign.lexicon.group import Evidence, Group
from prealign.lexicon.lexicon import Lexicon
from prealign.lexicon.parallel.aligner import align_words
from prealign.lexicon.reading_report import OnSteps, Tallies, Tally

LONGEST_SENTENCE = 100
"""Words. Time and memory grow with the product of the two sides, and long ones are mostly not aligned sentences."""
LONGEST_WORD = 40
"""Characters. Longer ones are addresses, or text without its spaces."""

Words = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Thresholds:
    """What a pair of words has to reach; LexiconError if one is no such number.

    count: links. probability: of both p(t | s) and p(s | t). mutual_best: whether each must be the other's most frequent.
    """

    count: int = 3
    probability: float = 0.2
    mutual_best: bool = False
    senses: int = 3

    def __post_init__(self) -> None:
        if self.count < 1 or self.senses < 1:
            raise LexiconError("the least count of links and the most senses of a word are whole numbers from 1")
        if not 0 <= self.probability <= 1:
            raise LexiconError(f"the least probability is {self.probability}; give a number from 0 to 1 (20 % is 0.2)")


@dataclass(frozen=True)
class Counted:
    """The links of a parallel text: (source word, target word), in lower case -> how often; and how words are spelled."""

    links: Mapping[tuple[str, str], int]
    spelled: tuple[Mapping[str, str], Mapping[str, str]]
    pairs: int
    dropped: Mapping[str, Tally]


def count_links(
    sentences: Iterable[tuple[str, str]], languages: tuple[str, str], words: tuple[Words, Words], on_steps: OnSteps
) -> Counted:
    """Cut, align and count (1 and 2 above). languages: source and target. words: what cuts the sentences of each.

    LexiconError if no pair is left, or without an aligner.
    """
    dropped, pairs = Tallies(), []
    forms: tuple[_Forms, _Forms] = (_Forms(languages[0]), _Forms(languages[1]))
    for source, target in sentences:
        cut = [function(text) for function, text in zip(words, (source, target), strict=True)]
        lengths = [len(side) for side in cut]
        if not min(lengths):
            dropped.add("pairs with a side of no word", f"{source[:40]!r} → {target[:40]!r}")
        elif max(lengths) > LONGEST_SENTENCE:
            dropped.add(f"pairs with a side of more than {LONGEST_SENTENCE} words", f"{source[:40]!r}: {max(lengths)}")
        else:
            lowered = [form.lowered(side) for form, side in zip(forms, cut, strict=True)]
            pairs.append((lowered[0], lowered[1]))
    if not pairs:
        raise LexiconError("no pair of sentences has words on both sides; are these the languages of the text?")
    links: Counter[tuple[str, str]] = Counter()
    for (one, other), found in zip(pairs, align_words(pairs, on_steps), strict=True):
        links.update((one[i], other[j]) for i, j in found)
    return Counted(links, (forms[0].usual(), forms[1].usual()), len(pairs), dropped.counted())


def probable(
    counted: Counted, source: str, target: str, thresholds: Thresholds, origin: str
) -> tuple[Lexicon, dict[str, Tally]]:
    """Return the lexicon (3 to 6 above) and the pairs of words that were left out, by threshold.

    LexiconError if none is left.
    """
    totals: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    best: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for pair, count in counted.links.items():
        for word, total, most in zip(pair, totals, best, strict=True):
            total[word] += count
            most[word] = max(most.get(word, 0), count)
    dropped, senses = Tallies(), dict[str, list[tuple[str, Evidence]]]()
    for pair, count in sorted(counted.links.items(), key=lambda item: (-item[1], item[0])):
        shares = [count / total[word] for word, total in zip(pair, totals, strict=True)]
        mutual = all(count == most[word] for word, most in zip(pair, best, strict=True))
        if reason := _no_words(pair, (source, target)) or _failed(count, min(shares), mutual, thresholds):
            dropped.add(reason, f"{pair[0]} → {pair[1]} ({count:,} links, p {shares[0]:.2f}, back {shares[1]:.2f})")
        else:
            forward, backward = (round(share, 6) for share in shares)
            senses.setdefault(pair[0], []).append((pair[1], Evidence(count, forward, backward)))
    groups = []
    for word, found in senses.items():
        for sense, evidence in found[thresholds.senses :]:
            dropped.add(f"beyond the first {thresholds.senses} senses", f"{word} → {sense} ({evidence.count:,} links)")
        kept = {counted.spelled[1][sense]: evidence for sense, evidence in found[: thresholds.senses]}
        groups.append(Group(counted.spelled[0][word], {target: tuple(kept)}, None, (origin,), {target: kept}))
    if not groups:
        told = ", ".join(f"{tally.count:,} {reason}" for reason, tally in dropped.counted().items())
        raise LexiconError(
            f"no pair of words is left of {counted.pairs:,} pairs of sentences; dropped: {told}. Give more text or lower "
            f"the thresholds, and check that the first side is `{source}` and the second `{target}`"
        )
    return Lexicon(groups, source=source, targets=(target,)), dropped.counted()


def _no_words(pair: tuple[str, str], languages: tuple[str, str]) -> str | None:
    """Return why a pair is none of words of these languages, worded to stand after a number."""
    if not all(_of_letters(word) for word in pair):
        return "with a number or a sign"
    for word, language in zip(pair, languages, strict=True):
        if not plausible_script(word, language):
            return f"not in the script of {language_name(language)}"
    if pair[0] == pair[1]:
        return "identical on both sides"
    if max(map(len, pair)) > LONGEST_WORD:
        return f"longer than {LONGEST_WORD} characters"
    return None


def _failed(count: int, share: float, mutual: bool, thresholds: Thresholds) -> str | None:
    """Return the first threshold that a pair of words fails, worded to stand after a number."""
    if count < thresholds.count:
        return f"aligned fewer than {thresholds.count} times"
    if share < thresholds.probability:
        return f"less probable than {thresholds.probability} in one direction"
    if thresholds.mutual_best and not mutual:
        return "not the best of each other"
    return None


def _of_letters(word: str) -> bool:
    return word[0].isalpha() and not any(char.isnumeric() for char in word)


class _Forms:
    """How each word is spelled."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._within: dict[str, Counter[str]] = {}
        self._first: dict[str, Counter[str]] = {}

    def lowered(self, words: Sequence[str]) -> list[str]:
        """Return the words of a sentence in lower case, and remember how they are spelled."""
        lowered = [lower(word, self.language) for word in words]
        begun = False
        for word, low in zip(words, lowered, strict=True):
            # A quotation or a full stop may come before the first word of a sentence.
            seen = self._within if begun else self._first
            seen.setdefault(low, Counter())[word] += 1
            begun = word[0].isalnum()
        return lowered

    def usual(self) -> dict[str, str]:
        """Return the usual form of each word in lower case. One that only begins sentences is in lower case."""
        within = {low: max(sorted(found), key=found.__getitem__) for low, found in self._within.items()}
        return {low: low for low in self._first} | within
