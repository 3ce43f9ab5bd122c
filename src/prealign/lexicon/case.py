"""Upper, lower and title case of words, by the rules of their language.

Unicode's default mappings are right for most languages. Before or in place of them come:

1. Turkish, Azerbaijani, Crimean Tatar, Gagauz and Tatar: i ↔ İ and ı ↔ I.
2. Greek: capitals have no tonos (άνθρωπος → ΑΝΘΡΩΠΟΣ), and a diaeresis where the tonos parted two vowels (Μάιος → ΜΑΪΟΣ).
   The word ή keeps it (Ή). A sigma at the end of a word is ς.
3. Dutch: ij is one letter at the start of a word (ijs → IJs).
4. Irish: the letter that a mutation puts before a word stays small (t-uisce → tUisce, gcat → gCat).
5. Armenian: և is two letters in capitals, Եվ in the reformed spelling (hy) and Եւ in the classical one (hyw).
6. Georgian words have no capital, and Cherokee words are written in the letters that Unicode calls capitals: both stay.
7. The first letter gets the title case of Unicode, not its upper case: ǆip → ǅip, ß → Ss. Letters such as ʻ (Hawaiian) are
   passed over.
"""

from __future__ import annotations

import re
import unicodedata

from prealign.languages import base

_DOTTED = frozenset({"tr", "az", "crh", "gag", "tt"})
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]")
_GEORGIAN = re.compile("([\u10d0-\u10ff]+)")
_CHEROKEE = re.compile("([\u13a0-\u13f5]+)")
_DIAERESIS, _IOTA_BELOW = "\u0308", "\u0345"
_TONOS = frozenset("\u0300\u0301\u0342")  # grave, acute, circumflex
_IRISH_VOWELS = "aeiouáéíóú"
_MUTATIONS = frozenset({"bhf", "bp", "dt", "gc", "mb", "nd", "ng", "ts"})
_PREFIXED = re.compile(f"^([nt])(?=[{_IRISH_VOWELS.upper()}])")


def lower(word: str, language: str) -> str:
    """Return the word in lower case."""
    if word.islower() and word.isascii():
        return word
    tag = base(language)
    if tag in _DOTTED:
        word = word.replace("I\u0307", "i").replace("I", "ı")
    elif tag == "ga":
        word = _PREFIXED.sub(r"\1-", word)
    word = word.replace("İ", "i")  # by default two characters, i and a dot
    if _CHEROKEE.search(word):
        return "".join(part if i % 2 else part.lower() for i, part in enumerate(_CHEROKEE.split(word)))
    return word.lower()


def upper(word: str, language: str) -> str:
    """Return the word in capitals."""
    tag = base(language)
    if tag == "ga":
        prefix, word = _mutation(word)
        return prefix + word.upper()
    if tag in _DOTTED:
        word = word.replace("i", "İ")
    word = _with_vo(word, tag)
    if _GREEK.search(word):
        return _greek_capitals(word)
    if _GEORGIAN.search(word):
        return "".join(part if i % 2 else part.upper() for i, part in enumerate(_GEORGIAN.split(word)))
    return word.upper()


def title(word: str, language: str) -> str:
    """Return the word, or phrase, with a capital at its start."""
    tag = base(language)
    prefix = ""
    if tag == "ga":
        prefix, word = _mutation(word)
    while word and unicodedata.category(word[0]) == "Lm":
        prefix, word = prefix + word[0], word[1:]
    first, rest = word[:1], word[1:]
    if tag == "nl" and word.startswith("ij"):
        return f"{prefix}IJ{word[2:]}"
    if tag in _DOTTED and first == "i":
        return f"{prefix}İ{rest}"
    if first == "և":
        first = _with_vo(first, tag)
        return prefix + first[0].upper() + first[1:] + rest
    return prefix + first.title() + rest


def is_cased(char: str) -> bool:
    """Whether a character is a letter that has capitals."""
    return char.lower() != char.upper()


def _mutation(word: str) -> tuple[str, str]:
    """Return the letters of an Irish word that stay small, and the rest without a hyphen between them."""
    if word[:3] == "bhf":
        return word[:2], word[2:]
    if word[:2] in _MUTATIONS:
        return word[:1], word[1:]
    if word[:2] in ("n-", "t-") and word[2:3] and word[2] in _IRISH_VOWELS:
        return word[:1], word[2:]
    return "", word


def _with_vo(word: str, tag: str) -> str:
    """Write the Armenian ligature և as two letters."""
    return word.replace("և", "եվ" if tag == "hy" else "եւ")


def _greek_capitals(word: str) -> str:
    """Return a Greek word in capitals: of the marks only the diaeresis stays; iota subscript becomes a letter."""
    letters: list[str] = []
    stressed = False  # whether the last letter had a tonos and no diaeresis
    for cluster in re.findall(r"[^\u0300-\u0345][\u0300-\u0345]*", unicodedata.normalize("NFD", word)):
        letter, marks = cluster[0], cluster[1:]
        if not _GREEK.match(letter):
            letters.append(cluster.upper())
            stressed = False
            continue
        apart = _DIAERESIS in marks or (stressed and letter in "ιυ" and not marks)
        letters.append(letter.upper() + _DIAERESIS * apart + "Ι" * (_IOTA_BELOW in marks))
        stressed = not apart and bool(_TONOS & set(marks))
    capitals = unicodedata.normalize("NFC", "".join(letters))
    return "Ή" if capitals == "Η" and stressed else capitals
