"""The lexicon's own file: JSONL, a header line and then a group a line. It is described in `prealign.lexicon.lexicon`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from prealign.errors import LexiconError
from prealign.files import read_lines, sample_lines
from prealign.lexicon.formats import OWN_FORMAT, OWN_KEY, OWN_VERSION
from prealign.lexicon.group import Evidence, Group
from prealign.lexicon.reading_report import OTHER_LANGUAGES, Account, ReadReport, Tally
from prealign.strict_json import check_text, check_texts, json_object

Own = tuple[str, tuple[str, ...], list[Group], ReadReport]
"""(source, targets, groups, report)"""


def read_own(path: Path) -> Own:
    """Read a lexicon file. LexiconError if it is unreadable or has no header, and for any malformed line: we wrote it."""
    sample_lines(path, read_lines(path))
    lines = read_lines(path)
    source, targets = _header(path, next(lines))
    account = Account(path, source, "")
    parse = _group_parser(targets)
    groups = []
    for text in account.texts(lines, first=2):
        try:
            groups.append(parse(text))
        except ValueError as error:
            account.skip(str(error))
    if account.malformed:
        more = len(account.malformed) - 1
        raise LexiconError(
            f"{account.malformed[0]}{f' (and {more:,} lines more)' if more else ''}. The lexicon is damaged: make it again, "
            "or correct the lines."
        )
    return source, targets, groups, account.report(OWN_FORMAT, kept=_entries(groups))


def one_target(own: Own, path: Path, source: str, target: str) -> Own:
    """Return the groups with translations into one target; LexiconError if there is none, or the source is another."""
    own_source, targets, groups, report = own
    chosen = [replace(g, translations={target: g.translations[target]}) for g in groups if target in g.translations]
    if own_source != source or not chosen:
        raise LexiconError(
            f"{path}: no translations from `{source}` to `{target}`; the lexicon is from `{own_source}` "
            f"to {list(targets)} and has {len(groups)} groups"
        )
    kept = _entries(chosen)
    left = report.entries - kept
    dropped = {OTHER_LANGUAGES: Tally(left, (f"into {', '.join(t for t in targets if t != target)}",))} if left else {}
    return source, (target,), chosen, replace(report, kept=kept, dropped=dropped)


def _entries(groups: list[Group]) -> int:
    return sum(len(senses) for group in groups for senses in group.translations.values())


def _header(path: Path, raw: bytes) -> tuple[str, tuple[str, ...]]:
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


def _group_parser(targets: tuple[str, ...]) -> Callable[[str], Group]:
    seen: set[str] = set()

    def parse(line: str) -> Group:
        record = json_object(line)
        if unknown := set(record) - {"word", "count", "translations", "origin", "evidence"}:
            raise ValueError(f"unknown keys {sorted(unknown)}")
        word = check_text(record.get("word"), "key `word`")
        translations, count = record.get("translations"), record.get("count")
        if not isinstance(translations, dict) or not set(translations) <= set(targets):
            raise ValueError(f"key `translations` is not an object with languages of {list(targets)}")
        if type(count) not in (int, type(None)):
            raise ValueError("key `count` is not an integer")
        if word in seen:
            raise ValueError(f"`{word}` has a group on an earlier line")
        senses = {language: check_texts(value, f"`{language}`") for language, value in translations.items()}
        origin = check_texts(record.get("origin", []), "key `origin`")
        group = Group(word, senses, count, origin, _evidence(record.get("evidence", {})))
        seen.add(word)
        return group

    return parse


def _evidence(value: object) -> dict[str, dict[str, Evidence]]:
    """Return target language -> sense -> evidence; ValueError(reason) for anything else than a group's key `evidence`."""
    try:
        return {lang: {sense: Evidence(*one) for sense, one in found.items()} for lang, found in value.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        raise ValueError("key `evidence` is not an object of languages, senses, and three numbers each") from None
