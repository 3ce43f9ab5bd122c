"""A translation group: one source word with all its translations in all target languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from prealign.lexicon.lines import check_text


@dataclass(frozen=True)
class Group:
    """One source word and its translations; ValueError if a word is empty or a sense repeated.

    translations: target language -> its senses, best first; every language has at least one.
    count: the word's frequency in the source corpus, None if it was not counted.
    origin: where the group comes from, such as "muse:en-de.txt".
    """

    word: str
    translations: Mapping[str, tuple[str, ...]] = field(hash=False)
    count: int | None = None
    origin: tuple[str, ...] = ()

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

    def __reduce__(self) -> tuple[Any, ...]:
        # A MappingProxyType does not pickle, and data loader workers may be sent a lexicon.
        return Group, (self.word, dict(self.translations), self.count, self.origin)

    def merge(self, other: Group) -> Group:
        """Join two groups of one word: this group's senses first, the larger of the counts."""
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
        )


def union(*parts: Sequence[str]) -> tuple[str, ...]:
    """Join sequences, each item once, in order of appearance."""
    return tuple(dict.fromkeys(item for part in parts for item in part))
