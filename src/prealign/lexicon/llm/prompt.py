"""The prompt for the model, and the parser of its replies.

1. `Task` is a direction of translation. Its instructions ask for the translations of a batch of words as one JSON object.
2. `answers` reads the JSON objects of a reply and skips the text around them (a code fence, a sentence, thoughts). It maps
   each word of the batch to its list of translations; an empty list says that the model has none. A key may differ from
   its word in case or Unicode normal form, if it matches one word only. Keys that match no word are counted.
3. `Task.senses` cleans translations like those of any dictionary. It drops, and counts, those in another script, equal to
   the word, too long for a translation, repeated, or beyond `most_senses`.

Servers differ in the JSON schemas that they accept, and some refuse requests with one, so requests have none.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from unicodedata import normalize

import xxhash

from prealign.errors import LexiconError
from prealign.languages import UNSPACED_LANGUAGES, language_name, plausible_script
from prealign.lexicon.case import upper
from prealign.lexicon.cleaning import LONGEST_TERM, Unusable, clean
from prealign.lexicon.normalise import fold
from prealign.lexicon.reading_report import DUPLICATE, IDENTICAL, Tallies
from prealign.strict_json import shown

LONGEST_SENSE = 3
"""Words. More are an explanation."""
LONGEST_CHINESE, LONGEST_UNSPACED = 8, 20
"""Characters, in Chinese and in other languages without spaces. More are an explanation."""
DEEPEST = 10
"""Levels of lists and objects in an answer. JSON of more levels can be readable and not writable."""
FALSE_STARTS = 1000
"""Broken objects of a reply, after which the rest is not read."""

_CHINESE = frozenset({"zh", "yue", "wuu"})
_LISTING = frozenset(",;:=/|，；：、。،؛\n")

_OBJECT = re.compile(r'\{\s*["}]')
_DECODER = json.JSONDecoder()

UNASKED = "words that were not asked"
_INSTRUCTIONS = """\
You are a bilingual dictionary from {source} to {target}. The user sends a JSON list of {source} words. Reply with \
one JSON object and nothing else: for each word, exactly as it was sent, a list of its most common {target} \
translations, best first, at most {senses}. A translation is one word, or the shortest usual phrase, as it is written \
in running {target} text: no article, no pronunciation, no explanation, no part of speech. Give an empty list for \
what cannot be translated, such as most names."""

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Task:
    """A direction of translation, with at most `most_senses` translations of a word.

    keep_identical: keep translations equal to their word. LexiconError if both languages are the same, or most_senses < 1.
    """

    source: str
    target: str
    most_senses: int = 3
    keep_identical: bool = False

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise LexiconError(f"`{self.source}` is both source and target; give two different languages")
        if self.most_senses < 1:
            raise LexiconError(f"at most {self.most_senses} senses would leave no translation; give 1 or more")

    @cached_property
    def instructions(self) -> str:
        """The system message."""
        names = {"source": language_name(self.source), "target": language_name(self.target)}
        return _INSTRUCTIONS.format(senses=self.most_senses, **names)

    @cached_property
    def version(self) -> str:
        """Hash of the instructions; the cache keeps the answers to each version apart."""
        return xxhash.xxh3_64_hexdigest(self.instructions.encode())

    def messages(self, words: Sequence[str]) -> Messages:
        """Return the conversation that asks for these words."""
        asked = json.dumps(list(words), ensure_ascii=False)
        return [{"role": "system", "content": self.instructions}, {"role": "user", "content": asked}]

    def senses(self, word: str, answer: Sequence[Any], rejected: Tallies) -> tuple[str, ...]:
        """Return the usable translations of an answer; count the others in `rejected`."""
        kept: dict[str, None] = {}
        for item in answer:
            sense = item if isinstance(item, str) else ""
            try:
                sense = clean(sense, self.target, lambda *_: None) if sense.strip() else ""
                reason = self._wrong(word, sense)
            except Unusable as error:
                reason = str(error)
            if reason is None and sense in kept:
                reason = DUPLICATE
            if reason is None and len(kept) == self.most_senses:
                reason = f"entries beyond the first {self.most_senses} senses"
            if reason is None:
                kept[sense] = None
            else:
                rejected.add(reason, f"{shown(word)} → {shown(str(item))}")
        return tuple(kept)

    @property
    def _longest(self) -> int:
        base = self.target.split("-")[0]
        if base in _CHINESE:
            return LONGEST_CHINESE
        return LONGEST_UNSPACED if base in UNSPACED_LANGUAGES else LONGEST_TERM

    def _wrong(self, word: str, sense: str) -> str | None:
        if not sense:
            return "entries that are empty or no text"
        identical = fold(sense, self.target) == fold(word, self.source)
        if identical and not self.keep_identical:
            return IDENTICAL
        if len(sense.split()) > LONGEST_SENSE or len(sense) > self._longest or _LISTING & set(sense):
            return "entries that list or explain and do not translate"
        if not identical and not plausible_script(sense, self.target):
            return f"entries not in the script of {language_name(self.target)}"
        return None


def answers(reply: str, asked: Sequence[str], source: str, rejected: Tallies) -> dict[str, list[Any]]:
    """Return word -> answer for the words with an answer; ValueError(reason) if the reply holds no JSON object.

    source: the language of the words.
    """
    objects = list(_objects(reply))
    if not objects:
        raise ValueError(f"replies without a JSON object: {shown(reply)}")
    # Forms in which a key may match its word, the closest first.
    alike: list[Callable[[str], str]] = [str, _composed, partial(_caseless, language=source)]
    forms = [(form, _unique(asked, form)) for form in alike]
    answered: dict[str, tuple[int, list[Any]]] = {}
    for key, answer in (item for found in objects for item in found.items()):
        # The distance of the key from its word: 0 if they are equal.
        found_at = ((far, words[form(key)]) for far, (form, words) in enumerate(forms) if form(key) in words)
        far, word = next(found_at, (0, None))
        if word is None:
            rejected.add(UNASKED, shown(key))
        elif _deeper(answer, DEEPEST):
            rejected.add("answers nested too deeply", shown(key))
        elif not isinstance(answer, str | list):
            rejected.add("answers that are no list", f"{shown(key)} → {shown(str(answer))}")
        else:
            given = (far, [answer] if isinstance(answer, str) else answer)
            other = answered.setdefault(word, given)
            # At equal distance the last answer wins: earlier ones are drafts, such as in the thoughts of a model.
            if far <= other[0]:
                answered[word], given = given, other
            if given[1] != answered[word][1]:
                rejected.add("answers beside another to the same word", f"{shown(word)} → {shown(str(given[1]))}")
    return {word: answer for word, (_, answer) in answered.items()}


def _objects(reply: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a text, in time that grows with its length alone.

    Reading goes on where an object ends or breaks off, and stops after FALSE_STARTS broken ones or too deep a one.
    """
    at = broken = 0
    while broken < FALSE_STARTS and (start := _OBJECT.search(reply, at)):
        try:
            found, at = _DECODER.raw_decode(reply, start.start())
            yield found
        except json.JSONDecodeError as error:
            at, broken = max(error.pos, start.start() + 1), broken + 1
        except (ValueError, RecursionError):  # a number of thousands of digits, or thousands of levels
            return


def _deeper(value: object, levels: int) -> bool:
    """Whether lists and objects have more than `levels` levels."""
    if not isinstance(value, list | dict):
        return False
    return not levels or any(
        _deeper(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value)
    )


def _composed(word: str) -> str:
    return normalize("NFC", word)


def _caseless(word: str, language: str) -> str:
    # By capitals, straße and STRASSE are one.
    return _composed(upper(fold(word, language), language))


def _unique(words: Sequence[str], form: Callable[[str], str]) -> dict[str, str]:
    """Return form -> word, for the forms of exactly one word."""
    counts = Counter(form(word) for word in set(words))
    return {form(word): word for word in words if counts[form(word)] == 1}
