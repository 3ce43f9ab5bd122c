"""A dictionary file becomes words with their translations, and an account of every line.

1. Read the file line by line; gzipped files are unpacked. Each line is decoded by itself, so that a bad byte costs one line.
2. Recognise the format, unless it is named: the one that reads most of the first 1,000 lines (`prealign.lexicon.formats`).
3. Parse each line into entries, by one small function a format. A line that cannot be parsed is kept with its number and
   the reason; more than 1 % of them is an error, in a short file more than three, or half.
4. Cut cells that list several words (`prealign.lexicon.formats.entry`), except where a format has one word a cell.
5. Turn the entries of a dictionary from target to source: its format says so, or its user. There, a translation is the
   better the earlier it names the source word.
6. Clean both sides (`prealign.lexicon.cleaning`): notes, marks, articles and invisible characters go, each counted.
7. Drop, and count, entries with a side that has letters, most of them not of its language's scripts.
8. Gather the translations of a word by rank and file order. A translation equal to its word (names, foreign words; half
   of MUSE) teaches nothing and is dropped, a repeated pair is kept once; both are counted. With `keep_identical`, for
   tests, it stays beside other translations of its word: there it is a right answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from prealign.errors import LexiconError
from prealign.languages import language_name, plausible_script
from prealign.lexicon.cleaning import Unusable, clean
from prealign.lexicon.formats import FORMATS, PAIR_FORMATS
from prealign.lexicon.formats.entry import Entry, alternatives
from prealign.lexicon.reading_report import DUPLICATE, IDENTICAL, Account, Columns, ReadReport

__all__ = ["FORMATS", "read_pairs"]


def read_pairs(
    path: Path,
    format: str,
    source: str,
    target: str,
    *,
    turned: bool = False,
    columns: Columns = (),
    keep_identical: bool = False,
) -> tuple[dict[str, list[str]], ReadReport]:
    """Gather the translations of each word from a file of one of `PAIR_FORMATS`.

    LexiconError if too many of the lines are malformed, if the dictionary is of other languages, or if no entry
    is left.
    """
    account = Account(path, source, target, columns)
    reader = PAIR_FORMATS[format]
    account.inverted = turned or reader.inverted(account)
    gathered = _Gathered(account, keep_identical)
    for text in account.texts(reader.records(path)):
        try:
            entries = reader.parse(text, account)
            if entries and not reader.whole:
                entries = [(_listed(words), _listed(translations), rank) for words, translations, rank in entries]
        except ValueError as error:
            account.skip(str(error))
            continue
        if entries is None:
            account.comments += 1
        else:
            gathered.add(_turned(entries) if account.inverted else entries)
    words = gathered.words()
    report = account.report(format, kept=gathered.kept, phrases=gathered.phrases)
    if not words:
        raise LexiconError(
            f"{path}: no entry of the dictionary is of use; {_why(report)}. Are `{source}` and `{target}` its languages?"
        )
    return words, report


def _listed(terms: Sequence[str]) -> Sequence[str]:
    return alternatives(terms[0]) if len(terms) == 1 else [one for term in terms for one in alternatives(term)]


def _turned(entries: Iterable[Entry]) -> Iterable[Entry]:
    for words, translations, _ in entries:
        for rank, translation in enumerate(translations):
            yield [translation], words, rank


def _why(report: ReadReport) -> str:
    reasons = [f"all {tally.count:,} are {reason.partition(' ')[2]}" for reason, tally in report.dropped.items()]
    if len(reasons) == 1 and IDENTICAL in report.dropped:
        return reasons[0]
    return ", ".join(f"{tally.count:,} {reason}" for reason, tally in report.dropped.items()) or "it has none"


class _Gathered:
    """Translations by word, in order of appearance, each with its rank."""

    def __init__(self, account: Account, keep_identical: bool) -> None:
        self.account = account
        self.keep_identical = keep_identical
        self._identical: list[tuple[str, int, int]] = []  # word, rank, line: its other translations may come later
        self.kept = self.phrases = 0
        self._senses: dict[str, dict[str, int]] = {}
        self._ranked = False

    def add(self, entries: Iterable[Entry]) -> None:
        """Clean and keep the entries of a line."""
        for words, translations, rank in entries:
            cleaned = self._cleaned(translations, self.account.target, len(words))
            if not cleaned:
                continue
            for word in self._cleaned(words, self.account.source, len(cleaned)):
                for translation in cleaned:
                    self._keep(word, translation, rank)

    def _cleaned(self, terms: Sequence[str], language: str, entries: int) -> list[str]:
        """Clean one side; a word that is of no use costs as many entries as there are words on the other side."""
        usable = []
        for term in terms:
            try:
                usable.append(clean(term, language, self.account.change))
            except Unusable as error:
                self.account.drop(str(error), term, number=entries)
        return usable

    def _keep(self, word: str, translation: str, rank: int) -> None:
        if word == translation:
            if self.keep_identical:
                self._identical.append((word, rank, self.account.line))
            else:
                self.account.drop(IDENTICAL, word)
            return
        for term, language in ((word, self.account.source), (translation, self.account.target)):
            if any(map(str.isalpha, term)) and not plausible_script(term, language):
                self.account.drop(f"entries not in the script of {language_name(language)}", word, translation)
                return
        self._add(self._senses.setdefault(word, {}), word, translation, rank)

    def _add(self, senses: dict[str, int], word: str, translation: str, rank: int) -> None:
        if translation in senses:
            self.account.drop(DUPLICATE, word, translation)
            # It ranks as its best mention, but keeps the place of its first.
            rank = min(rank, senses[translation])
        else:
            self.kept += 1
            self.phrases += " " in word
        senses[translation] = rank
        self._ranked = self._ranked or rank != 0

    def words(self) -> dict[str, list[str]]:
        """Return the translations of each word, best first; to be called once, when all entries are there."""
        for word, rank, line in self._identical:
            if word in self._senses:
                self._add(self._senses[word], word, word, rank)
            else:
                self.account.drop(IDENTICAL, word, line=line)
        if not self._ranked:
            return {word: list(senses) for word, senses in self._senses.items()}
        return {word: sorted(senses, key=partial(dict.__getitem__, senses)) for word, senses in self._senses.items()}
