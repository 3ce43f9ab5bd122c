"""The recipe sections of the measures: knowledge, language modelling, retrieval, transfer."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from prealign.recipe.section import Count, Name, Positive, Rate, Section, Seed, Share


class PrimarySection(Section):
    """The primary comparison: the one test that is named before the run, and whose p is not corrected. It compares test
    perplexities of an arm and the baseline. All other comparisons are corrected for their number."""

    arm: str = "prealign"
    """The arm. Without it in `arms` there is no primary comparison."""
    language: str | None = None
    """The target language. null: the first of `targets`."""


class KnowledgeSection(Section):
    """Cross-lingual knowledge: made-up facts are written in source text and asked in every language with templates."""

    exposures: list[Positive] = Field(default=[1, 4, 16, 64], min_length=1)
    """Numbers of exposures: how often a fact is stated in one pass over the training text. Each number gets `facts`
    facts per relation."""
    facts: Positive = 20
    """Facts per relation and number of exposures. The same number of control facts is never stated."""
    objects: Positive = 10
    """Objects of a type in each half (names in the lexicon, names outside it). Each is the answer to equally many facts."""
    candidates: Annotated[int, Field(ge=2)] = 10
    """Objects ranked for a question, including the true one. Chance is 1 / candidates."""
    names_in_lexicon: Share = 0.5
    """Share of the facts with names that the lexicon translates one-to-one. Other names are never switched or aligned."""
    two_hop: Count = 0
    """Number of exposures of the second fact of a two-hop chain, in target training text. 0: no two-hop questions."""
    templates: str | None = None
    """YAML file of templates in the form of `prealign/recipe/facts.yaml`. null: that file, which is English."""
    seed: Seed = 0
    """Seed of the names and facts."""

    @property
    def halves(self) -> dict[str, int]:
        """Facts per relation and number of exposures in each half, "lexicon" and "outside". Empty halves are left out."""
        inside = round(self.names_in_lexicon * self.facts)
        return {half: n for half, n in (("lexicon", inside), ("outside", self.facts - inside)) if n}


class TestDictionary(Section):
    """A test dictionary from the source language to `target`. Its words are never aligned or switched; see `strict`."""

    path: str
    """Path of the file."""
    target: str
    """Target language of the dictionary: one of `targets`."""
    format: str | None = None
    """As in `lexicon.files`."""
    turned: bool = False
    """As in `lexicon.files`."""
    columns: Annotated[list[int | str], Field(min_length=2, max_length=2)] | None = None
    """As in `lexicon.files`."""


class SentenceSet(Section):
    """Parallel sentences: one file per language, one sentence per line. Line i has the same meaning in every file."""

    name: Name
    """Name of the set in results and report."""
    files: dict[str, str]
    """File of each language. Clone sentences are made from the source's."""
    limit: Positive | None = None
    """Maximum number of lines; the first ones are used. MEXA falls with the number of sentences, so compare equal
    numbers only. null: all lines."""


class MixingSection(Section):
    """Mixing of languages: probability of other languages' tokens, and written words of the wrong language."""

    prompts: Positive = 64
    """Test documents of each language that the model continues."""
    prompt: Positive = 16
    """Tokens of a document that it continues from. Shorter documents are left out."""
    tokens: Positive = 32
    """Tokens that it writes."""
    seed: Seed = 0
    """Seed of the drawn tokens."""


class EvaluateSection(Section):
    """Measures on held-out data: perplexity and retrieval."""

    stride: Positive | None = None
    """Tokens by which the perplexity window moves. Every token is scored once, after at least context - stride earlier
    tokens (fewer at the start of a document). null: half the context."""
    batch_size: Positive = 32
    """Sequences per forward pass."""
    retrieval_words: Positive = 1000
    """Maximum number of word pairs of each kind (seen, held-out) in word retrieval, drawn by seed."""
    csls_neighbours: Positive = 10
    """Number of neighbours in CSLS."""
    dynamics: Count = 0
    """Number of measurements of word retrieval over the course of each stage, at log-spaced steps that include the
    first and the last. 0: none."""
    dynamics_words: Positive = 200
    """Maximum number of word pairs of each kind in these measurements, drawn by seed."""
    dictionaries: list[TestDictionary] = Field(default=[])
    """Test dictionaries for word retrieval. Their source words leave the training lexicon, whichever file they come from."""
    strict: bool = True
    """Whether the answers of test dictionaries leave the training lexicon too, as translations of any word. false: an answer
    may be trained as the translation of another word. Scores are given by what was trained in both cases."""
    candidates: Positive = 5000
    """Candidates in retrieval from test dictionaries: this many most frequent words of each language's training text,
    plus the queries. Words rarer than `lexicon.minimum_count` are no candidates."""
    sentences: list[SentenceSet] = Field(default=[])
    """Parallel sentences for sentence retrieval, per layer."""
    mixing: MixingSection | None = None
    """Mixing of languages, in language modelling and in writing. null: not measured."""


class PassagesSection(Section):
    """Labelled passages from the documents of the run. The class of a document follows from its name."""

    classes: str
    """Regular expression, searched in document names. Its named groups are the classes. Documents without a match are
    left out."""
    tokens: Annotated[int, Field(ge=2)] = 64
    """Length of a passage in tokens."""
    train_examples: Positive = 3000
    """Number of training passages, from the source's training documents, equally many per class."""
    test_examples: Positive = 1500
    """Number of test passages per language, from its test documents, equally many per class."""

    @field_validator("classes")
    @classmethod
    def _named_groups(cls, pattern: str) -> str:
        try:
            named = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        if len(named) < 2:
            raise ValueError(
                "needs a named group for each of two or more classes, as in (?P<early>17|18)|(?P<late>19|20)"
            )
        return pattern


class TransferTask(Section):
    """A classification task: fine-tuned on source-language data, tested in every language.

    The data come from files (`train`, `tests`) or from `passages`. Files are .jsonl, or tab-separated without quoting.
    A tab-separated file has a header, or `columns` names its columns.
    """

    name: Name
    """Name of the task in results and report."""
    train: str | None = None
    """Training file in the source language."""
    tests: dict[str, str] = Field(default={})
    """Test file of each language. A clone's test is made from the source's."""
    columns: list[str] | None = None
    """Column names of files without a header. null: the files have a header."""
    text: str = "text"
    """Column of the text, or of the first sentence."""
    pair: str | None = None
    """Column of the second sentence, for tasks on sentence pairs. null: single texts."""
    label: str = "label"
    """Column of the class."""
    parallel: bool = True
    """Whether row i is the same item in every test file. If so, transfer gaps are paired over items, and sentence pairs
    are also tested in mixed languages."""
    limit: Positive | None = None
    """Maximum number of training examples, drawn by seed. null: all."""
    passages: PassagesSection | None = None
    """Passages from the run's documents, instead of files."""
    epochs: Positive = 2
    """Passes over the training examples in fine-tuning."""
    batch_size: Positive = 32
    """Examples per step in fine-tuning."""
    learning_rate: Rate = 3e-4
    """Peak learning rate of AdamW in fine-tuning."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Weight decay of AdamW in fine-tuning."""
    warmup: Share = 0.1
    """Share of the fine-tuning steps in which the learning rate rises from 0 to its peak."""
    max_tokens: Positive | None = None
    """Maximum length of an example in tokens. Longer ones are cut, and counted. null: pretrain.context."""

    @model_validator(mode="after")
    def _one_source(self) -> TransferTask:
        if (self.train is None) == (self.passages is None):
            raise ValueError("has no data, or two kinds: set either `train` and `tests` (files) or `passages`")
        unused = [key for key in ("tests", "columns", "pair", "limit") if getattr(self, key)] if self.passages else []
        if unused:
            raise ValueError(f"{', '.join(unused)}: for files only, and this task has passages")
        return self
