"""Bilingual files in XML: translation memories (TMX) and Apertium's dictionaries (.dix).

tmx   <tu><tuv xml:lang="en"><seg>ladder</seg></tuv><tuv xml:lang="de"><seg>Leiter</seg></tuv></tu>
dix   <e><p><l>ladder<s n="n"/></l><r>Leiter<s n="n"/></r></p></e>

1. The file is parsed as a stream; each unit becomes a record of JSON, [[language or side, text], …], and is forgotten.
2. TMX: the segments of the source's language are words, those of the target's their translations.
3. Apertium: `<i>` is the same on both sides, `<b/>` a space; entries of one direction (`r="LR"`) are read in that one only.
   The direction is that of the file's name (apertium-eng-deu.eng-deu.dix).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from prealign.errors import LexiconError
from prealign.files import UNREADABLE, opened, unreadable
from prealign.languages import same
from prealign.lexicon.formats.entry import Entry, named_inverted
from prealign.lexicon.reading_report import OTHER_LANGUAGES, Account
from prealign.strict_json import json_value

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_UNITS = ("tu", "e")
_CODES = ("bpt", "ept", "ph", "it", "ut")
_DIX_NAME = re.compile(r"(?:^|[^a-z])([a-z]{2,3})-([a-z]{2,3})\.(?:dix|metadix)(?:\.(?:xml|gz))*$")
ROOTS = {"tmx": "tmx", "dictionary": "dix"}
"""Root element -> format."""


def units(path: Path) -> Iterator[bytes]:
    """Yield the units of a file as JSON; LexiconError if it cannot be read or is not well-formed."""
    try:
        with opened(path) as file:
            parents: list[ElementTree.Element] = []
            for event, element in ElementTree.iterparse(file, events=("start", "end")):
                if event == "start":
                    parents.append(element)
                    continue
                parents.pop()
                if element.tag in _UNITS:
                    yield json.dumps(_sides(element)).encode()
                    if parents:
                        parents[-1].remove(element)
    except ElementTree.ParseError as error:
        raise LexiconError(f"{path}:{error.position[0]}: not well-formed XML ({error}); repair the file") from None
    except (*UNREADABLE, ValueError) as error:
        raise unreadable(path, error) from error


def _sides(unit: ElementTree.Element) -> list[tuple[str, str]]:
    if unit.tag == "tu":
        variants = [(tuv.get(_LANGUAGE) or tuv.get("lang") or "", tuv.find("seg")) for tuv in unit.iter("tuv")]
        return [(language, _text(seg)) for language, seg in variants if seg is not None]
    only = unit.get("r", "")
    if unit.find("re") is not None:
        return [(f"l{only}", ""), (f"r{only}", "")]
    found: dict[str, str] = {"l": "", "r": ""}
    for part in unit:
        for side in found:
            sources = [part] if part.tag == "i" else part.findall(side)
            found[side] += "".join(map(_text, sources))
    return [(side + only, text.strip()) for side, text in found.items()]


def _text(element: ElementTree.Element) -> str:
    """Return an element's text without the codes of TMX; blanks of Apertium are spaces."""
    if element.tag in _CODES:
        return ""
    inner = (_text(part) + (part.tail or "") for part in element)
    return " " if element.tag == "b" else "".join((element.text or "", *inner))


def segments(unit: str, source: str, target: str) -> tuple[list[str], list[str]]:
    """Return the segments of two languages in a translation unit, which is a record of `units`."""
    sides: list[tuple[str, str]] = json_value(unit)
    one, other = ([text for language, text in sides if same(language, tag)] for tag in (source, target))
    return one, other


def tmx(line: str, account: Account) -> list[Entry]:
    """A translation unit; ValueError if a segment of one of the two languages is blank."""
    source, target = segments(line, account.source, account.target)
    if not source or not target:
        account.drop(OTHER_LANGUAGES, *(f"{language}: {text}" for language, text in json_value(line)))
        return []
    if not all(text.strip() for text in source + target):
        raise ValueError("a segment is empty")
    return [(source, target, 0)]


def dix(line: str, account: Account) -> list[Entry]:
    """An entry of Apertium; those without text are patterns and are counted."""
    (left, one), (_, other) = json_value(line)
    if not one or not other:
        account.drop("entries without text (patterns and paradigms)", line)
        return []
    if left[1:] == ("LR" if account.inverted else "RL"):
        account.drop("entries of the other direction only", one, other)
        return []
    return [([one], [other], 0)]


def dix_inverted(account: Account) -> bool:
    """Whether the file's name says that it goes from target to source; LexiconError if it names other languages."""
    return named_inverted(account, _DIX_NAME.search(account.path.name))
