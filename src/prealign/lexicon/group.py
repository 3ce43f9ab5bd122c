"""A translation group: one source word with all its translations in all target languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from prealign.strict_json import check_text


@dataclass(frozen=True)
class Evidence:
    """How often a word and a sense were aligned in parallel text; ValueError if it is no count and two probabilities.

    forward: p(sense | word). backward: p(word | sense). Both of all the links of the word (the sense), filtered or not.
    """

    count: int
    forward: float
    backward: float

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 1:
            raise ValueError(f"a count of alignments is {self.count!r}, not a whole number from 1")
        for p in (self.forward, self.backward):
            if type(p) not in (int, float) or not 0 <= p <= 1:
                raise ValueError(f"a probability of alignment is {p!r}, not a number from 0 to 1")


@dataclass(frozen=True)
class Group:
    """One source word and its translations; ValueError if a word is empty or a sense repeated.

    translations: target language -> its senses, best first; every language has at least one.
    count: the word's frequency in the source corpus, None if it was not counted.
    origin: where the group comes from, such as "muse:en-de.txt".
    evidence: target language -> sense -> what parallel text says for it; of senses that are not here it is forgotten.
    """

    word: str
    translations: Mapping[str, tuple[str, ...]] = field(hash=False)
    count: int | None = None
    origin: tuple[str, ...] = ()
    evidence: Mapping[str, Mapping[str, Evidence]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_text(self.word, "the source word")
        translations = {language: tuple(senses) for language, senses in self.translations.items()}
        if not translations:
            raise ValueError(f"`{self.word}` has no translations")
        for language, senses in translations.items():
            if not senses or len(set(senses)) != len(senses):
                raise ValueError(f"`{self.word}` has no or repeated translations in `{language}`")
            for sense in senses:
                check_text(sense, f"a translation of `{self.word}`")
        if self.count is not None and self.count < 0:
            raise ValueError(f"`{self.word}` has a count below 0")
        object.__setattr__(self, "translations", MappingProxyType(translations))
        object.__setattr__(self, "origin", tuple(self.origin))
        # Whoever takes senses away need not think of their evidence.
        known = {language: self.evidence.get(language, {}) for language in translations}
        kept = {lang: {s: found[s] for s in translations[lang] if s in found} for lang, found in known.items()}
        object.__setattr__(self, "evidence", {language: found for language, found in kept.items() if found})

    def __reduce__(self) -> tuple[Any, ...]:
        # A MappingProxyType does not pickle, and data loader workers may be sent a lexicon.
        return Group, (self.word, dict(self.translations), self.count, self.origin, self.evidence)

    def merge(self, other: Group) -> Group:
        """Join two groups of one word: this group's senses and evidence first, the larger of the counts."""
        languages = dict.fromkeys((*self.translations, *other.translations))
        counts = [group.count for group in (self, other) if group.count is not None]
        return Group(
            word=self.word,
            translations={
                language: union(self.translations.get(language, ()), other.translations.get(language, ()))
                for language in languages
            },
            count=max(counts, default=None),
            origin=union(self.origin, other.origin),
            evidence={
                language: {**other.evidence.get(language, {}), **self.evidence.get(language, {})}
                for language in languages
            },
        )


def union(*parts: Sequence[str]) -> tuple[str, ...]:
    """Join sequences, each item once, in order of appearance."""
    return tuple(dict.fromkeys(item for part in parts for item in part))
