"""Code-switching: source tokens per second on one core.

Measured is `CodeSwitcher.switch` at ratio 0.05 on the demo's training documents, with a byte-level BPE of 4,000 tokens and
a lexicon of over 50,000 words: the clone of every word of the corpus in each of its cases. The target is 20 million source
tokens a second.

The reference is a straightforward loop over the tokens of the same documents: it collects each word, looks its tokens up in
a dict, draws one number from the same generator and writes inputs and labels. Both give the same arrays, which is checked.
The target is 20 times its speed.

Rows without a target: the same loop spared its random numbers, which are drawn for it beforehand, off the clock; all
documents as one array of millions of tokens, to show what length costs; and the text cut into documents of 1,000
tokens, to show what a call costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

from benchmarks.figures import ROUNDS, Target, alternate, figure, one_core, rates
from benchmarks.material import SEED, Material
from prealign.lexicon import Lexicon
from prealign.methods.switching.switch import IGNORE, CodeSwitcher
from prealign.text.clone import clone_language
from prealign.text.corpus import count_words

OVERRIDES = ("tokenizer.vocab_size=4000",)
RATIO = 0.05
LEAST_ENTRIES = 50_000

_SHORT = 1000
_QUICK_DOCUMENTS = 10


def run(material: Material, quick: bool) -> list[dict[str, Any]]:
    """Measure; `material` has OVERRIDES."""
    lexicon = _lexicon(material)
    switcher = CodeSwitcher(material.prepared.tokenizer, lexicon, ratio=RATIO, seed=SEED)
    documents = material.documents[-_QUICK_DOCUMENTS:] if quick else material.documents
    joined = np.concatenate(documents)
    short = np.split(joined, range(_SHORT, len(joined), _SHORT))
    loop = Loop.of(switcher)
    numbers = [
        _generator(number).random(int(switcher.words.starts(ids).sum()), dtype=np.float32).tolist()
        for number, ids in enumerate(documents)
    ]
    _check(switcher, loop, documents)
    works = (
        lambda: [switcher.switch(ids, document=number) for number, ids in enumerate(documents)],
        lambda: [loop.switch(ids, _one_by_one(number)) for number, ids in enumerate(documents)],
        lambda: [loop.switch(ids, iter(given)) for ids, given in zip(documents, numbers, strict=True)],
        lambda: switcher.switch(joined),
        lambda: [switcher.switch(ids, document=number) for number, ids in enumerate(short)],
    )
    with one_core():
        taken = alternate(works, rounds=2 if quick else ROUNDS)
    ours, theirs, spared, long, cut = (rates(len(joined), t) for t in taken)
    unit = "tokens/s"
    against = "a loop over the tokens"
    return [
        figure(
            f"CodeSwitcher.switch, {len(lexicon):,} lexicon words", unit, ours, target=Target("value", "≥", 20_000_000)
        ),
        figure("against the loop", unit, ours, references=theirs, against=against, target=Target("ratio", "≥", 20)),
        figure(
            "against the loop, its numbers given",
            unit,
            ours,
            references=spared,
            against=f"{against}, random numbers given",
        ),
        figure("all documents as one array", unit, long, references=ours, against="whole documents"),
        figure(f"documents of {_SHORT:,} tokens", unit, cut, references=ours, against="whole documents"),
    ]


def _lexicon(material: Material) -> Lexicon:
    """Return the clone of all words of the source text in all their cases."""
    tokenizer, language = material.prepared.tokenizer, material.recipe.source.language
    words = count_words(material.prepared.tokens(language, "train"), tokenizer)
    forms = {form for word in words for form in (word, word.lower(), word.capitalize(), word.upper())}
    assert len(forms) >= LEAST_ENTRIES, f"the text has only {len(forms)} word forms"
    return clone_language(tokenizer).lexicon(sorted(forms), source=language)


def _generator(document: int) -> np.random.Generator:
    """Return the generator that `CodeSwitcher` uses for a document of epoch 0."""
    key = [xxhash.xxh64_intdigest(f"{SEED}/0".encode()), document]
    return np.random.Generator(np.random.Philox(key=key))


def _one_by_one(document: int) -> Iterator[float]:
    generator = _generator(document)
    while True:
        yield float(generator.random(dtype=np.float32))


def _check(switcher: CodeSwitcher, loop: Loop, documents: list[np.ndarray]) -> None:
    for number, ids in enumerate(documents):
        ours = switcher.switch(ids, document=number)
        inputs, labels = loop.switch(ids, _one_by_one(number))
        assert np.array_equal(ours.input_ids, inputs), f"inputs of document {number} differ"
        assert np.array_equal(ours.labels, labels), f"labels of document {number} differ"


@dataclass(frozen=True)
class Loop:
    """The reference: word boundaries and the dictionary as Python lists and dicts.

    translations: a word's tokens -> for each target language, the tokens of each translation.
    """

    tail: list[int]
    head: list[int]
    boundary: list[bool]
    translations: dict[tuple[int, ...], list[list[list[int]]]]

    @classmethod
    def of(cls, switcher: CodeSwitcher) -> Loop:
        """Take the tables of a switcher apart."""
        words, table = switcher.words, switcher.table
        senses = [row.tolist() for row in table.translations]
        slots = [senses[a : a + n] for a, n in zip(table.first_sense, table.senses, strict=True)]
        entries = [slots[a:b] for a, b in zip(table.languages[:-1], table.languages[1:], strict=True)]
        keys = [tuple(row.tolist()) for row in table.sources]
        lists = (words.tail.tolist(), words.head.tolist(), words.boundary.tolist())
        return cls(*lists, translations=dict(zip(keys, entries, strict=True)))

    def switch(self, ids: np.ndarray, numbers: Iterator[float]) -> tuple[np.ndarray, np.ndarray]:
        """Return (input_ids, labels) of a document, with one of `numbers` for each word."""
        inputs: list[int] = []
        labels: list[int] = []
        word: list[int] = []
        for token in ids.tolist():
            if word and self.boundary[self.tail[word[-1]] + self.head[token]]:
                self._write(word, next(numbers), inputs, labels)
                word = []
            word.append(token)
        if word:
            self._write(word, next(numbers), inputs, labels)
        return np.array(inputs), np.array(labels)

    def _write(self, word: list[int], u: float, inputs: list[int], labels: list[int]) -> None:
        languages = self.translations.get(tuple(word))
        if languages is None or u >= RATIO:
            inputs.extend(word)
            labels.extend(word)
            return
        x = u / RATIO * len(languages)
        language = min(int(x), len(languages) - 1)
        senses = languages[language]
        substitute = senses[min(int((x - language) * len(senses)), len(senses) - 1)]
        inputs.extend(substitute)
        labels.append(word[0])
        labels.extend([IGNORE] * (len(substitute) - 1))
