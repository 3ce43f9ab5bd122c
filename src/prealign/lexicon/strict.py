"""Take the words of test dictionaries out of a training lexicon, on both sides.

A word tests generalisation only if neither it nor a right answer takes part in training. Therefore

1. the groups of tested source words leave the lexicon, in any case and Unicode form;
2. of all other groups, translations leave that a test dictionary has as an answer, or that contain such a word (im Haus,
   l'école, E-Mail): another word's translation is trained as well. Words are cut where running text is: at spaces and signs;
3. groups without a translation left leave too.

What leaves is counted, with examples. Forms and relatives of tested words stay: scores tell them apart
(`prealign.evaluation.retrieval.strata`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import regex

from prealign.lexicon.group import Group
from prealign.lexicon.lexicon import Lexicon
from prealign.lexicon.normalise import Key, fold
from prealign.lexicon.reading_report import Tallies

WORDS, ANSWERS, EMPTIED = (
    "words of test dictionaries",
    "translations that test dictionaries have as answers",
    "words of which only such translations were known",
)
"""What leaves, as counted."""
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")


def without_tests(
    lexicon: Lexicon, tests: Lexicon, keys: Mapping[str, Key | None], left_out: Tallies, *, answers: bool
) -> Lexicon:
    """Return the lexicon without the words of `tests`, and count in `left_out` what left.

    keys: language -> see `normalise.key_of`. answers: also take out the answers of `tests`, among all translations.
    """
    kept = lexicon.without((group.word for group in tests), keys.get(lexicon.source))
    remaining = {group.word for group in kept}
    for group in lexicon:
        if group.word not in remaining:
            left_out.add(WORDS, group.word)
    if not answers:
        return kept
    gone = {language: _answers(tests, language, keys.get(language)) for language in tests.targets}
    groups = []
    for group in kept:
        translations = {
            language: tuple(sense for sense in senses if not _tested(sense, language, keys, gone))
            for language, senses in group.translations.items()
        }
        if left := {language: senses for language, senses in translations.items() if senses}:
            groups.append(replace(group, translations=left))
        _count(group, translations, left_out)
    return Lexicon(groups, source=lexicon.source, targets=lexicon.targets)


def _answers(tests: Lexicon, language: str, key: Key | None) -> set[str]:
    return {fold(sense, language, key) for group in tests for sense in group.translations.get(language, ())}


def _tested(sense: str, language: str, keys: Mapping[str, Key | None], gone: Mapping[str, set[str]]) -> bool:
    """Whether a translation is an answer of a test, or contains a word that is."""
    if language not in gone:
        return False
    return any(fold(word, language, keys.get(language)) in gone[language] for word in {sense, *_WORD.findall(sense)})


def _count(group: Group, translations: Mapping[str, tuple[str, ...]], left_out: Tallies) -> None:
    for language, senses in group.translations.items():
        for sense in senses:
            if sense not in translations[language]:
                left_out.add(ANSWERS, f"{group.word} → {sense}")
    if not any(translations.values()):
        left_out.add(EMPTIED, group.word)
