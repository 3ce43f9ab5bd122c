"""From the dictionaries of a recipe to the lexicon of its run.

1. Read the files of `lexicon.files` and `evaluate.dictionaries`.
2. Load the segmenters of targets written without spaces. longest_match gets the words of the dictionaries.
3. Join the clone's dictionary and the dictionaries of files. Keep words that are frequent in the source's text, remove
   words of test dictionaries (`prealign.lexicon.strict`), sort the senses and limit their number. Count everything left
   out, with examples.
4. Select the queries from the test dictionaries, with their strata.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from prealign.errors import LexiconError
from prealign.evaluation.retrieval.queries import DictionaryQueries, select_queries
from prealign.evaluation.retrieval.strata import with_strata
from prealign.lexicon import Lexicon
from prealign.lexicon.direction import found_in_corpus, in_other_form
from prealign.lexicon.normalise import Key, key_of, keyed
from prealign.lexicon.reading_report import Tallies, Tally, told_of
from prealign.lexicon.spelling import as_written
from prealign.lexicon.strict import without_tests
from prealign.recipe.measures import EvaluateSection, TestDictionary
from prealign.recipe.sections import LexiconFile, LexiconSection, Recipe, TargetText
from prealign.text.arrow import load_arrow
from prealign.text.clone import clone_language
from prealign.text.corpus import count_words
from prealign.text.segment import Segmenter, load_segmenter, target_segmenters
from prealign.text.words import Tokenizer, kind
from prealign.workers import Spread


def read_dictionaries(
    files: Sequence[LexiconFile | TestDictionary], source: str, *, keep_identical: bool = False
) -> list[Lexicon]:
    """Read dictionaries in their order. LexiconError if one cannot be read.

    source: the source language. keep_identical: keep entries with the same spelling in both languages, for test
    dictionaries.
    """
    return [
        Lexicon.read(
            f.path,
            format=f.format,
            source=source,
            target=f.target,
            turned=f.turned,
            columns=f.columns or (),
            keep_identical=keep_identical,
        )
        for f in files
    ]


def joined(dictionaries: list[Lexicon], source: str) -> Lexicon:
    """Return all dictionaries as one lexicon. Without dictionaries it is empty."""
    return reduce(Lexicon.merge, dictionaries, Lexicon([], source=source, targets=[]))


def readings_of_tests(
    files: list[TestDictionary], dictionaries: list[Lexicon], counts: dict[str, int]
) -> list[dict[str, Any]]:
    """Return path, target and reading report of each test dictionary. LexiconError if one goes from target to source.

    counts: word -> occurrences in the source's training text.
    """
    return [
        {
            "path": f.path,
            "target": f.target,
            "summary": f"{lexicon.report}\n  {found_in_corpus(lexicon, counts, f.path)}",
        }
        for f, lexicon in zip(files, dictionaries, strict=True)
    ]


def load_segmenters(targets: list[TargetText], dictionaries: list[Lexicon]) -> dict[str, Segmenter]:
    """Return the segmenters of languages without spaces. longest_match gets all translations of the dictionaries."""
    loaded = {}
    for language, name in target_segmenters(targets).items():
        groups = (group for dictionary in dictionaries for group in dictionary)
        words = (word for group in groups for word in group.translations.get(language, ()))
        loaded[language] = load_segmenter(name, language, words)
    return loaded


@dataclass(frozen=True)
class Made:
    """The lexicon of a run, with its record.

    reading: path, target and reading report of each file. left_out: one line per reason. kept_out: what left because test
    dictionaries have it, by reason (`prealign.lexicon.strict`): count and examples.
    """

    lexicon: Lexicon
    reading: list[dict[str, Any]]
    left_out: list[str]
    kept_out: dict[str, Tally]


def make_lexicon(
    section: LexiconSection,
    targets: list[TargetText],
    dictionaries: list[Lexicon],
    tokenizer: Tokenizer,
    counts: dict[str, int],
    counted: dict[str, dict[str, int]],
    tests: Lexicon,
    *,
    strict: bool,
) -> Made:
    """Join the clone's dictionary and those of `section.files`; keep words of the text that are not in `tests`.

    counts: word -> occurrences in the source's training text. counted: the same for each language of `counted_targets`.
    strict: the answers of `tests` leave too. Raises LexiconError if a target has no word left.
    """
    source = tests.source
    lexicon = Lexicon([], source=source, targets=[])
    reading, left_out = [], Tallies()
    for target in targets:
        if target.is_clone:
            frequent = {w: n for w, n in counts.items() if n >= section.minimum_count and w[0].isalpha()}
            lexicon = lexicon.merge(clone_language(tokenizer).lexicon(frequent, source=source))
    for file, dictionary in zip(section.files, dictionaries, strict=True):
        usable, summary = _checked(dictionary, file, source, counts)
        reading.append({"path": file.path, "target": file.target, "summary": summary})
        lexicon = lexicon.merge(usable)
    in_text = lexicon.with_counts(_with_spellings(counts, lexicon, section), section.minimum_count)
    _count_not_found(left_out, lexicon, in_text, counts, section.minimum_count, source)
    kept_out = Tallies()
    used = without_tests(in_text, tests, keys_of(section, tests), kept_out, answers=strict)
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
    for language in (target.language for target in targets):
        if not _translates(used, language):
            if tests.targets and _translates(in_text, language):
                raise LexiconError(
                    f"the test dictionaries (evaluate.dictionaries) leave no word with a translation into {language!r}: "
                    "all of them, or all their translations, are tested. Add a larger dictionary to lexicon.files, or "
                    "test fewer words."
                )
            raise LexiconError(
                f"no word of the lexicon ({len(lexicon)} words) with a translation into {language!r} occurs "
                f"{section.minimum_count} times in the {source} text ({len(counts)} different words). Is it of another "
                "language, are its columns swapped, or is lexicon.minimum_count too high for so little text?"
            )
    return Made(used, reading, told_of("left out", left_out.counted()), kept_out.counted())


def _translates(lexicon: Lexicon, language: str) -> bool:
    return any(language in group.translations for group in lexicon)


def counted_targets(recipe: Recipe) -> list[str]:
    """Return the targets whose words must be counted.

    These are targets with a test dictionary, or all targets with text if sense order or case depends on counts.
    """
    section, tested = recipe.lexicon, {file.target for file in recipe.evaluate.dictionaries}
    every = section.sense_order == "frequency" or section.case == "text"
    return [t.language for t in recipe.targets if not t.is_clone and (every or t.language in tested)]


def count_targets(
    languages: list[str], tokenizer: Tokenizer, segmented: dict[str, dict[str, int]], tokens: Path, spread: Spread
) -> dict[str, dict[str, int]]:
    """Return the word counts of each language's training text.

    segmented: word counts of languages with a segmenter. tokens: folder with the tokens of the other languages.
    """
    spaced = (language for language in languages if language not in segmented)
    trained = {language: load_arrow(tokens / language / "train") for language in spaced}
    more = {language: count_words(rows, tokenizer, spread=spread) for language, rows in trained.items()}
    return {language: (segmented | more)[language] for language in languages}


def keys_of(section: LexiconSection, lexicon: Lexicon) -> dict[str, Key | None]:
    """Return by language how the recipe compares words (`normalise.key_of`)."""
    return {language: key_of(section.normalise, language) for language in (lexicon.source, *lexicon.targets)}


def tested_words(
    section: LexiconSection,
    evaluate: EvaluateSection,
    tests: Lexicon,
    trained: Lexicon,
    counts: dict[str, int],
    counted: dict[str, dict[str, int]],
) -> dict[str, DictionaryQueries]:
    """Return queries, with their strata, and candidates for each target's test dictionary.

    trained: the lexicon of the run. LexiconError if a dictionary gives no query.
    """
    keys, queries = keys_of(section, tests), {}
    for language in tests.targets:
        selected = select_queries(
            tests,
            language,
            counts,
            counted[language],
            floor=section.minimum_count,
            size=evaluate.candidates,
            keys=(keys[tests.source], keys[language]),
        )
        if not len(selected.pairs):
            paths = ", ".join(file.path for file in evaluate.dictionaries if file.target == language)
            raise LexiconError(
                f"{paths}: no word can be tested: {selected.summary}. Is the dictionary from {tests.source!r} to "
                f"{language!r}, or is lexicon.minimum_count ({section.minimum_count}) too high for so little text?"
            )
        queries[language] = with_strata(selected, trained, keys)
    return queries


def _with_spellings(counts: dict[str, int], lexicon: Lexicon, section: LexiconSection) -> dict[str, int]:
    """Return `counts` plus, for lexicon words that the text spells differently, the count of all their spellings."""
    key = key_of(section.normalise, lexicon.source)
    if key is None:
        return counts
    spelled = keyed(counts, key)
    return counts | {g.word: spelled.get(key(g.word), 0) for g in lexicon if g.word not in counts}


def _count_not_found(
    left_out: Tallies, lexicon: Lexicon, used: Lexicon, counts: dict[str, int], minimum_count: int, source: str
) -> None:
    """Count words that are missing or too rare in the text, and words that the text has in another Unicode form."""
    kept = {group.word for group in used}
    rare = f"words that the {source} text has fewer than {minimum_count} times"
    for group in lexicon:
        if group.word not in kept:
            # Text is cut at spaces and signs, so a word of the text contains neither.
            single = all(kind(char) == "w" for char in group.word)
            left_out.add(
                rare if single else "phrases and words with signs: switching looks up single words", group.word
            )
    for word, number in in_other_form(lexicon, counts).items():
        left_out.add(f"words of the {source} text that the dictionaries have in another Unicode form", word, number)


def _checked(lexicon: Lexicon, file: LexiconFile, source: str, counts: dict[str, int]) -> tuple[Lexicon, str]:
    """Return the usable part of a file's dictionary, and its reading report.

    Raises LexiconError if the file or its reverse has the opposite direction, or if the reverse leaves no word.
    """
    assert lexicon.report is not None
    lines = [lexicon.report.text, f"  {found_in_corpus(lexicon, counts, file.path)}"]
    if file.reverse is not None:
        reverse = Lexicon.read(file.reverse, source=file.target, target=source)
        assert reverse.report is not None
        in_corpus = found_in_corpus(reverse.inverted(source), counts, file.reverse, reverse=True)
        mutual = lexicon.mutual(reverse)
        if not len(mutual):
            raise LexiconError(
                f"{file.reverse}: translates no word of {file.path} back, so `reverse` leaves nothing of it; is it from "
                f"`{file.target}` to `{source}`?"
            )
        lines += [f"reverse {reverse.report.text}", f"  {in_corpus}"]
        lines += told_of("left out", _not_translated_back(lexicon, mutual, file.target, file.reverse))
        lexicon = mutual
    return lexicon, "\n".join(lines)


def _not_translated_back(lexicon: Lexicon, mutual: Lexicon, target: str, reverse: str) -> dict[str, Tally]:
    kept = {group.word: group.translations[target] for group in mutual}
    tallies = Tallies()
    for group in lexicon:
        for sense in group.translations[target]:
            if sense not in kept.get(group.word, ()):
                tallies.add(f"translations that {reverse} does not translate back", f"{group.word} → {sense}")
    return tallies.counted()
