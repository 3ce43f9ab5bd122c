"""How much of other languages a text holds, line by line (Blevins and Zettlemoyer 2022).

1. Read the lines of all documents. A line with fewer than `minimum` letters is too short to identify and is counted apart.
2. A language is found in a line if the identifier names it with at least `certainty`, and half of the line's letters are of
   its scripts. A line has one language.
3. The rate is found lines over identified lines, with Wilson's interval; words (separated by white space) per million count
   as well.
4. Identifiers make mistakes, and in a text with little of a language they decide the rate. So sample found lines, let a
   reader judge them, and correct: rate · share of right ones among the judged. The interval of the product has the product
   of the lower ends and that of the upper ends, so it covers at least as often as either.

Lines that were missed are not corrected for: the corrected rate is a lower estimate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from prealign.errors import DataError, needed
from prealign.evaluation.statistics import Interval, wilson
from prealign.languages import base, plausible_script

Identify = Callable[[str], tuple[str, float]]
"""A line -> the code of its language, and the probability."""


@dataclass(frozen=True)
class Contamination:
    """What was found of one language. lines, words: identified ones of all languages; found_lines, found_words: its own.

    low, high: Wilson's interval of the rate of lines. short: lines that were too short. sample: (document, line) of found
    lines.
    """

    language: str
    lines: int
    words: int
    short: int
    found_lines: int
    found_words: int
    rate: float
    low: float
    high: float
    words_per_million: float
    sample: tuple[tuple[str, str], ...]


def langid() -> Identify:
    """Return the identifier of py3langid, which runs offline. LexiconError with the command that installs it."""
    module = needed("py3langid.langid", doing="identifying languages", package="py3langid", extra="langid")
    identifier = module.LanguageIdentifier.from_model_file(module.MODEL_FILE, norm_probs=True)

    def identify(line: str) -> tuple[str, float]:
        language, probability = identifier.classify(line)
        return str(language), float(probability)

    return identify


def contamination(
    documents: Iterable[tuple[str, str]],
    targets: Sequence[str],
    identify: Identify,
    *,
    certainty: float = 0.9,
    minimum: int = 20,
    samples: int = 50,
    seed: int = 0,
) -> list[Contamination]:
    """Return what documents (name, text) hold of each target language. DataError for a text without a long enough line."""
    generator = np.random.default_rng(seed)
    codes = {base(target): target for target in targets}
    lines = words = short = 0
    found_lines, found_words = Counter[str](), Counter[str]()
    sample: dict[str, list[tuple[str, str]]] = {target: [] for target in targets}
    for name, text in documents:
        for line in filter(None, map(str.strip, text.splitlines())):
            if sum(map(str.isalpha, line)) < minimum:
                short += 1
                continue
            size = len(line.split())
            lines, words = lines + 1, words + size
            code, probability = identify(line)
            target = codes.get(code)
            if target is None or probability < certainty or not plausible_script(line, target):
                continue
            found_lines[target] += 1
            found_words[target] += size
            _keep(sample[target], (name, line), found_lines[target], samples, generator)
    if not lines:
        raise DataError(f"no line of the text has {minimum} letters or more: {short:,} are shorter. Lower --minimum.")
    found = []
    for target in targets:
        rate = wilson(found_lines[target], lines)
        assert rate.low is not None and rate.high is not None
        per_million = 1e6 * found_words[target] / words
        counts = (lines, words, short, found_lines[target], found_words[target])
        found.append(
            Contamination(target, *counts, rate.value, rate.low, rate.high, per_million, tuple(sample[target]))
        )
    return found


def corrected(found: Contamination, right: int, judged: int) -> Interval:
    """Return the rate of lines times the share of right lines among the judged ones. DataError if none was judged."""
    if not judged:
        raise DataError(f"no line of {found.language} is judged: write y or n before each line of the sheet.")
    share = wilson(right, judged)
    assert share.low is not None and share.high is not None
    return Interval(found.rate * share.value, found.low * share.low, found.high * share.high)


def _keep(
    kept: list[tuple[str, str]], line: tuple[str, str], number: int, most: int, generator: np.random.Generator
) -> None:
    """Keep a uniform sample of at most `most` lines: the number-th takes a random place (reservoir sampling)."""
    if len(kept) < most:
        kept.append(line)
    elif (place := int(generator.integers(number))) < most:
        kept[place] = line
