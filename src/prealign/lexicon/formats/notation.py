"""Dictionaries in a notation of their own: Ding, CC-CEDICT and EDICT.

    ding     Haus {n}; Heim {n} | Häuser {pl} :: house; home | houses
    cedict   房子 房子 [fang2 zi5] /house/building (single- or two-story)/CL:棟|栋[dong4]/
             馬 马 [ma3] {maa5} /horse/                         CC-Canto
    edict    梯子(P);梯 [はしご(P)] /(n) ladder/(P)/EntL1432560X/

All are read in either direction. Lines that begin with # are comments.
"""

from __future__ import annotations

import re

from prealign.languages import TRADITIONAL, base
from prealign.lexicon.formats.entry import MOST_ALTERNATIVES, Entry, split_outside
from prealign.lexicon.reading_report import Account
from prealign.strict_json import shown

_FORMS, _SYNONYMS = re.compile(r"\|"), re.compile(";")
_ABBREVIATION = re.compile(r"(?<=\s)/[^/\s]{1,20}/")
_CEDICT = re.compile(r"(\S+) (\S+) \[{1,2}[^\[\]]*\]{1,2} (?:\{[^{}]*\} )?/(.+)/(?:\s*#.*)?")
_EDICT = re.compile(r"(\S+)(?: \[[^\[\]]*\])? /(.+)/")
_EDICT_MARKS = re.compile(r"\(P\)|EntL\w+")
_CHINESE = frozenset({"zh", "yue", "wuu", "nan", "hak", "gan", "hsn", "lzh"})
_WRITTEN_TRADITIONALLY = frozenset({"yue", "nan", "hak"})
_REFERENCE = re.compile(
    r"(?:\((?:old|dialect|coll\.)\) )?(?:(?:old |archaic |Japanese |erhua |ancient )?variant of |see (?:also )?[^\x00-\x7f]"
    r"|CL:|abbr\. (?:for|of) |also written |also pr\.|Taiwan pr\.|same as |used in [^\x00-\x7f]|surname )"
)


def ding(line: str, account: Account) -> list[Entry] | None:
    """Frank Richter's list: `left :: right`; either side is cut at | into forms, and a form at ; into alternatives.

    The n-th form of one side is the n-th of the other, each of its alternatives a translation of each. Separators
    inside brackets do not count; abbreviations as in `Absender /Abs./` are taken off. ValueError if there are not two
    sides with equally many forms.
    """
    if line.startswith("#"):
        return None
    sides = line.split("::", 2)
    if len(sides) != 2:
        raise ValueError(f"expected `left :: right`: {shown(line)}")
    left, right = (split_outside(_unabbreviated(side, account), _FORMS) for side in sides)
    if len(left) != len(right) or not left:
        raise ValueError(f"{len(left)} forms on the left, {len(right)} on the right: {shown(line)}")
    return [([a], [b], 0) for a, b in zip(left, right, strict=True)]


def _unabbreviated(side: str, account: Account) -> str:
    def taken_off(found: re.Match[str]) -> str:
        account.change("abbreviations", found[0], "")
        return ""

    return _ABBREVIATION.sub(taken_off, side) if "/" in side else side


def ding_inverted(account: Account) -> bool:
    """Whether the right side is the source. The left side of the known lists is German."""
    return base(account.target) == "de" or (base(account.source) == "en" and account.target == "und")


def cedict(line: str, account: Account) -> list[Entry] | None:
    """A line of CC-CEDICT: `traditional simplified [pinyin] /gloss/gloss; alternative/`; ValueError for anything else.

    The Chinese word is the simplified one, or the traditional one if the language's tag asks for it (zh-Hant, zh-TW,
    zh-HK) or the language is Cantonese, Hakka or Min Nan. The pinyin is not read; measure words, variants, surnames and
    other references are left out.
    """
    if line.startswith("#"):
        return None
    found = _CEDICT.fullmatch(line)
    if not found:
        raise ValueError(f"expected `traditional simplified [pinyin] /gloss/`: {shown(line)}")
    traditional, simplified, content = found.groups()
    glosses = _glosses(line, simplified, content, account)
    tag = (account.source if base(account.source) in _CHINESE else account.target).lower().split("-")
    as_traditional = TRADITIONAL & set(tag[1:]) or (tag[0] in _WRITTEN_TRADITIONALLY and "hans" not in tag)
    return [([traditional if as_traditional else simplified], glosses, 0)]


def _glosses(line: str, word: str, content: str, account: Account) -> list[str]:
    if content.count("/") >= MOST_ALTERNATIVES:
        raise ValueError(f"more than {MOST_ALTERNATIVES} glosses: {shown(line)}")
    glosses: list[str] = []
    for gloss in content.split("/"):
        for part in split_outside(gloss, _SYNONYMS):
            if _REFERENCE.match(part):
                account.drop("entries that refer to others", word, part)
            else:
                glosses.append(part)
    return glosses


def cedict_inverted(account: Account) -> bool:
    """Whether the glosses are the source: unless Chinese is asked for as the source."""
    return base(account.source) not in _CHINESE


def edict(line: str, account: Account) -> list[Entry] | None:
    """A line of EDICT: `word;spelling [reading] /gloss/gloss/`; ValueError for anything else.

    Readings, marks of frequency (P) and numbers of entries (EntL…) are not read.
    """
    if line.startswith(("#", "？？？")):  # the header of EDICT is an entry of this name
        return None
    found = _EDICT.fullmatch(line)
    if not found:
        raise ValueError(f"expected `word [reading] /gloss/`: {shown(line)}")
    words, content = found.groups()
    glosses = _glosses(line, words, content, account)
    return [(split_outside(words, _SYNONYMS), [g for g in glosses if not _EDICT_MARKS.fullmatch(g)], 0)]


def edict_inverted(account: Account) -> bool:
    """Whether the glosses are the source: unless Japanese is asked for as the source."""
    return base(account.source) != "ja"
