"""Translations inside definitions, as dictd and StarDict keep them: a headword, and lines of text.

1. The first line is left out if it repeats the headword, as in `house /haʊs/ <n>`; its capitals and hyphens count.
2. Each other line holds the translations of a sense, perhaps numbered, between commas and semicolons. Lines of notes,
   examples, synonyms and references are left out.
3. A full stop inside a line ends the translations, if the headword is repeated after it: `plus. plus fours golf pantolonu`.
4. Files made from WikDict have translations in the first line of a sense only. The lines below define the sense in the
   headword's language; they are left out and counted. A number at the end of a line numbers the next definition:

       successor //səkˈsɛsə(ɹ)// <n>
       1. 相続人
       next heir in order or succession
       2. 後任, 後継者 2.
       person or thing that immediately follows another
        3.
       person who inherits a title or office
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from prealign.lexicon.formats.entry import ALTERNATIVES, Entry, split_outside
from prealign.lexicon.reading_report import Account

_NOT_TRANSLATIONS = re.compile(r'(?:Synonyms?|Antonyms?|Note|Example|[Ss]ee(?: also)?|Usage)\s*:|["“*]')
_PRONOUNCED = re.compile(r"\S\s+/[^/]+/(?=\s|$)")
_AFTER_HEADWORD = re.compile(r"\s+(?=[/<\[({])")
_ENUMERATOR = re.compile(r"(?:(?:\d{1,2}[.)]|[a-z]\)|[a-e]\.|[IVX]+\.)(?:\s+|$))+")
_NUMBERED = re.compile(r"(\d{1,2})\.(?:\s+(.+)|$)")
_NEXT_NUMBER = re.compile(r"(?:^|\s+)\d{1,2}\.$")
_FULL_STOP = re.compile(r"(?:(?<=[^\W\d_]{4})|\s)\.\s+")
_STEM = 4
"""Letters of a headword that its derived forms share."""


def translations(head: str, definition: str, account: Account, *, wikdict: bool) -> list[Entry]:
    """Return the entry of a headword and its definition, as described above; none, and counted, without a translation."""
    first, *rest = (line.strip() for line in definition.strip("\n").split("\n"))
    if _PRONOUNCED.search(first) or _letters(first).startswith(_letters(head)):
        # The index has lost capitals and hyphens; the definition repeats the headword with them.
        spelled = _AFTER_HEADWORD.split(first, maxsplit=1)[0]
        head = spelled if _letters(spelled) == _letters(head) else head
    else:
        rest = [first, *rest]
    found: list[str] = []
    for line in _first_lines(head, rest, account) if wikdict else _other_lines(head, rest, account):
        found += (part for part in split_outside(line, ALTERNATIVES) if part.strip(" ….,"))
    if not found:
        account.drop("entries without a translation", head)
        return []
    return [([head], found, 0)]


def _other_lines(head: str, lines: Sequence[str], account: Account) -> Iterator[str]:
    """Yield the lines that hold translations, without their numbers and without what follows a full stop."""
    stem = head[:_STEM].casefold()
    for line in lines:
        if _NOT_TRANSLATIONS.match(line):
            continue
        line = line[found.end() :] if (found := _ENUMERATOR.match(line)) else line
        for stop in _FULL_STOP.finditer(line):
            if line[stop.end() :].casefold().startswith(stem):
                account.drop("examples and derived words after a full stop", head, line[stop.end() :])
                line = line[: stop.start()]
                break
        yield line


def _first_lines(head: str, lines: Sequence[str], account: Account) -> Iterator[str]:
    """Yield the first line of each sense of an entry of WikDict, without numbers; count the definitions below it."""
    digits = any(map(str.isdigit, head))  # `1ère classe` is `1. Klasse`, and `10e` is `10.`
    numbered = bool(lines) and _NUMBERED.match(lines[0]) is not None and not digits
    senses, numbers_next, expected = 0, False, {1}
    for line in lines:
        found = _NUMBERED.match(line)
        if not senses or (numbered and found and found[2] and int(found[1]) in expected and not numbers_next):
            senses += 1
            text = (found[2] or "") if found and numbered else line
            expected = {int(found[1]) + 1 if found else 2}
            bare = _NEXT_NUMBER.sub("", text)
            numbers_next = bare != text
            yield bare or (text if digits else "")
        elif found and not found[2]:
            # The next definition of this sense, or a sense without translations.
            expected |= {int(found[1]) + 1} & {max(expected) + 1}
            numbers_next = True
        elif line:
            account.drop("definitions below the translations", head, line)
            numbers_next = False


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()
