"""Formats with a JSON object a line: those of the paper's code, and kaikki.org's extracts of Wiktionary.

    paper_pairs    {"src_text": "bank", "tgt_text": "银行"}
    paper_words    {"words": "bank $ 银行 $ 水岸"}              source word, then translations
    paper_indexed  {"words": "bank $ 银行 $ 水岸", "index": 0}  the same; `index` numbers the paper's groups
    kaikki         {"word": "house", "lang_code": "en", "translations": [{"code": "de", "word": "Haus"}]}

The paper's files name no languages: as in its code the first word is the source, and all others are taken to be of the
one target language. Groups are made on the source word here, so `index` must be an integer but has no other use.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prealign.languages import same
from prealign.lexicon.formats.entry import ALTERNATIVES, Entry, split_outside
from prealign.lexicon.reading_report import OTHER_LANGUAGES, Account
from prealign.strict_json import check_text, check_texts, json_object, objects, shown

LONGEST_GLOSS = 3
"""Words. A longer gloss defines, it does not translate."""


def paper_pairs(line: str, account: Account) -> list[Entry]:
    """A JSON object with the texts `src_text` and `tgt_text`; ValueError for anything else."""
    record = json_object(line)
    return [([_filled(record, "src_text")], [_filled(record, "tgt_text")], 0)]


def paper_words(line: str, account: Account) -> list[Entry]:
    """A JSON object whose text `words` joins a source word and its translations by " $ "; ValueError for anything else."""
    words = _filled(json_object(line), "words")
    forms = words.split(" $ ")
    if len(forms) < 2:
        raise ValueError(f"key `words` has no translation, expected `source $ target`: {shown(words)}")
    if not all(form.strip() for form in forms):
        raise ValueError(f"a word is empty: {shown(words)}")
    return [(forms[:1], forms[1:], 0)]


def paper_indexed(line: str, account: Account) -> list[Entry]:
    """As `paper_words`, with the integer `index` beside it."""
    if type(json_object(line).get("index")) is not int:
        raise ValueError("key `index` is missing or not an integer")
    return paper_words(line, account)


def kaikki(line: str, account: Account) -> list[Entry]:
    """An entry of Wiktionary as wiktextract writes it: `word`, `lang_code`, `translations`, `senses`.

    A word of the source language: its `translations`, and those of its senses, whose `code` (or `lang_code`) is the
    target's. A word of the target language: its senses' glosses as source words, cut at commas and semicolons, if
    short; forms of another word are left out. The edition must be the source language's. Entries of other languages
    are counted. Romanised forms (`roman`) are not read. ValueError without `word` and `lang_code`, or for lists that are
    none.
    """
    record = json_object(line)
    word, language = (check_text(record.get(key), f"key `{key}`") for key in ("word", "lang_code"))
    senses = objects(record.get("senses"), "key `senses`")
    if same(language, account.source):
        found = objects(record.get("translations"), "key `translations`")
        for sense in senses:
            found += objects(sense.get("translations"), "key `translations` of a sense")
        translations = list(_translations(word, found, account))
        return [([word], translations, 0)] if translations else []
    if same(language, account.target):
        glosses = [gloss for sense in senses for gloss in _glosses(word, sense, account)]
        return [([gloss], [word], rank) for rank, gloss in enumerate(glosses)]
    account.drop(OTHER_LANGUAGES, word, language)
    return []


def _translations(word: str, found: list[dict[str, Any]], account: Account) -> Iterator[str]:
    for translation in found:
        code = translation.get("code") or translation.get("lang_code")
        if not isinstance(code, str) or not same(code, account.target):
            account.drop(OTHER_LANGUAGES, word, str(code))
        elif not translation.get("word"):
            account.drop("entries without a translated word", word)
        else:
            yield check_text(translation["word"], "`word` of a translation")


def _glosses(word: str, sense: dict[str, Any], account: Account) -> Iterator[str]:
    if sense.get("form_of") or sense.get("alt_of"):
        account.drop("entries that are forms of other words", word)
        return
    # The last gloss is the sense's own; those before it are its headings.
    for gloss in check_texts(sense.get("glosses", []), "key `glosses`")[-1:]:
        for part in split_outside(gloss, ALTERNATIVES):
            if len(part.split("(")[0].split()) > LONGEST_GLOSS:
                account.drop("entries that define and do not translate", word, part)
            else:
                yield part


def _filled(record: dict[str, Any], key: str) -> str:
    text = check_text(record.get(key), f"key `{key}`")
    if not text.strip():
        raise ValueError(f"key `{key}` is blank")
    return text
