"""The sections of the recipe that say what is measured: knowledge, language modelling and retrieval, transfer."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from prealign.recipe.section import Count, Positive, Rate, Section, Seed, Share


class KnowledgeSection(Section):
    """Made-up facts, written in source training text and asked in every language that has templates."""

    exposures: list[Positive] = Field(default=[1, 4, 16, 64], min_length=1)
    """How often a fact is written in one pass over the training text; each gives `facts` facts a relation."""
    facts: Positive = 20
    """Facts a relation and number of exposures; as many again are never taught (the control)."""
    objects: Positive = 10
    """Objects a type has in each half (names in the lexicon, names outside); each is the answer of equally many facts."""
    candidates: Annotated[int, Field(ge=2)] = 10
    """Objects of the type that are ranked, the true one among them; chance is 1 / candidates."""
    names_in_lexicon: Share = 0.5
    """Share of the facts whose names the lexicon has, one-to-one; those of the others are never switched nor aligned."""
    two_hop: Count = 0
    """How often the second fact of a chain is written in target training text; 0 leaves out questions of two hops."""
    templates: str | None = None
    """A YAML file like `prealign/recipe/facts.yaml`, which is read if there is none and has English only."""
    seed: Seed = 0

    @property
    def halves(self) -> dict[str, int]:
        """Facts a relation and number of exposures by where their names are: "lexicon", "outside"; none without facts."""
        inside = round(self.names_in_lexicon * self.facts)
        return {half: n for half, n in (("lexicon", inside), ("outside", self.facts - inside)) if n}


class TestDictionary(Section):
    """A dictionary of words that are asked for and never aligned nor switched, from the source language to `target`."""

    path: str
    target: str
    format: str | None = None
    turned: bool = False
    columns: Annotated[list[int | str], Field(min_length=2, max_length=2)] | None = None
    """All three as in lexicon.files."""


class SentenceSet(Section):
    """Parallel sentences: one file a language, a sentence a line; line i means the same in every file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    files: dict[str, str]
    """File by language. A clone's sentences are made from the source's."""
    limit: Positive | None = None
    """At most this many lines, the first ones: MEXA falls with the number of sentences, which has to be told."""


class EvaluateSection(Section):
    """What is measured on held-out data, after training."""

    stride: Positive | None = None
    """Tokens a perplexity window moves on; None: half the context. Every token is scored once, after at least
    context - stride others."""
    batch_size: Positive = 32
    retrieval_words: Positive = 1000
    """At most this many pairs of each kind (seen, held-out) are retrieved, drawn by seed."""
    csls_neighbours: Positive = 10
    dynamics: Count = 0
    """How often word retrieval per layer is measured over the course of each stage, at log-spaced steps, the first and the
    last among them; 0: never."""
    dynamics_words: Positive = 200
    """At most this many pairs of each kind are retrieved there, drawn by seed."""
    dictionaries: list[TestDictionary] = Field(default=[])
    """Words that are retrieved and never trained on: their source words leave the lexicon, whatever file they come from."""
    candidates: Positive = 5000
    """Words of a test dictionary are retrieved among this many words of each language's training text, the most frequent
    that it has lexicon.minimum_count times; the words asked for come to them."""
    sentences: list[SentenceSet] = Field(default=[])
    """Parallel sentences to retrieve, per layer."""


class PassagesSection(Section):
    """Labelled passages of the run's own documents: what a document is follows from its name."""

    classes: str
    """Regular expression, searched in document names; its named groups are the classes. Other documents are left out."""
    tokens: Annotated[int, Field(ge=2)] = 64
    """Length of a passage."""
    train_examples: Positive = 3000
    """Out of the source's training documents; as many of each class."""
    test_examples: Positive = 1500
    """Out of the test documents, per language; as many of each class."""

    @field_validator("classes")
    @classmethod
    def _named_groups(cls, pattern: str) -> str:
        try:
            named = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        if len(named) < 2:
            raise ValueError(
                "needs a named group for each of two or more classes, as in (?P<early>17|18)|(?P<late>19|20)"
            )
        return pattern


class TransferTask(Section):
    """A classification task: fine-tuned on source-language data, tested in every language.

    Its data are files (`train`, `tests`) or `passages`. Files are .jsonl, or tab-separated without quoting, with a header
    or with their columns named here.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    train: str | None = None
    tests: dict[str, str] = Field(default={})
    """Test file by language. A clone's test is made from the source's."""
    columns: list[str] | None = None
    """Names of the columns of those files that have no header."""
    text: str = "text"
    pair: str | None = None
    """Column of the second sentence, for tasks on sentence pairs."""
    label: str = "label"
    parallel: bool = True
    """Row i of every test file is the same item: gaps are paired over items, and pairs are tested in mixed languages."""
    limit: Positive | None = None
    """At most this many training examples, drawn by seed."""
    passages: PassagesSection | None = None
    epochs: Positive = 2
    batch_size: Positive = 32
    learning_rate: Rate = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    warmup: Share = 0.1
    max_tokens: Positive | None = None
    """Longer examples are cut, and counted; None: pretrain.context."""

    @model_validator(mode="after")
    def _one_source(self) -> TransferTask:
        if (self.train is None) == (self.passages is None):
            raise ValueError("has no data, or two kinds: set either `train` and `tests` (files) or `passages`")
        unused = [key for key in ("tests", "columns", "pair", "limit") if getattr(self, key)] if self.passages else []
        if unused:
            raise ValueError(f"{', '.join(unused)}: of files only, and this task is made of passages")
        return self
