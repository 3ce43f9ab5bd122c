"""Translation groups and the lexicon they form.

A *translation group* is one source word with all its translations in all target languages; a lexicon holds
the groups of one source language, each word once.

1. `Lexicon.read` makes a lexicon of one dictionary file; `merge` joins those of several files or targets.
2. `with_counts` gives each word its frequency in a corpus, dropping rare ones; `limit_senses` caps senses.
3. `sample`, `split` and `shuffled` draw words by rank of hash(purpose, seed, lower-cased word): the choice depends on
   the seed and on which words there are, not on their order; a smaller sample is part of a larger one. All cases
   of a word go together, as switching writes a lower-case word's capitalised forms too.
4. `save` and `load` keep it as JSONL, a header line and then a group a line:

       {"prealign_lexicon": 1, "source": "en", "targets": ["de"]}
       {"word": "house", "count": 12, "translations": {"de": ["Haus", "Gebäude"]}, "origin": ["muse:de.txt"]}

A lexicon file is taken as it is: nothing is normalised, and words equal to their translation stay (in a clone
language all are).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from prealign.errors import LexiconError
from prealign.lexicon.draws import derangement, draw
from prealign.lexicon.readers import (
    OWN_FORMAT,
    OWN_KEY,
    OWN_VERSION,
    ReadReport,
    check_text,
    check_texts,
    json_object,
    parse_lines,
    read_header,
    read_lines,
    read_pairs,
    resolve_format,
)


@dataclass(frozen=True)
class Group:
    """One source word and its translations; ValueError if a word is empty or a sense repeated.

    translations: target language -> its senses, best first; every language has at least one.
    count: the word's frequency in the source corpus, None if it was not counted.
    origin: where the group comes from, such as "muse:en-de.txt".
    """

    word: str
    translations: Mapping[str, tuple[str, ...]] = field(hash=False)
    count: int | None = None
    origin: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_text(self.word, "the source word")
        translations = {language: tuple(senses) for language, senses in self.translations.items()}
        if not translations:
            raise ValueError(f"`{self.word}` has no translations")
        for language, senses in translations.items():
            if not senses or len(set(senses)) != len(senses):
                raise ValueError(f"`{self.word}` has no or repeated translations in `{language}`")
            for sense in senses:
                check_text(sense, f"a translation of `{self.word}`")
        if self.count is not None and self.count < 0:
            raise ValueError(f"`{self.word}` has a count below 0")
        object.__setattr__(self, "translations", MappingProxyType(translations))
        object.__setattr__(self, "origin", tuple(self.origin))

    def __reduce__(self) -> tuple[Any, ...]:
        # A MappingProxyType does not pickle, and data loader workers may be sent a lexicon.
        return Group, (self.word, dict(self.translations), self.count, self.origin)

    def merge(self, other: Group) -> Group:
        """Join two groups of one word: this group's senses first, the larger of the counts."""
        languages = dict.fromkeys((*self.translations, *other.translations))
        counts = [group.count for group in (self, other) if group.count is not None]
        return Group(
            word=self.word,
            translations={
                language: _union(self.translations.get(language, ()), other.translations.get(language, ()))
                for language in languages
            },
            count=max(counts, default=None),
            origin=_union(self.origin, other.origin),
        )


class Lexicon:
    """The translation groups of one source language. Immutable: every change makes a new lexicon.

    groups: one for each source word.
    targets: the target languages; None: those of the groups, in order of appearance.
    report: how the file was read, if the lexicon comes straight from one.
    LexiconError if a word has two groups, a group a language that is no target, or the source is a target.
    """

    def __init__(
        self,
        groups: Iterable[Group],
        *,
        source: str,
        targets: Sequence[str] | None = None,
        report: ReadReport | None = None,
    ) -> None:
        self._groups = tuple(groups)
        self._by_word = {group.word: group for group in self._groups}
        self._source = source
        self._report = report
        present = dict.fromkeys(language for group in self._groups for language in group.translations)
        self._targets = tuple(present) if targets is None else _union(targets)
        if len(self._by_word) != len(self._groups):
            repeated = Counter(group.word for group in self._groups).most_common(1)[0][0]
            raise LexiconError(f"the source word `{repeated}` has more than one group; merge them into one")
        if unknown := set(present) - set(self._targets):
            raise LexiconError(f"groups have translations in {sorted(unknown)}, not in {self._targets}")
        if source in self._targets:
            raise LexiconError(f"`{source}` is both source and target; give two different languages")

    @classmethod
    def read(cls, path: str | Path, *, format: str | None = None, source: str, target: str) -> Lexicon:
        """Read a dictionary from `source` to `target`; `.report` tells what became of its lines.

        format: one of `prealign.lexicon.readers.FORMATS`; None: recognised from the content.
        Of a lexicon file (`jsonl`) the translations into `target` are taken.
        LexiconError if the file is missing or empty, the format unknown, more than 1 % of the lines
        malformed, or no entry left.
        """
        path = Path(path)
        lines = read_lines(path)
        name = resolve_format(path, lines, format)
        if name == OWN_FORMAT:
            return _one_target(_parse_own(path, lines), path, source, target)
        pairs, report = read_pairs(path, lines, name)
        origin = (f"{name}:{path.name}",)
        groups = (Group(word, {target: tuple(senses)}, None, origin) for word, senses in pairs.items())
        return cls(groups, source=source, targets=(target,), report=report)

    @classmethod
    def load(cls, path: str | Path) -> Lexicon:
        """Load what `save` wrote; LexiconError as for `read`."""
        path = Path(path)
        return _parse_own(path, read_lines(path))

    def save(self, path: str | Path) -> None:
        """Write the lexicon as JSONL: aside first, then renamed, so that no reader meets half a file."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        header = {OWN_KEY: OWN_VERSION, "source": self.source, "targets": self.targets}
        try:
            with aside.open("w", encoding="utf-8", newline="\n") as file:
                for record in (header, *map(_record, self)):
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups, one for each source word."""
        return self._groups

    @property
    def source(self) -> str:
        """The source language."""
        return self._source

    @property
    def targets(self) -> tuple[str, ...]:
        """The target languages."""
        return self._targets

    @property
    def report(self) -> ReadReport | None:
        """How the file was read; None for a lexicon that does not come straight from a file."""
        return self._report

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lexicon):
            return NotImplemented
        return (self.source, self.targets, self.groups) == (other.source, other.targets, other.groups)

    def __repr__(self) -> str:
        return f"Lexicon({self.source} → {', '.join(self.targets)}: {len(self):,} groups)"

    def lookup(self, word: str) -> Group | None:
        """Return the group of a word of running text: found with its case kept, or else lower-cased."""
        return self._by_word.get(word) or self._by_word.get(word.lower())

    def merge(self, other: Lexicon) -> Lexicon:
        """Join two lexicons on the source word; this one's groups, languages and senses come first.

        LexiconError if the source languages differ.
        """
        if self.source != other.source:
            raise LexiconError(f"lexicons of `{self.source}` and of `{other.source}` have no words to merge on")
        merged = dict(self._by_word)
        for group in other:
            known = merged.get(group.word)
            merged[group.word] = known.merge(group) if known else group
        return Lexicon(merged.values(), source=self.source, targets=_union(self.targets, other.targets))

    def coverage(self, word_counts: Mapping[str, int]) -> dict[str, float]:
        """Return, for each target, the share of source tokens whose word has a translation (METHOD, stage 0).

        word_counts: word of the corpus -> its frequency; found as by `lookup`. 0 for an empty corpus.
        """
        covered: Counter[str] = Counter()
        for word, count in word_counts.items():
            group = self.lookup(word)
            for language in group.translations if group else ():
                covered[language] += count
        total = sum(word_counts.values())
        return {target: covered[target] / total if total else 0.0 for target in self.targets}

    def with_counts(self, word_counts: Mapping[str, int], minimum_count: int) -> Lexicon:
        """Set frequencies and drop words rarer than `minimum_count`: `len(before) - len(after)` words.

        A word counts all tokens that `lookup` finds it for: `house` also `House`, unless that has a group.
        """
        counts: Counter[str] = Counter()
        for word, count in word_counts.items():
            if group := self.lookup(word):
                counts[group.word] += count
        frequent = (group for group in self if counts[group.word] >= minimum_count)
        return self._with(replace(group, count=counts[group.word]) for group in frequent)

    def limit_senses(self, maximum: int) -> Lexicon:
        """Keep the first `maximum` senses of each word and target; LexiconError if it is below 1."""
        if maximum < 1:
            raise LexiconError(f"at most {maximum} senses would leave no translation; give 1 or more")

        def limited(group: Group) -> Group:
            kept = {language: senses[:maximum] for language, senses in group.translations.items()}
            return replace(group, translations=kept)

        return self._with(map(limited, self))

    def sample(self, share: float, seed: int) -> Lexicon:
        """Draw this share of the words, cases aside, by seed; LexiconError if the share is not in 0..1."""
        return self._with(self._drawn("sample", share, seed))

    def split(self, held_out_share: float, seed: int) -> tuple[Lexicon, Lexicon]:
        """Draw this share of the words, cases aside, by seed and return (the others, these)."""
        held_out = self._with(self._drawn("split", held_out_share, seed))
        train = self._with(group for group in self if group.word not in held_out._by_word)
        return train, held_out

    def shuffled(self, share: float, seed: int) -> Lexicon:
        """Let this share of each target's words exchange their translations, so that none keeps one; errors of `draws`."""
        translations = {group.word: dict(group.translations) for group in self}
        for language in self.targets:
            known = [word for word, found in translations.items() if language in found]
            rank = {word: i for i, word in enumerate(draw(known, f"wrong {language}", share, seed))}
            drawn = sorted((w for w in known if w.lower() in rank), key=lambda w: (rank[w.lower()], w))
            senses = [translations[word][language] for word in drawn]
            for word, other in zip(drawn, derangement([set(found) for found in senses]), strict=True):
                translations[word][language] = senses[other]
        return self._with(replace(group, translations=translations[group.word]) for group in self)

    def _drawn(self, purpose: str, share: float, seed: int) -> Iterator[Group]:
        drawn = set(draw(self._by_word, purpose, share, seed))
        return (group for group in self if group.word.lower() in drawn)

    def _with(self, groups: Iterable[Group]) -> Lexicon:
        return Lexicon(groups, source=self.source, targets=self.targets)


def _union(*parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for part in parts for item in part))


def _record(group: Group) -> dict[str, Any]:
    return {
        "word": group.word,
        "count": group.count,
        "translations": dict(group.translations),
        "origin": group.origin,
    }


def _parse_own(path: Path, lines: Sequence[bytes]) -> Lexicon:
    source, targets = read_header(path, lines[0])
    parsed = parse_lines(path, lines[1:], _group_parser(targets), first=2)
    entries = sum(len(senses) for group in parsed.items for senses in group.translations.values())
    report = ReadReport(
        path=str(path),
        format=OWN_FORMAT,
        lines=parsed.lines + 1,
        empty=parsed.empty,
        malformed=parsed.malformed,
        entries=entries,
        kept=entries,
    )
    return Lexicon(parsed.items, source=source, targets=targets, report=report)


def _group_parser(targets: tuple[str, ...]) -> Callable[[str], Group]:
    seen: set[str] = set()

    def parse(line: str) -> Group:
        record = json_object(line)
        if unknown := set(record) - {"word", "count", "translations", "origin"}:
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
        group = Group(word, senses, count, check_texts(record.get("origin", []), "key `origin`"))
        seen.add(word)
        return group

    return parse


def _one_target(lexicon: Lexicon, path: Path, source: str, target: str) -> Lexicon:
    groups = [
        replace(group, translations={target: group.translations[target]})
        for group in lexicon
        if target in group.translations
    ]
    if lexicon.source != source or not groups:
        raise LexiconError(
            f"{path}: no translations from `{source}` to `{target}`; the lexicon is from `{lexicon.source}` "
            f"to {list(lexicon.targets)} and has {len(lexicon)} groups"
        )
    kept = sum(len(group.translations[target]) for group in groups)
    assert lexicon.report is not None
    report = replace(lexicon.report, kept=kept, other_targets=lexicon.report.entries - kept)
    return Lexicon(groups, source=source, targets=(target,), report=report)
