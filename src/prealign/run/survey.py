"""A survey of a user's text and dictionaries, before there is a recipe: sizes, coverage, and faults.

1. Read all text once: count documents, lines, bytes and words of each language.
2. Read the dictionaries; count the words of the source text that they translate, and the translations that the target
   text has.
3. Compare the two texts: which lines of the target text are in the source language, and which stand in both texts.

Tokens are estimated from bytes: there is no tokenizer yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prealign.errors import LexiconError
from prealign.languages import UNSPACED_LANGUAGES, base
from prealign.lexicon import Lexicon
from prealign.lexicon.case import lower
from prealign.lexicon.direction import found_in_corpus
from prealign.text.corpus import read_documents
from prealign.text.sentence import word_cutter
from prealign.text.sources import Tell

BYTES_A_TOKEN = 3.5
"""Of a byte-level BPE with 4,000 tokens, measured on English and Czech text."""
COMPARED_LINES = 100_000
"""Lines of each language that are compared with the other language."""
SHORT_LINE = 4
"""Words of the shortest line whose language can be told."""
MINIMUM_COUNT = 5
"""Frequency from which a word can be aligned: the default of `lexicon.minimum_count`."""


@dataclass(frozen=True)
class TextSurvey:
    """The text of one language. words: word -> frequency; empty for a language without spaces."""

    language: str
    sources: tuple[str, ...]
    files: int
    lines: int
    size: int
    words: Counter[str]
    compared: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """The estimated number of tokens."""
        return round(self.size / BYTES_A_TOKEN)

    @property
    def documents(self) -> str:
        """What a document is: a file if there are enough files to hold some out, else a line."""
        return "file" if self.files >= 200 or self.lines <= self.files else "line"

    @property
    def number(self) -> int:
        """The number of documents."""
        return self.files if self.documents == "file" else self.lines


@dataclass(frozen=True)
class LexiconSurvey:
    """The dictionaries. words: source words with a translation. usable: those that the text has often enough.

    coverage: share of the running words of the source text. long: share of usable words whose first translation has more
    than three words. other_case: whether the target text writes translations in another case than the dictionaries.
    """

    paths: tuple[str, ...]
    words: int
    usable: int
    coverage: float
    long: float
    other_case: bool


@dataclass(frozen=True)
class Mixed:
    """Target text that looks like the source language. share: of the compared words. repeated: share of its lines."""

    share: float
    repeated: float
    example: str


def survey_text(sources: Sequence[str], language: str, tell: Tell) -> TextSurvey:
    """Read all text of a language. Raises CorpusError for text that cannot be read."""
    spaced = base(language) not in UNSPACED_LANGUAGES
    cut = word_cutter(language) if spaced else None
    files = lines = size = 0
    words: Counter[str] = Counter()
    compared: list[str] = []
    for _, document in read_documents(sources, tell=tell):
        files += 1
        size += len(document.encode())
        for line in document.splitlines():
            if line := line.strip():
                lines += 1
                if cut:
                    words.update(cut(line))
                if len(compared) < COMPARED_LINES:
                    compared.append(line)
    return TextSurvey(language, tuple(sources), files, lines, size, words, tuple(compared))


def survey_lexicon(paths: Sequence[Path], source: TextSurvey, target: TextSurvey) -> LexiconSurvey:
    """Read the dictionaries from source to target. Raises LexiconError if one cannot be read or goes the wrong way."""
    lexicon = Lexicon([], source=source.language, targets=[target.language])
    for path in paths:
        read = Lexicon.read(path, source=source.language, target=target.language)
        found_in_corpus(read, source.words, path)
        lexicon = lexicon.merge(read)
    usable = lexicon.with_counts(source.words, MINIMUM_COUNT)
    if not len(usable):
        raise LexiconError(
            f"{', '.join(map(str, paths))}: no word of the dictionary is {MINIMUM_COUNT} times in the "
            f"{source.language} text. Check the languages, or use another dictionary or other text."
        )
    first = [group.translations[target.language][0] for group in usable]
    written = target.words.keys()
    in_any_case = {lower(word, target.language) for word in written}
    exact = sum(word in written for word in first)
    folded = sum(lower(word, target.language) in in_any_case for word in first)
    return LexiconSurvey(
        paths=tuple(map(str, paths)),
        words=len(lexicon),
        usable=len(usable),
        coverage=lexicon.coverage(source.words)[target.language],
        long=sum(len(word.split()) > 3 for word in first) / len(first),
        other_case=exact < 0.9 * folded,
    )


def mixed(source: TextSurvey, target: TextSurvey) -> Mixed:
    """Find target text in the source language.

    A word speaks for the source language if it is more than a third as frequent in the source text as in the target text. A
    line is in the source language if more than half of its words speak for it.
    """
    repeated = len(set(target.compared) & set(source.compared)) / max(1, len(set(target.compared)))
    if not target.words or not source.words:
        return Mixed(0.0, repeated, "")
    scale = target.words.total() / source.words.total()
    cut = word_cutter(target.language)
    total, foreign = 0, []
    for line in target.compared:
        words = cut(line)
        total += len(words)
        speaking = sum(3 * source.words[word] * scale > target.words[word] for word in words)
        if len(words) >= SHORT_LINE and 2 * speaking > len(words):
            foreign.append((line, len(words)))
    share = sum(number for _, number in foreign) / max(1, total)
    example, _ = max(foreign[:100], key=lambda found: found[1], default=("", 0))
    return Mixed(share, repeated, example)
