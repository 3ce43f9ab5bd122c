"""Parallel sentences: files of one sentence a line, line i the same in every language.

1. Every file is UTF-8 text with as many lines as the source's; an empty line is an error, as rows would no longer be pairs.
2. The first `limit` lines are taken.
3. For each target, a line whose sentence repeats an earlier one of that language or of the source is left out and counted:
   its copy would be a right answer that counts as wrong. Tatoeba has many, FLORES-200 none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prealign.errors import DataError
from prealign.recipe.measures import SentenceSet


@dataclass(frozen=True)
class SentencePairs:
    """N sentences of the source and of `language`, row by row; `repeated` lines were left out."""

    language: str
    sources: list[str]
    targets: list[str]
    repeated: int


def read_sentences(section: SentenceSet, source: str) -> dict[str, SentencePairs]:
    """Read a set; return the pairs of every language in it with `source`, the source with itself.

    DataError for a file that is missing, not UTF-8, of another length, or has an empty line.
    """
    files = {language: _lines(path) for language, path in section.files.items()}
    lines = files[source]
    for language, own in files.items():
        if len(own) != len(lines):
            raise DataError(
                f"{section.files[language]}: {len(own):,} lines, and {section.files[source]} has {len(lines):,}. "
                "Line i of every file of evaluate.sentences has to be the same sentence."
            )
    kept = section.limit or len(lines)
    return {language: _different(language, lines[:kept], own[:kept]) for language, own in files.items()}


def _different(language: str, sources: list[str], targets: list[str]) -> SentencePairs:
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
        text = Path(path).read_bytes().decode("utf-8-sig")
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
