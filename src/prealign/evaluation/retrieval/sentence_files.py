"""Files of parallel sentences: one sentence a line, line i is the same sentence in every language.

1. Every file is UTF-8 text with as many lines as the source's file. An empty line is an error: rows would not be pairs.
2. Read the first `limit` lines.
3. For each target, leave out and count a line that repeats an earlier sentence of that language or of the source: the copy
   is a correct candidate that would count as wrong. Tatoeba has many, FLORES-200 none.
"""

from __future__ import annotations

from dataclasses import dataclass

from prealign.errors import DataError
from prealign.files import plain_bytes
from prealign.recipe.measures import SentenceSet


@dataclass(frozen=True)
class SentencePairs:
    """N sentences of the source and their translations into `language`; `repeated` lines were left out."""

    language: str
    sources: list[str]
    targets: list[str]
    repeated: int


def read_sentences(section: SentenceSet, source: str) -> dict[str, SentencePairs]:
    """Read a set; return the pairs of `source` with every language of the set, including the source.

    Raises DataError for a file that is missing, not UTF-8, of a different length, or that has an empty line.
    """
    files = {language: _lines(path) for language, path in section.files.items()}
    lines = files[source]
    for language, sentences in files.items():
        if len(sentences) != len(lines):
            raise DataError(
                f"{section.files[language]}: {len(sentences):,} lines, and {section.files[source]} has {len(lines):,}. "
                "Line i of every file of evaluate.sentences has to be the same sentence."
            )
    kept = section.limit or len(lines)
    return {language: _without_repeats(language, lines[:kept], texts[:kept]) for language, texts in files.items()}


def _without_repeats(language: str, sources: list[str], targets: list[str]) -> SentencePairs:
    seen: tuple[set[str], set[str]] = (set(), set())
    pairs = []
    for pair in zip(sources, targets, strict=True):
        if not any(text in known for text, known in zip(pair, seen, strict=True)):
            pairs.append(pair)
        for text, known in zip(pair, seen, strict=True):
            known.add(text)
    return SentencePairs(language, [s for s, _ in pairs], [t for _, t in pairs], len(sources) - len(pairs))


def _lines(path: str) -> list[str]:
    try:
        text = plain_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. It is a file of evaluate.sentences.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8 text. Convert the file first, as with "
            "`iconv -f ENCODING -t utf-8`."
        ) from None
    # Not splitlines: Unicode's line separators occur within sentences.
    lines = [line.strip() for line in text.removesuffix("\n").split("\n")]
    for number, line in enumerate(lines, start=1):
        if not line:
            raise DataError(f"{path}:{number}: an empty line. Remove line {number} from every file of the set.")
    return lines
