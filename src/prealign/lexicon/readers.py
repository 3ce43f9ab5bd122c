"""Dictionary files: bytes in; words, their translations and an account of every line out.

1. Read the file and cut it at line feeds. Each line is decoded by itself, so that a bad byte costs one line.
2. Recognise the format, unless it is named: the format that reads most of the first 1,000 lines.
3. Parse each line, by one small function a format, into a list: the source word, then its translations.
   A line that cannot be parsed is kept with its number and the reason; more than 1 % of them is an error.
4. Normalise the words (NFC, no blanks around them), so that equal words are equal strings.
5. Gather the translations of a word in file order. A translation equal to its word (names, foreign words;
   half of MUSE) teaches nothing and is dropped, a repeated pair is kept once; both are counted.

Formats (`jsonl`, the lexicon's own, is parsed in `prealign.lexicon.groups`):

    muse           house Haus                                 one space or tab between two words
    tsv            free of charge<TAB>umsonst                 two columns, which may hold phrases
    paper_pairs    {"src_text": "bank", "tgt_text": "银行"}
    paper_words    {"words": "bank $ 银行 $ 水岸"}              source word, then translations
    paper_indexed  {"words": "bank $ 银行 $ 水岸", "index": 0}  the same; `index` numbers the paper's groups

The paper's files name no languages: as in its code the first word is the source, and all others are taken to
be of the one target language. Groups are made on the source word here, so `index` must be an integer but has
no other use.
"""

from __future__ import annotations

import difflib
import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from prealign.errors import LexiconError

OWN_FORMAT = "jsonl"
OWN_KEY = "prealign_lexicon"
OWN_VERSION = 1
MAXIMUM_MALFORMED = 0.01
NAMED_LINES = 5
SAMPLED_LINES = 1000

Item = TypeVar("Item")
LineParser = Callable[[str], list[str]]


@dataclass(frozen=True)
class MalformedLine:
    """A line that was skipped; `line` counts from 1."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


@dataclass(frozen=True)
class ReadReport:
    """What became of a file. An entry is one (word, translation) pair; a well-formed line holds one or more.

    entries = kept + identical + duplicates + other_targets. `identical` entries translate a word by itself;
    `other_targets` are the entries of a lexicon file in languages that were not asked for.
    """

    path: str
    format: str
    lines: int
    empty: int
    malformed: tuple[MalformedLine, ...]
    entries: int
    kept: int
    identical: int = 0
    duplicates: int = 0
    other_targets: int = 0

    def __str__(self) -> str:
        counted = {
            "empty lines": self.empty,
            "malformed lines": len(self.malformed),
            "entries identical on both sides": self.identical,
            "duplicate entries": self.duplicates,
            "entries of other languages": self.other_targets,
        }
        dropped = ", ".join(f"{number:,} {what}" for what, number in counted.items() if number) or "nothing"
        read = f"{self.path} ({self.format}): {self.lines:,} lines, {self.kept:,} entries kept"
        return f"{read}; dropped: {dropped}"


@dataclass(frozen=True)
class Parsed(Generic[Item]):
    """The parsed lines of a file, in order, and the lines that are not among them."""

    items: list[Item]
    lines: int
    empty: int
    malformed: tuple[MalformedLine, ...]


def read_lines(path: Path) -> list[bytes]:
    """Return the lines of a file, undecoded; LexiconError if it is missing, unreadable or blank."""
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror
        raise LexiconError(f"{path}: cannot read the dictionary ({reason}); check the path") from error
    if not data.removeprefix(b"\xef\xbb\xbf").strip():
        raise LexiconError(f"{path}: the dictionary is empty; give a file with at least one entry")
    return data.removesuffix(b"\n").split(b"\n")


def parse_lines(path: Path, lines: Iterable[bytes], parse: Callable[[str], Item], *, first: int = 1) -> Parsed[Item]:
    """Parse every line that is not blank; `parse` raises ValueError(reason) for a malformed one.

    `first` is the number of the first line. LexiconError if more than 1 % of the lines are malformed.
    """
    items: list[Item] = []
    malformed: list[MalformedLine] = []
    empty = 0
    number = first - 1
    for number, raw in enumerate(lines, start=first):
        try:
            # Not only on line 1: files joined by `cat` keep their byte order marks.
            text = raw.decode().removeprefix("\ufeff").strip()
            if text:
                items.append(parse(text))
            else:
                empty += 1
        except UnicodeDecodeError as error:
            reason = f"not UTF-8 at byte {error.start} of the line (counted from 0)"
            malformed.append(MalformedLine(str(path), number, reason))
        except ValueError as error:
            malformed.append(MalformedLine(str(path), number, str(error)))
    _refuse_many(path, malformed, len(items) + len(malformed))
    return Parsed(items, number - first + 1, empty, tuple(malformed))


def _refuse_many(path: Path, malformed: Sequence[MalformedLine], lines: int) -> None:
    if len(malformed) <= MAXIMUM_MALFORMED * lines:
        return
    named = "".join(f"\n  {line}" for line in malformed[:NAMED_LINES])
    raise LexiconError(
        f"{path}: {len(malformed):,} of {lines:,} lines are malformed, more than {MAXIMUM_MALFORMED:.0%}; "
        f"repair the file, or name its `format` if this is another one. The first of them:{named}"
    )


def muse(line: str) -> list[str]:
    """Source and target word, separated by one space or tab."""
    return _pair(line, line.replace("\t", " ").split(" "), "two words separated by one space or tab")


def tsv(line: str) -> list[str]:
    """Source and target word or phrase, in two columns separated by a tab."""
    return _pair(line, line.split("\t"), "two columns separated by a tab")


def paper_pairs(line: str) -> list[str]:
    """A JSON object with the texts `src_text` and `tgt_text`."""
    record = json_object(line)
    return [_text_of(record, "src_text"), _text_of(record, "tgt_text")]


def paper_words(line: str) -> list[str]:
    """A JSON object whose text `words` joins a source word and its translations by " $ "."""
    words = _text_of(json_object(line), "words")
    forms = words.split(" $ ")
    if len(forms) < 2:
        raise ValueError(f"key `words` has no translation, expected `source $ target`: {_shown(words)}")
    return forms


def paper_indexed(line: str) -> list[str]:
    """As `paper_words`, with the integer `index` beside it."""
    if type(json_object(line).get("index")) is not int:
        raise ValueError("key `index` is missing or not an integer")
    return paper_words(line)


# Where two formats read equally many lines the earlier one is recognised: phrases may come later in a file.
TEXT_FORMATS: dict[str, LineParser] = {"tsv": tsv, "muse": muse}
JSON_FORMATS: dict[str, LineParser] = {
    "paper_pairs": paper_pairs,
    "paper_indexed": paper_indexed,
    "paper_words": paper_words,
}
LINE_FORMATS: dict[str, LineParser] = {**TEXT_FORMATS, **JSON_FORMATS}
FORMATS: tuple[str, ...] = (*LINE_FORMATS, OWN_FORMAT)


def resolve_format(path: Path, lines: Sequence[bytes], format: str | None) -> str:
    """Check the name of a format, or recognise it from the lines; LexiconError if that fails."""
    if format is None:
        return _recognise(path, lines)
    if format not in FORMATS:
        close = difflib.get_close_matches(format, FORMATS, n=1)
        meant = f"; did you mean `{close[0]}`?" if close else ""
        raise LexiconError(f"{path}: unknown dictionary format `{format}`{meant} (there are: {', '.join(FORMATS)})")
    return format


def _recognise(path: Path, lines: Sequence[bytes]) -> str:
    decoded = (raw.decode(errors="replace").removeprefix("\ufeff").strip() for raw in lines)
    sample = list(islice(filter(None, decoded), SAMPLED_LINES))
    is_json = bool(sample) and sample[0].startswith("{")
    if is_json and f'"{OWN_KEY}"' in sample[0]:
        return OWN_FORMAT
    candidates = JSON_FORMATS if is_json else TEXT_FORMATS
    readable = {name: sum(_reads(parse, line) for line in sample) for name, parse in candidates.items()}
    best = max(readable, key=lambda name: readable[name])
    if not readable[best]:
        raise LexiconError(
            f"{path}: the dictionary's format is not recognised from its content, which begins with "
            f"{_shown(next(iter(sample), ''))}; name its `format` (there are: {', '.join(FORMATS)})"
        )
    return best


def _reads(parse: LineParser, line: str) -> bool:
    try:
        parse(line)
    except ValueError:
        return False
    return True


def read_pairs(path: Path, lines: Sequence[bytes], format: str) -> tuple[dict[str, list[str]], ReadReport]:
    """Gather the translations of each word, in file order, from a file of one of `LINE_FORMATS`.

    LexiconError if more than 1 % of the lines are malformed, or if no entry is left.
    """
    parse = LINE_FORMATS[format]
    parsed = parse_lines(path, lines, lambda line: _normalised(parse(line)))
    gathered: dict[str, dict[str, None]] = {}
    entries = identical = duplicates = 0
    for word, *translations in parsed.items:
        for translation in translations:
            entries += 1
            if translation == word:
                identical += 1
                continue
            senses = gathered.setdefault(word, {})
            duplicates += translation in senses
            senses[translation] = None
    report = ReadReport(
        path=str(path),
        format=format,
        lines=parsed.lines,
        empty=parsed.empty,
        malformed=parsed.malformed,
        entries=entries,
        kept=entries - identical - duplicates,
        identical=identical,
        duplicates=duplicates,
    )
    if not gathered:
        raise LexiconError(
            f"{path}: no entry of the dictionary is of use; all {identical:,} are identical on both sides"
        )
    return {word: list(senses) for word, senses in gathered.items()}, report


def read_header(path: Path, raw: bytes) -> tuple[str, tuple[str, ...]]:
    """Return source and targets from the first line of a lexicon file; LexiconError if it has none."""
    try:
        header = json_object(raw.decode().removeprefix("\ufeff"))
        if header.get(OWN_KEY) != OWN_VERSION:
            raise ValueError(f"`{OWN_KEY}` is {header.get(OWN_KEY)!r}, not {OWN_VERSION}")
        source = check_text(header.get("source"), "`source`")
        return source, check_texts(header.get("targets"), "`targets`")
    except ValueError as error:
        raise LexiconError(
            f"{path}:1: not the header of a lexicon file ({error}); it is to read like "
            f'{{"{OWN_KEY}": {OWN_VERSION}, "source": "en", "targets": ["de"]}}'
        ) from None


def json_object(line: str) -> dict[str, Any]:
    """Parse a line that must be one JSON object; ValueError(reason) if it is not."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"not valid JSON: {_shown(line)}") from None
    if not isinstance(record, dict):
        raise ValueError(f"not a JSON object: {_shown(line)}")
    return record


def check_text(value: object, what: str) -> str:
    """Return `value` if it is text that can be written as UTF-8; ValueError(reason) if it is not."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} is missing, empty or not text")
    try:
        # JSON can spell half a surrogate pair ("\\ud800"), which no UTF-8 file can hold.
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half a surrogate pair: {value!a}") from None
    return value


def check_texts(value: object, what: str) -> tuple[str, ...]:
    """Return a list of texts as a tuple; ValueError(reason) if `value` is anything else."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is missing or not a list")
    return tuple(check_text(item, f"an item of {what}") for item in value)


def _text_of(record: dict[str, Any], key: str) -> str:
    return check_text(record.get(key), f"key `{key}`")


def _pair(line: str, fields: list[str], expected: str) -> list[str]:
    if len(fields) != 2:
        raise ValueError(f"expected {expected}, found {len(fields)} field(s): {_shown(line)}")
    return fields


def _normalised(words: list[str]) -> list[str]:
    normalised = [unicodedata.normalize("NFC", word).strip() for word in words]
    if not all(normalised):
        raise ValueError(f"a word is empty: {_shown(' | '.join(words))}")
    return normalised


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
