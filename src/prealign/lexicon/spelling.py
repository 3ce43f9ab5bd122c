"""How a text writes words: the spelling that it has most often, cases aside.

1. Words of a text that differ in case or Unicode form alone, or that a key says are one (`normalise`), are counted together.
2. The spelling that occurs most often stands for all; among equals the first in the order of characters.
3. `as_written` gives a lexicon's translations these spellings: MUSE has haus where German text has Haus, and a model that
   aligned the tokens of haus would never meet them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from prealign.lexicon.group import Group, union
from prealign.lexicon.lexicon import Lexicon
from prealign.lexicon.normalise import Key, fold


@dataclass(frozen=True)
class Written:
    """A word as a text has it: its most frequent spelling, and the number of times in all spellings."""

    word: str
    count: int


def spellings(word_counts: Mapping[str, int], language: str, key: Key | None = None) -> dict[str, Written]:
    """Return folded word -> how the text writes it, most frequent first. key: see `normalise.key_of`."""
    best: dict[str, tuple[int, str]] = {}
    totals: dict[str, int] = {}
    for word, count in word_counts.items():
        folded = fold(word, language, key)
        totals[folded] = totals.get(folded, 0) + count
        best[folded] = min(best.get(folded, (0, word)), (-count, word))
    ordered = sorted(totals, key=lambda folded: (-totals[folded], folded))
    return {folded: Written(best[folded][1], totals[folded]) for folded in ordered}


def as_written(
    lexicon: Lexicon, word_counts: Mapping[str, Mapping[str, int]], keys: Mapping[str, Key] | None = None
) -> Lexicon:
    """Write translations in the spelling that their language's text has most often; those it lacks stay as they are.

    word_counts: target language -> its words' frequencies, case kept. keys: language -> see `normalise.key_of`.
    Translations that become one are kept once.
    """
    keys = keys or {}
    written = {language: spellings(counts, language, keys.get(language)) for language, counts in word_counts.items()}

    def spelled(language: str, sense: str) -> str:
        found = written.get(language, {}).get(fold(sense, language, keys.get(language)))
        return found.word if found else sense

    def respelled(group: Group) -> Group:
        senses = {t: union([spelled(t, sense) for sense in found]) for t, found in group.translations.items()}
        return replace(group, translations=senses)

    return Lexicon(map(respelled, lexicon), source=lexicon.source, targets=lexicon.targets)
