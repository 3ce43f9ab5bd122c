"""Forms of a lexicon's words that the corpus has and the lexicon lacks: other spellings, and regular English inflections.

1. A word of the corpus that the whole dictionary knows keeps its own entry, or its place among the words held out.
2. The others are looked up by what they may be forms of: words of the same key (`normalise`), or an English word plus a
   regular ending.
3. The first of these that the whole dictionary knows is the word's base. It gets the base's translations, if the base is
   among the words for training; of a held-out base no form is made.
4. -ed and -ing count if the base has another form in -s, -ed or -ing in the corpus, -er and -est if it has both: else
   `evening` would be `even`, `number` would be `numb`.

Translations are those of the base: houses → Haus. Ours are wrong where such a form is a word of its own (news → new).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prealign.lexicon.case import lower
from prealign.lexicon.group import Group
from prealign.lexicon.lexicon import Lexicon
from prealign.lexicon.normalise import Key

INFLECTED, RESPELLED = "inflected", "respelled"
"""The origins that forms have beside those of their base."""

_UNDOUBLED = "<"
_RULES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    # Ending, what may stand in its place in order of preference (<: one of two equal consonants), kind. The endings and
    # what they stand for are the detachment rules of WordNet's Morphy; i for y and doubling are regular spelling.
    ("ies", ("ie", "y"), "s"),
    ("es", ("e", ""), "s"),
    ("s", ("",), "s"),
    ("ied", ("y", "ie"), "ed"),
    ("ed", ("e", "", _UNDOUBLED), "ed"),
    ("ing", ("e", "", _UNDOUBLED), "ing"),
    ("ier", ("y", "ie"), "er"),
    ("er", ("e", "", _UNDOUBLED), "er"),
    ("iest", ("y", "ie"), "est"),
    ("est", ("e", "", _UNDOUBLED), "est"),
)
_SIBILANTS = ("s", "x", "z", "ch", "sh", "o")
"""Only after these is -es an ending without an e of the word."""
_SHORTEST = 3
"""Letters of a stem before its ending: thing is no form of the, bed none of b."""


def english_bases(form: str) -> Iterator[tuple[str, str]]:
    """Yield (base, kind of ending) for what a lower-case English word may be a regular form of, likeliest first."""
    for ending, replacements, kind in _RULES:
        stem = form.removesuffix(ending)
        if stem == form or len(stem) < _SHORTEST or not set(stem) & set("aeiouy"):
            continue
        for replacement in replacements:
            if replacement == _UNDOUBLED:
                if stem[-1] == stem[-2] and stem[-1] not in "aeiou":
                    yield stem[:-1], kind
            elif not (ending == "s" and stem.endswith(("s", "u", "i"))) and not (
                ending == "es" and not replacement and not stem.endswith(_SIBILANTS)
            ):
                yield stem + replacement, kind
        return  # the longest ending alone: cities is no citie + s but by its own rule


def inflected(training: Lexicon, whole: Lexicon, word_counts: Mapping[str, int], minimum_count: int) -> Lexicon:
    """Return the entries of regular English forms that occur `minimum_count` times, at least once in lower case."""
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        counts[lower(word, "en")] += count
    bases: dict[str, tuple[str, str]] = {}
    kinds: dict[str, set[str]] = {}
    for word in word_counts:
        if word.isascii() and word.isalpha() and word.islower():
            found = next((pair for pair in english_bases(word) if whole.lookup(pair[0])), None)
            if found:
                bases[word] = found
                kinds.setdefault(found[0], set()).add(found[1])

    def sure(base: str, kind: str) -> bool:
        return kind == "s" or len(kinds[base] & ({"er", "est"} if kind in ("er", "est") else {"s", "ed", "ing"})) > 1

    known = {word: base for word, (base, kind) in bases.items() if sure(base, kind)}
    frequent = {word: count for word, count in counts.items() if count >= minimum_count}
    return _entries(training, whole, frequent, known.get, INFLECTED)


def respelled(training: Lexicon, whole: Lexicon, word_counts: Mapping[str, int], key: Key) -> Lexicon:
    """Return the entries of words that differ from one of the lexicon in spelling only, origin `respelled`."""
    words: dict[str, str] = {}
    for group in whole:
        words.setdefault(key(group.word), group.word)
    return _entries(training, whole, word_counts, lambda word: words.get(key(word)), RESPELLED)


def _entries(
    training: Lexicon, whole: Lexicon, word_counts: Mapping[str, int], base_of: Callable[[str], str | None], origin: str
) -> Lexicon:
    groups = []
    for word, count in word_counts.items():
        base = None if whole.lookup(word) else base_of(word)
        group = training.lookup(base) if base else None
        if group:
            groups.append(Group(word, group.translations, count, (*group.origin, origin)))
    return Lexicon(groups, source=training.source, targets=training.targets)
