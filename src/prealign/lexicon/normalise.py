"""How words are compared, where one word is spelled in several ways. A key to look words up by; no text is rewritten.

Arabic: dictionaries write vowel signs that running text leaves out, and both vary in the alef of a word. A word's key is it

1. without the vowel signs and their kin, U+064B fathatan to U+0652 sukun,
2. without tatweel, U+0640, which only stretches a word,
3. in the form NFC, where a letter and its hamza or madda are one character,
4. with plain alef ا for أ, إ and آ.

Nothing else is changed: not ى and ي, ة and ه, or ؤ and ئ, which tell words apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping

from prealign.lexicon.case import lower

_LEFT_OUT = dict.fromkeys([*range(0x064B, 0x0653), 0x0640])
_ALEF = re.compile("[اأإآ][\u0653-\u0655]*")  # with a hamza or madda too many


Key = Callable[[str], str]


def arabic_key(word: str) -> str:
    """Return what the spellings of an Arabic word have in common."""
    return _ALEF.sub("ا", unicodedata.normalize("NFC", word.translate(_LEFT_OUT)))


def fold(word: str, language: str, key: Key | None = None) -> str:
    """Return what the spellings of a word have in common: its key in lower case and the form NFC."""
    # NFC last: a lower-cased letter and its mark may be one character where the capitals are two.
    return unicodedata.normalize("NFC", lower(word if key is None else key(word), language))


def key_of(setting: str, language: str) -> Key | None:
    """Return the key that the setting `lexicon.normalise` gives words of a language; None: they are compared as they are."""
    return arabic_key if setting == "arabic" and language.split("-")[0] == "ar" else None


def keyed(word_counts: Mapping[str, int], key: Key) -> dict[str, int]:
    """Return the frequencies of keys: those of all their spellings."""
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        counts[key(word)] += count
    return dict(counts)
