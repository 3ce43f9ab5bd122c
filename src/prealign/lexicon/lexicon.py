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

   Senses found in parallel text have their evidence beside them: how often they were aligned, p(sense | word),
   p(word | sense), as in "evidence": {"de": {"Haus": [31, 0.86, 0.94]}}.

A lexicon file is taken as it is: nothing is normalised, and words equal to their translation stay (in a clone
language all are).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

from prealign.errors import LexiconError
from prealign.files import write_lines
from prealign.lexicon.case import lower, title, upper
from prealign.lexicon.formats import OWN_FORMAT, OWN_KEY, OWN_VERSION, check_turned, resolve_format
from prealign.lexicon.formats.own import Own, one_target, read_own
from prealign.lexicon.group import Group, union
from prealign.lexicon.normalise import fold, keyed
from prealign.lexicon.read import read_pairs
from prealign.lexicon.reading_report import Columns, ReadReport
from prealign.lexicon.sampling import derangement, draw


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
        self.groups, self.source, self.report = tuple(groups), source, report
        self._by_word = {group.word: group for group in self.groups}
        present = dict.fromkeys(language for group in self.groups for language in group.translations)
        self.targets = tuple(present) if targets is None else union(targets)
        if len(self._by_word) != len(self.groups):
            repeated = Counter(group.word for group in self.groups).most_common(1)[0][0]
            raise LexiconError(f"the source word `{repeated}` has more than one group; merge them into one")
        if unknown := set(present) - set(self.targets):
            raise LexiconError(f"groups have translations in {sorted(unknown)}, not in {self.targets}")
        if source in self.targets:
            raise LexiconError(f"`{source}` is both source and target; give two different languages")

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        format: str | None = None,
        source: str,
        target: str,
        turned: bool = False,
        columns: Columns = (),
        keep_identical: bool = False,
    ) -> Lexicon:
        """Read a dictionary from `source` to `target`; `.report` tells what became of its lines.

        format: one of `prealign.lexicon.formats.FORMATS`; None: recognised from the content.
        A format that names its languages is turned where it goes from `target` to `source`; of a lexicon file (`jsonl`)
        the translations into `target` are taken. turned: a file of two columns goes from `target` to `source`.
        columns: the two columns of a table (`csv`), source first, by number (from 1) or by header.
        LexiconError if the file is missing or empty, the format unknown, the languages others, too many of the lines
        malformed (see `readers`), or no entry left.
        """
        path = Path(path)
        name = resolve_format(path, format, columns)
        if turned:
            check_turned(path, name)
        if name == OWN_FORMAT:
            return cls._of(one_target(read_own(path), path, source, target))
        pairs, report = read_pairs(
            path, name, source, target, turned=turned, columns=columns, keep_identical=keep_identical
        )
        origin = (f"{name}:{path.name}",)
        groups = (Group(word, {target: tuple(senses)}, None, origin) for word, senses in pairs.items())
        return cls(groups, source=source, targets=(target,), report=report)

    @classmethod
    def load(cls, path: str | Path) -> Lexicon:
        """Load what `save` wrote; LexiconError as for `read`."""
        return cls._of(read_own(Path(path)))

    @classmethod
    def _of(cls, own: Own) -> Lexicon:
        source, targets, groups, report = own
        return cls(groups, source=source, targets=targets, report=report)

    def save(self, path: str | Path) -> None:
        """Write the lexicon as JSONL: aside first, then renamed, so that no reader meets half a file.

        LexiconError if it cannot be written there.
        """
        header = {OWN_KEY: OWN_VERSION, "source": self.source, "targets": self.targets}
        records = chain([header], map(_record, self))
        write_lines(Path(path), (json.dumps(record, ensure_ascii=False) for record in records))

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lexicon):
            return NotImplemented
        return (self.source, self.targets, self.groups) == (other.source, other.targets, other.groups)

    def __repr__(self) -> str:
        return f"Lexicon({self.source} → {', '.join(self.targets)}: {len(self):,} groups)"

    def lookup(self, word: str) -> Group | None:
        """Return the group of a word of running text: found with its case kept, in lower case, or by an entry's capitals.

        The last finds what lower case does not: ΑΝΘΡΩΠΟΣ of άνθρωπος, STRASSE of straße.
        """
        found = self._by_word.get(word)
        if found is None and (low := lower(word, self.source)) != word:
            found = self._by_word.get(low) or self._by_capitals.get(word)
        return found

    @cached_property
    def _by_capitals(self) -> dict[str, Group]:
        """Capitalised forms of lower-case words, where lower case does not give the word back."""
        found: dict[str, Group] = {}
        for word, group in self._by_word.items():
            if lower(word, self.source) == word:
                for form in (title(word, self.source), upper(word, self.source)):
                    if lower(form, self.source) != word:
                        found.setdefault(form, group)
        return found

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
        return Lexicon(merged.values(), source=self.source, targets=union(self.targets, other.targets))

    def coverage(self, word_counts: Mapping[str, int]) -> dict[str, float]:
        """Return, for each target, the share of source tokens whose word has a translation (docs/method.md, stage 0).

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

    def without(self, words: Iterable[str], key: Callable[[str], str] | None = None) -> Lexicon:
        """Drop the groups of these source words, in any case and Unicode form; key: see `normalise.key_of`."""
        gone = {fold(word, self.source, key) for word in words}
        return self._with(group for group in self if fold(group.word, self.source, key) not in gone)

    def inverted(self, target: str) -> Lexicon:
        """Return the lexicon from `target` to the source: each translation with the words it translates, frequent first."""
        words: dict[str, list[Group]] = {}
        for group in self:
            for sense in group.translations.get(target, ()):
                words.setdefault(sense, []).append(group)
        groups = (
            Group(sense, {self.source: tuple(g.word for g in sorted(found, key=lambda g: -(g.count or 0)))})
            for sense, found in words.items()
        )
        return Lexicon(groups, source=target, targets=(self.source,))

    def limit_senses(self, maximum: int) -> Lexicon:
        """Keep the first `maximum` senses of each word and target; LexiconError if it is below 1."""
        if maximum < 1:
            raise LexiconError(f"at most {maximum} senses would leave no translation; give 1 or more")

        def limited(group: Group) -> Group:
            kept = {language: senses[:maximum] for language, senses in group.translations.items()}
            return replace(group, translations=kept)

        return self._with(map(limited, self))

    def mutual(self, reverse: Lexicon) -> Lexicon:
        """Keep the translations into the language of `reverse` that it translates back to their word, cases aside.

        reverse: from one of the targets to the source language, else LexiconError. Other targets stay as they are.
        """
        target = reverse.source
        if target not in self.targets or self.source not in reverse.targets:
            raise LexiconError(
                f"the reverse lexicon is from `{target}` to {list(reverse.targets)}; it has to be from one of "
                f"{list(self.targets)} to `{self.source}`"
            )
        back: dict[str, set[str]] = {}
        for group in reverse:
            back.setdefault(fold(group.word, target), set()).update(
                fold(s, self.source) for s in group.translations.get(self.source, ())
            )

        def confirmed(group: Group) -> dict[str, tuple[str, ...]]:
            word = fold(group.word, self.source)
            found = {
                t: tuple(s for s in v if t != target or word in back.get(fold(s, target), ()))
                for t, v in group.translations.items()
            }
            return {language: senses for language, senses in found.items() if senses}

        kept = ((group, confirmed(group)) for group in self)
        return self._with(replace(group, translations=senses) for group, senses in kept if senses)

    def order_senses(
        self, word_counts: Mapping[str, Mapping[str, int]], keys: Mapping[str, Callable[[str], str]] | None = None
    ) -> Lexicon:
        """Put the senses of each word that are frequent in their language's text first; ties keep their order.

        word_counts: target language -> its words' frequencies. A sense counts in every case and Unicode form.
        keys: language -> see `normalise.key_of`.
        """
        folds = {language: partial(fold, language=language, key=(keys or {}).get(language)) for language in word_counts}
        totals = {language: keyed(counts, folds[language]) for language, counts in word_counts.items()}

        def ordered(language: str, senses: tuple[str, ...]) -> tuple[str, ...]:
            if language not in totals:
                return senses
            return tuple(sorted(senses, key=lambda sense: -totals[language].get(folds[language](sense), 0)))

        def by_frequency(group: Group) -> Group:
            return replace(group, translations={t: ordered(t, senses) for t, senses in group.translations.items()})

        return self._with(map(by_frequency, self))

    def sample(self, share: float, seed: int) -> Lexicon:
        """Draw this share of the words, cases aside, by seed; LexiconError if the share is not in 0..1."""
        return self._with(self._drawn("sample", share, seed))

    def split(self, held_out_share: float, seed: int) -> tuple[Lexicon, Lexicon]:
        """Draw this share of the words, cases aside, by seed and return (the others, these)."""
        held_out = self._with(self._drawn("split", held_out_share, seed))
        train = self._with(group for group in self if group.word not in held_out._by_word)
        return train, held_out

    def shuffled(self, share: float, seed: int) -> Lexicon:
        """Let this share of each target's words exchange their translations, so that none keeps one, in any case.

        Errors of `draws`.
        """
        translations = {group.word: dict(group.translations) for group in self}
        for language in self.targets:
            known = [word for word, found in translations.items() if language in found]
            order = draw(known, self.source, f"wrong {language}", share, seed)
            rank = {word: i for i, word in enumerate(order)}
            ranked = [(rank[low], word) for word in known if (low := lower(word, self.source)) in rank]
            drawn = [word for _, word in sorted(ranked)]
            senses = [translations[word][language] for word in drawn]
            caseless = [{lower(sense, language) for sense in found} for found in senses]
            for word, other in zip(drawn, derangement(caseless), strict=True):
                translations[word][language] = senses[other]
        return self._with(replace(group, translations=translations[group.word]) for group in self)

    def _drawn(self, purpose: str, share: float, seed: int) -> Iterator[Group]:
        drawn = set(draw(self._by_word, self.source, purpose, share, seed))
        return (group for group in self if lower(group.word, self.source) in drawn)

    def _with(self, groups: Iterable[Group]) -> Lexicon:
        return Lexicon(groups, source=self.source, targets=self.targets)


def _record(group: Group) -> dict[str, Any]:
    record: dict[str, Any] = {
        "word": group.word,
        "count": group.count,
        "translations": dict(group.translations),
        "origin": group.origin,
    }
    if group.evidence:
        record["evidence"] = {
            language: {sense: astuple(one) for sense, one in found.items()}
            for language, found in group.evidence.items()
        }
    return record
