"""Cleaning of one word or phrase as dictionaries print it.

1. Invisible characters go: zero-width characters, direction marks, soft hyphens, byte order marks. A (non-)joiner
   between letters of a script that spells with it stays.
2. The rest is NFC with single spaces, so that equal words are equal strings. Marks of pronunciation go
   (`prealign.lexicon.pronunciation`), and the stress marks of all Cyrillic words (кни́га): dictionaries print them, running
   text does not.
3. Marks go: `[pin1 yin1]`, parts of speech and subjects as in {n}, <noun>, [zool.], notes as in (to drink).
4. Punctuation around the whole goes: a colon, comma or semicolon at the end (`ladder:`), quotation marks (`"ladder"`).
5. Placeholders of an object go (`sb.`, `etw.`), then the infinitive's `to` and the article before a single word.
6. The full stop of a sentence goes; an abbreviation of up to three letters keeps its stop, as in `vb.`
7. What is left must be text: not empty, not too long, every character assigned.

Every change is told to `note(what, before, after)`; blanks and NFC are no changes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from prealign.lexicon.pronunciation import unmarked

LONGEST_TERM = 200
"""Characters. No word or phrase is longer; a longer one would be a line of something else."""

_FAR_TOO_LONG = 10 * LONGEST_TERM  # with all its notes
_TOO_LONG = f"entries longer than {LONGEST_TERM} characters"

LONGEST_ABBREVIATION = 3
"""Letters. A longer last word ends in a full stop because its definition does, and so does one with a vowel in a phrase."""
_VOWEL = re.compile("[aeiouyäöüåæøı]")
_FULL_STOPS = (".", "。", "．", "।", "۔", "։", "።")
_SEPARATOR_AT_END = re.compile(r"(?<=\S)[\s:;,：；，、؛،]+$")
_QUOTED = re.compile(r'(?:"([^"]+)"|[“„]([^“”„]+)[“”]|«([^«»]+)»|»([^«»]+)«|「([^「」]+)」|『([^『』]+)』)')
_EAST_ASIAN = "\u2e80"  # the first character of scripts that abbreviate without a stop

Note = Callable[[str, str, str], None]


class Unusable(ValueError):
    """What is left is no word; `str(error)` is the reason, worded to stand after a number."""


# Arabic to Tibetan spell with joiners; emoji are joined by them.
_JOINED = "\u0600-\u0fff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\ufe0f\U0001f000-\U0001faff"
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
    f"|(?<![{_JOINED}])[\u200c\u200d]|[\u200c\u200d](?![{_JOINED}])"
)
_ACUTE = "\u0301"
_STRESS = re.compile(f"(?<=[\u0400-\u04ff]){_ACUTE}")  # what NFC has not made one with its letter, as in ѓ
_JOINERS = str.maketrans("", "", "\u200c\u200d")
_MARKS = (
    ("pinyin readings", re.compile(r"\[(?:[A-Za-züÜ:·]+[1-5][ ,]?)+\]")),
    ("part-of-speech or subject marks", re.compile(r"\{[^{}]*\}|<[^<>]*>|\[[^\[\]]*\]|［[^［］]*］")),
    ("parenthesised notes", re.compile(r"\([^()]*\)|（[^（）]*）")),
)
_OPENING = re.compile(r"[(\[{<（［]")
_PLACEHOLDERS = re.compile(
    r"(?:(?<=\s)|^)(?:sb|sth|so|sb\./sth|jd|jds|jdn|jdm|jdn\./etw|jdm\./etw|etw)\.(?:['’]s)?(?=\s|$)"
)
_INFINITIVES = {"en": ("to",), "da": ("at",), "nb": ("å",), "no": ("å",), "sv": ("att",)}
# No infinitives, and no nouns: to the day, to date, to and fro, a few, a priori.
_IDIOMS = frozenset(
    {"the", "a", "an", "one's", "my", "your", "his", "date", "and", "few", "little", "lot", "bit", "while"}
    | {"priori", "posteriori", "cappella", "la"}
)
_ARTICLES = {
    "en": ("a", "an", "the"),
    "de": ("der", "die", "das", "ein", "eine"),
    "nl": ("de", "het", "een"),
    "fr": ("le", "la", "les", "un", "une"),
    "es": ("el", "la", "los", "las", "un", "una"),
    "it": ("il", "lo", "la", "i", "gli", "le", "un", "uno", "una"),
    "pt": ("o", "a", "os", "as", "um", "uma"),
    "ca": ("el", "la", "els", "les", "un", "una"),
}


def clean(term: str, language: str, note: Note) -> str:
    """Return the word or phrase without its marks; Unusable if nothing usable is left."""
    # Most words of most files: nothing to do, and a million of them to do it to.
    if term.isalnum() and len(term) <= LONGEST_TERM and _is_plain(term, language):
        return term
    if len(term) > _FAR_TOO_LONG:
        raise Unusable(_TOO_LONG)
    if not term.isprintable():
        term = _changed(term, _INVISIBLE.sub("", term), "invisible characters", note)
    term = " ".join(unicodedata.normalize("NFC", term).split())
    term = _changed(term, unmarked(term, language), "marks of pronunciation", note)
    if _ACUTE in term:
        term = _changed(term, _STRESS.sub("", term), "stress marks", note)
    term = _without_marks(term, note)
    if term and not (term[0].isalnum() and term[-1].isalnum()):
        term = _changed(term, _without_punctuation(term), "punctuation around words", note)
    if " " in term:
        term = _without_particles(term, language.split("-")[0], note)
    if term.endswith(_FULL_STOPS):
        term = _changed(term, _without_full_stop(term), "full stops", note)
    if not term:
        raise Unusable("entries with nothing but marks on one side")
    if len(term) > LONGEST_TERM:
        raise Unusable(_TOO_LONG)
    # Not printable are the unassigned, private, control and format characters.
    if not term.translate(_JOINERS).isprintable():
        raise Unusable("entries with unassigned, private or control characters")
    return term


def _is_plain(term: str, language: str) -> bool:
    return term.isascii() or (unicodedata.is_normalized("NFC", term) and unmarked(term, language) == term)


def _without_marks(term: str, note: Note) -> str:
    if not _OPENING.search(term):
        return term
    for what, mark in _MARKS:
        # A mark inside a word is an optional part of it: colo(u)r, Lehrer(in).
        gap = " " if " " in term else ""
        stripped, found = mark.subn(gap, term)
        for _ in range(2):  # one in the other
            stripped = mark.sub(gap, stripped) if found and _OPENING.search(stripped) else stripped
        if found:
            term = _changed(term, " ".join(stripped.split()).strip(" ,;"), what, note)
    return term


def _without_particles(term: str, language: str, note: Note) -> str:
    if "." in term and language in ("en", "de"):
        bare = " ".join(_PLACEHOLDERS.sub(" ", term).split())
        # Alone, it is what is translated.
        term = _changed(term, bare, "placeholders", note) if bare else term
    first, _, rest = term.partition(" ")
    if rest.partition(" ")[0] in _IDIOMS:
        return term
    if rest and first in _INFINITIVES.get(language, ()):
        return _changed(term, rest, "infinitive particles", note)
    # With a capital it is a name (The Hague, Las Vegas), except in German, where all nouns have one.
    noun = rest and " " not in rest and (rest[0].islower() or language == "de")
    return _changed(term, rest, "articles", note) if noun and first in _ARTICLES.get(language, ()) else term


def _without_punctuation(term: str) -> str:
    bare = _SEPARATOR_AT_END.sub("", term)
    quoted = _QUOTED.fullmatch(bare)
    return (quoted[quoted.lastindex or 0].strip() if quoted else bare) or term


def _without_full_stop(term: str) -> str:
    bare = term[:-1].strip(" .") or term
    phrase, _, last = bare.rpartition(" ")
    if term[-1] != "." or last >= _EAST_ASIAN:
        return bare
    short = sum(map(str.isalpha, last)) <= LONGEST_ABBREVIATION
    return term if "." in last or (short and not (phrase and _VOWEL.search(last))) else bare


def _changed(before: str, after: str, what: str, note: Note) -> str:
    if after != before:
        note(what, before, after)
    return after
