"""Mixtures of a few short documents."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from datasets import Dataset, Features, Sequence, Value

import tokenizers_in_memory as memory
from prealign.methods.switching.switch import CodeSwitcher
from prealign.text.blocks import Mixture
from prealign.text.clone import clone_language

EOS = 0


def tokens(documents: list[list[int]]) -> Dataset:
    rows = {
        "document": [f"{i}.txt" for i in range(len(documents))],
        "input_ids": documents,
        "bytes": [4 * len(ids) for ids in documents],
    }
    return Dataset.from_dict(rows, features=COLUMNS)


COLUMNS = Features({"document": Value("string"), "input_ids": Sequence(Value("int32")), "bytes": Value("int64")})


def numbered(lengths: list[int], first: int = 1) -> list[list[int]]:
    """Documents of these lengths in which no token comes twice."""
    ends = np.cumsum([first, *lengths]).tolist()
    return [list(range(a, b)) for a, b in pairwise(ends)]


def unswitched(**lengths: list[int]) -> Mixture:
    """A mixture of documents of these lengths; no token comes twice but EOS."""
    first, languages = 1, {}
    for language, sizes in lengths.items():
        languages[language] = tokens(numbered(sizes, first))
        first += sum(sizes)
    return Mixture(tokens=languages, source="en", eos=EOS)


def english(ratio: float = 0.5, seed: int = 0, mode: Any = "input_only") -> Mixture:
    """English with its clone, switched; the tokens of each are told apart by their number."""
    tokenizer = memory.load("byte_bpe")
    clone = clone_language(tokenizer)
    documents = [tokenizer.encode(line, add_special_tokens=False) for line in memory.EN.splitlines() if line]
    lexicon = clone.lexicon(["house", "the", "river", "water", "nobody", "market"])
    return Mixture(
        tokens={"en": tokens(documents), "en-clone": tokens([clone.map(ids).tolist() for ids in documents[:2]])},
        source="en",
        eos=tokenizer.eos_token_id,
        rewriters={"en": CodeSwitcher(tokenizer, lexicon, ratio=ratio, seed=seed, mode=mode)},
    )
