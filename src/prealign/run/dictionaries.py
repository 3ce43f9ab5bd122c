"""From the dictionaries of a recipe to the lexicon of its run.

1. Read every file of `lexicon.files`.
2. Load the segmenters of targets written without spaces; the dictionaries are the words that longest_match knows.
3. When the text is tokenised and its words are counted: join the clone's dictionary and the files', keep the words that the
   source's text has often enough, drop those of the test dictionaries, put the senses in order, and cap them. What is left
   out is counted, with examples.
4. Say which words of the test dictionaries will be asked for.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from prealign.errors import LexiconError
from prealign.evaluation.retrieval.queries import AskedWords, asked_words
from prealign.lexicon import Lexicon
from prealign.lexicon.direction import found_in_corpus
from prealign.lexicon.normalise import key_of, keyed
from prealign.lexicon.reading_report import Tallies, Tally, told_of
from prealign.lexicon.spelling import as_written
from prealign.recipe.sections import LexiconFile, LexiconSection, Recipe
from prealign.text.arrow import load_arrow
from prealign.text.clone import clone_language
from prealign.text.corpus import count_words
from prealign.text.segment import Segmenter, load_segmenter, target_segmenters
from prealign.text.words import Tokenizer, kind
from prealign.workers import Spread


def read_dictionaries(recipe: Recipe) -> list[Lexicon]:
    """Read the files of `lexicon.files`, in their order. Raises LexiconError."""
    source = recipe.source.language
    return [
        Lexicon.read(f.path, format=f.format, source=source, target=f.target, turned=f.turned)
        for f in recipe.lexicon.files
    ]


def read_tests(recipe: Recipe) -> list[Lexicon]:
    """Read the files of `evaluate.dictionaries`, in their order. Raises LexiconError."""
    source, files = recipe.source.language, recipe.evaluate.dictionaries
    return [
        Lexicon.read(f.path, format=f.format, source=source, target=f.target, turned=f.turned, keep_identical=True)
        for f in files
    ]


def joined(dictionaries: list[Lexicon], source: str) -> Lexicon:
    """Return dictionaries as one lexicon, which has no words without any."""
    return reduce(Lexicon.merge, dictionaries, Lexicon([], source=source, targets=[]))


def readings_of_tests(recipe: Recipe, dictionaries: list[Lexicon], counts: dict[str, int]) -> list[dict[str, Any]]:
    """Say how each test dictionary was read. LexiconError if one goes from target to source."""
    files = zip(recipe.evaluate.dictionaries, dictionaries, strict=True)
    return [
        {"path": f.path, "target": f.target, "summary": f"{one.report}\n  {found_in_corpus(one, counts, f.path)}"}
        for f, one in files
    ]


def load_segmenters(recipe: Recipe, dictionaries: list[Lexicon]) -> dict[str, Segmenter]:
    """Return the segmenters of languages without spaces; longest_match knows all translations of the dictionaries."""
    loaded = {}
    for language, name in target_segmenters(recipe.targets).items():
        groups = (group for dictionary in dictionaries for group in dictionary)
        words = (word for group in groups for word in group.translations.get(language, ()))
        loaded[language] = load_segmenter(name, language, words)
    return loaded


@dataclass(frozen=True)
class Made:
    """A run's lexicon, how each file was read, what was left out of it (a line a reason), how many words tests kept out."""

    lexicon: Lexicon
    reading: list[dict[str, Any]]
    left_out: list[str]
    kept_out: int


def make_lexicon(
    recipe: Recipe,
    dictionaries: list[Lexicon],
    tokenizer: Tokenizer,
    counts: dict[str, int],
    counted: dict[str, dict[str, int]],
    tests: Lexicon,
) -> Made:
    """Join all dictionaries, keep what the corpus uses, leave the words of `tests` out, and say what became of them.

    counts: the source's words. counted: those of the targets that `counted_targets` names. LexiconError if a target is left
    none.
    """
    section, source = recipe.lexicon, recipe.source.language
    lexicon = Lexicon([], source=source, targets=[])
    reading, left_out = [], Tallies()
    for target in recipe.targets:
        if target.is_clone:
            frequent = {w: n for w, n in counts.items() if n >= section.minimum_count and w[0].isalpha()}
            lexicon = lexicon.merge(clone_language(tokenizer).lexicon(frequent, source=source))
    for file, dictionary in zip(section.files, dictionaries, strict=True):
        one, summary = _checked(dictionary, file, source, counts)
        reading.append({"path": file.path, "target": file.target, "summary": summary})
        lexicon = lexicon.merge(one)
    used = lexicon.with_counts(_with_spellings(counts, lexicon, section), section.minimum_count)
    _count_not_found(left_out, lexicon, used, counts, section.minimum_count, source)
    trained = used.without((group.word for group in tests), key_of(section.normalise, source))
    kept_out, used = len(used) - len(trained), trained
    keys = {t: key for t in counted if (key := key_of(section.normalise, t))}
    if section.case == "text":
        used = as_written(used, counted, keys)
    if section.sense_order == "frequency":
        used = used.order_senses(counted, keys)
    for group in used:
        for senses in group.translations.values():
            for sense in senses[section.maximum_senses :]:
                left_out.add(f"translations after the first {section.maximum_senses}", f"{group.word} → {sense}")
    used = used.limit_senses(section.maximum_senses)
    for language in (target.language for target in recipe.targets):
        if not any(language in group.translations for group in used):
            raise LexiconError(
                f"no word of the lexicon ({len(lexicon)} words) with a translation into {language!r} occurs "
                f"{section.minimum_count} times in the {source} text ({len(counts)} different words). Is it of another "
                "language, are its columns swapped, or is lexicon.minimum_count too high for so little text?"
            )
    return Made(used, reading, told_of("left out", left_out.counted()), kept_out)


def counted_targets(recipe: Recipe) -> list[str]:
    """Return the targets with a text of their own whose words must be counted for what the recipe asks."""
    section, tested = recipe.lexicon, {file.target for file in recipe.evaluate.dictionaries}
    every = section.sense_order == "frequency" or section.case == "text"
    return [t.language for t in recipe.targets if not t.is_clone and (every or t.language in tested)]


def count_targets(
    recipe: Recipe, tokenizer: Tokenizer, counted: dict[str, dict[str, int]], tokens: Path, spread: Spread
) -> dict[str, dict[str, int]]:
    """Return the words of `counted_targets`; `counted` has those that a segmenter found."""
    languages = counted_targets(recipe)
    spaced = (language for language in languages if language not in counted)
    trained = {language: load_arrow(tokens / language / "train") for language in spaced}
    more = {language: count_words(rows, tokenizer, spread=spread) for language, rows in trained.items()}
    return {language: (counted | more)[language] for language in languages}


def tested_words(
    recipe: Recipe, tests: Lexicon, counts: dict[str, int], counted: dict[str, dict[str, int]]
) -> dict[str, AskedWords]:
    """Return what is asked for of each target's test dictionary. LexiconError if that is nothing."""
    section, source, found = recipe.lexicon, recipe.source.language, {}
    for language in tests.targets:
        found[language] = asked_words(
            tests,
            language,
            counts,
            counted[language],
            floor=section.minimum_count,
            size=recipe.evaluate.candidates,
            keys=(key_of(section.normalise, source), key_of(section.normalise, language)),
        )
        if not len(found[language].pairs):
            paths = ", ".join(file.path for file in recipe.evaluate.dictionaries if file.target == language)
            raise LexiconError(
                f"{paths}: no word can be asked for: {found[language].text}. Is the dictionary from {source!r} to "
                f"{language!r}, or is lexicon.minimum_count ({section.minimum_count}) too high for so little text?"
            )
    return found


def _with_spellings(counts: dict[str, int], lexicon: Lexicon, section: LexiconSection) -> dict[str, int]:
    """Give words of the lexicon that the text spells otherwise the frequency of those spellings."""
    key = key_of(section.normalise, lexicon.source)
    if key is None:
        return counts
    spelled = keyed(counts, key)
    return counts | {g.word: spelled.get(key(g.word), 0) for g in lexicon if g.word not in counts}


def _count_not_found(
    left_out: Tallies, lexicon: Lexicon, used: Lexicon, counts: dict[str, int], minimum_count: int, source: str
) -> None:
    """Count the words that the text lacks or has too rarely, and those it has in another Unicode form."""
    kept = {group.word for group in used}
    rare = f"words that the {source} text has fewer than {minimum_count} times"
    for group in lexicon:
        if group.word not in kept:
            # Text is cut at spaces and signs, so a word with one is in none.
            single = all(kind(char) == "w" for char in group.word)
            left_out.add(
                rare if single else "phrases and words with signs: switching looks up single words", group.word
            )
    for word, number in counts.items():
        # Words are found by their tokens, and dictionaries are read as NFC.
        same = word if word.isascii() else unicodedata.normalize("NFC", word)
        if same != word and lexicon.lookup(same) is not None and lexicon.lookup(word) is None:
            left_out.add(f"words of the {source} text that the dictionaries have in another Unicode form", word, number)


def _checked(lexicon: Lexicon, file: LexiconFile, source: str, counts: dict[str, int]) -> tuple[Lexicon, str]:
    """Return what of a file's dictionary can be used, and how it was read.

    Raises LexiconError if it or its reverse goes the other way, or if the reverse leaves nothing.
    """
    assert lexicon.report is not None
    said = [lexicon.report.text, f"  {found_in_corpus(lexicon, counts, file.path)}"]
    if file.reverse is not None:
        reverse = Lexicon.read(file.reverse, source=file.target, target=source)
        assert reverse.report is not None
        found = found_in_corpus(reverse.inverted(source), counts, file.reverse, reverse=True)
        mutual = lexicon.mutual(reverse)
        if not len(mutual):
            raise LexiconError(
                f"{file.reverse}: translates no word of {file.path} back, so `reverse` leaves nothing of it; is it from "
                f"`{file.target}` to `{source}`?"
            )
        said += [f"reverse {reverse.report.text}", f"  {found}"]
        said += told_of("left out", _not_translated_back(lexicon, mutual, file.target, file.reverse))
        lexicon = mutual
    return lexicon, "\n".join(said)


def _not_translated_back(lexicon: Lexicon, mutual: Lexicon, target: str, reverse: str) -> dict[str, Tally]:
    kept = {group.word: group.translations[target] for group in mutual}
    tallies = Tallies()
    for group in lexicon:
        for sense in group.translations[target]:
            if sense not in kept.get(group.word, ()):
                tallies.add(f"translations that {reverse} does not translate back", f"{group.word} → {sense}")
    return tallies.counted()
