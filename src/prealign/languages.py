"""Language tags: codes, names, scripts, and the tags of clone languages.

1. `base` brings the codes of a language to one: `deu`, `ger`, `de-AT` and `deu_Latn` are all `de` (ISO 639, of langcodes).
2. `same` compares a dictionary's code with a tag. The code of a macrolanguage names each of its members: `quy` is `qu`.
3. `language_name` and `plausible_script` take names and the usual script from CLDR (langcodes). Further scripts of a
   language are listed in `_FURTHER`.
"""

from __future__ import annotations

from functools import lru_cache

import regex
from langcodes import Language, find, standardize_tag
from langcodes.data_dicts import LIKELY_SUBTAGS, MACROLANGUAGES

CLONE_SUFFIX = "-clone"

UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo", "dz", "yue", "wuu"})
"""Languages whose running text has no space before a word."""

TRADITIONAL = frozenset({"hant", "tw", "hk", "mo"})
"""Subtags of Chinese in traditional characters."""

_ALIKE = (frozenset({"sh", "hr", "sr", "bs"}), frozenset({"no", "nb"}))
"""Wiktionary writes Serbo-Croatian as one language, and Bokmål by either tag."""

_SEPARATE = frozenset({"zh", "ar", "ms", "no", "et", "lv", "ku", "az", "kv"})
"""Macrolanguages whose code means one member: zh is Mandarin, not Cantonese (yue)."""

_FURTHER_SCRIPTS = """
az=Cyrl,Arab ban=Bali be=Latn bm=Nkoo bs=Cyrl cr=Latn crh=Latn ff=Adlm,Arab ha=Arab iu=Latn jv=Java kaa=Latn kk=Latn,Arab
kok=Latn ks=Deva ku=Arab,Cyrl ky=Arab lad=Hebr,Latn mad=Java man=Nkoo mn=Mong mni=Mtei ms=Arab nan=Latn om=Ethi pa=Arab
sat=Deva,Beng,Latn sd=Deva shi=Latn,Arab sr=Latn su=Sund tg=Arab,Latn tk=Cyrl tt=Latn ug=Cyrl,Latn uz=Cyrl,Arab wo=Arab
yue=Latn za=Hani zgh=Latn
"""
_FURTHER = dict(row.split("=") for row in _FURTHER_SCRIPTS.split())
"""Language -> the scripts beside its usual one in which it is written today."""

_CHARACTERS = {
    "Hans": "Hani,Bopo",
    "Hant": "Hani,Bopo",
    "Jpan": "Hani,Hira,Kana",
    "Kore": "Hang",
}
"""Scripts of ISO 15924 that are not scripts of Unicode -> those of their characters."""

_TAG = regex.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*")
_LETTER = regex.compile(r"\p{L}")


def language_name(tag: str) -> str:
    """Return the English name of a language: `German`, `Chinese (zh-Hant)`; the tag if the language is unknown."""
    first = tag.split("-")[0]
    try:
        name = Language.get(first, normalize=len(first) > 2).language_name()
    except ValueError:
        return tag
    if name.startswith("Unknown language"):
        return tag
    return f"{name} ({tag})" if "-" in tag else name


def plausible_script(word: str, tag: str) -> bool:
    """Whether the word has letters, and at least half of them are of the language's scripts.

    True for any word of a language whose scripts are unknown. A script in the tag (`sr-Latn`) is the only one.
    """
    scripts = _scripts(tag)
    if not scripts:
        return True
    if "Latn" in scripts and word.isascii() and word.isalpha():
        return True
    letters = len(_LETTER.findall(word))
    return 2 * len(_letters_of(scripts).findall(word)) >= letters > 0


@lru_cache
def _scripts(tag: str) -> frozenset[str]:
    """Return the scripts of a language as four-letter codes of Unicode; empty if they are unknown."""
    language, *subtags = tag.replace("_", "-").split("-")
    language = "sr" if base(language) == "sh" else base(language)
    language = language if language in LIKELY_SUBTAGS else MACROLANGUAGES.get(language, language)
    named = [subtag.title() for subtag in subtags if len(subtag) == 4 and subtag.isalpha()]
    if not named and language in LIKELY_SUBTAGS and language != "und":
        usual = Language.get(language, normalize=False).maximize().script
        named = [usual, *_FURTHER.get(language, "").split(",")] if usual else []
    return frozenset(script for name in named if name for script in _CHARACTERS.get(name, name).split(","))


@lru_cache
def _letters_of(scripts: frozenset[str]) -> regex.Pattern[str]:
    alternatives = "".join(rf"\p{{Script_Extensions={script}}}" for script in sorted(scripts))
    return regex.compile(rf"[\p{{L}}&&[{alternatives}]]", flags=regex.V1)


def is_tag(text: str) -> bool:
    """Whether a text has the form of a language tag: `de`, `zh-Hant`, `deu_Latn`, `en-clone`. No path has it."""
    return _TAG.fullmatch(text) is not None


def tag_of_name(name: str) -> str | None:
    """Return the tag of a language by its name (`German`: de); None for anything else."""
    try:
        return find(name).language
    except (LookupError, ValueError):  # ValueError: its table of names takes no zero byte
        return None


def is_clone(language: str) -> bool:
    """Whether the tag names a clone language."""
    return language.endswith(CLONE_SUFFIX)


@lru_cache(maxsize=4096)
def base(code: str) -> str:
    """Return a code without its region or script, two letters long where ISO 639 has such a code, in lower case.

    Of a macrolanguage and the member that its code usually means (`est` and `ekk`) the code is one. A code that is no
    language tag stays as it is.
    """
    first = code.lower().replace("_", "-").split("-")[0]
    if first in ("sh", "hbs"):
        return "sh"  # deprecated, and read as Serbian by the standard
    try:
        return standardize_tag(first, macro=True).split("-")[0]
    except ValueError:
        return first


def same(code: str, tag: str) -> bool:
    """Whether a dictionary's code names the language of a tag, or the macrolanguage that the other is a member of."""
    one, other = base(code), base(tag)
    alike = one == other or any({one, other} <= family for family in _ALIKE)
    return alike or _member(one, other) or _member(other, one)


def _member(code: str, macrolanguage: str) -> bool:
    return macrolanguage not in _SEPARATE and MACROLANGUAGES.get(code) == macrolanguage
