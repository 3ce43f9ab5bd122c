"""The recipe: every setting of an experiment, typed and strict.

A recipe describes text, lexicon, model and the two stages once; an *arm* (`prealign.recipe.arms`) is the same recipe with a
few settings changed, so that two arms differ in exactly what their names say.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from prealign.languages import CLONE_SUFFIX
from prealign.recipe.measures import EvaluateSection, KnowledgeSection, TransferTask
from prealign.recipe.methods import AlignSection, AnchorSection, SustainSection, SwitchSection
from prealign.recipe.section import Count, Positive, Rate, Section, Seed, Share

SegmenterName = Literal["auto", "whitespace", "rjieba", "icu", "longest_match"]


class SourceText(Section):
    """The language the model is mostly trained on, and which code-switching replaces words of."""

    language: str = "en"
    text: list[str] = Field(min_length=1)
    """Files, folders or globs (.txt; .html, .htm or .xhtml; .jsonl: a document a line, key `text`; each may be gzipped),
    `package:NAME` (its .txt files), or `hub:OWNER/NAME` (see `prealign.text.hub`)."""
    documents: Literal["file", "line"] = "file"
    """What a document of a file of text or HTML is; a line of HTML is a paragraph."""


class TargetText(Section):
    """A language that is to profit. `xx-clone` needs no text: it is the source language with every token id swapped."""

    language: str
    text: list[str] = Field(default=[])
    documents: Literal["file", "line"] = "file"
    share: Share = 0.05
    """Clone only: share of the source's training documents that become clone text (and leave the source)."""
    segmenter: SegmenterName = "auto"
    """What finds the words of text without spaces. auto: rjieba or icu if installed, whichever fits the language, else
    longest_match (the longest words of `lexicon.files`); whitespace for languages with spaces."""

    @model_validator(mode="after")
    def _text_or_clone(self) -> TargetText:
        if self.is_clone == bool(self.text):
            raise ValueError(
                "a clone is made from the source text: remove `text`" if self.is_clone else "`text` is missing"
            )
        return self

    @property
    def is_clone(self) -> bool:
        """Whether this is the clone of the source language."""
        return self.language.endswith(CLONE_SUFFIX)


class SplitSection(Section):
    """How many whole documents are held out and trained on, per language; the choice depends on `seed` alone."""

    validation: Positive = 8
    test: Positive = 16
    seed: Seed = 0
    train: Annotated[int, Field(ge=2)] | None = None
    """At most this many of the other documents are trained on, a clone's among them; None: all. Those of a smaller
    number are part of those of a larger one."""


class TokenizerSection(Section):
    """A pretrained fast tokenizer (`path`: folder or hub id), or a byte-level BPE trained on the training text."""

    path: str | None = None
    vocab_size: Positive = 4000
    extend: Count = 0
    """New tokens for that of `path` (a BPE), learned on the targets' training text; the source's is tokenised as before."""
    temperature: Annotated[float, Field(ge=1)] = 1.0
    """What tokens are learned on: a language with the share q of the text counts as q^(1/temperature); 1: as it is."""


class LexiconFile(Section):
    """One dictionary file, from the source language to `target`."""

    path: str
    target: str
    format: str | None = None
    """muse, tsv, csv, panlex, ding, cedict, edict, dictd, stardict, tmx, dix, kaikki, paper_pairs, paper_words,
    paper_indexed or jsonl; None: recognised from the content."""
    turned: bool = False
    """Whether a file of two columns goes from `target` to the source."""
    columns: Annotated[list[int | str], Field(min_length=2, max_length=2)] | None = None
    """The two columns of a table, the source's first: numbers from 1, or names of its header."""
    reverse: str | None = None
    """A dictionary from `target` to the source: only translations that it translates back are kept."""


class LexiconSection(Section):
    """Stage 0. Clone targets get their perfect dictionary from the corpus; others read `files`."""

    files: list[LexiconFile] = Field(default=[])
    minimum_count: Positive = 5
    """Source words rarer than this in the training text are left out."""
    maximum_senses: Positive = 4
    """At most this many translations a word and target language (the first ones win)."""
    sense_order: Literal["file", "frequency"] = "file"
    """Which translations are first: as in the files, or those most frequent in the target's training text."""
    case: Literal["file", "text"] = "file"
    """How translations are written. text: in the case that the target's training text has most often (haus: Haus), for
    dictionaries that are all in lower case, such as MUSE; what the text lacks stays as it is."""
    normalise: Literal["none", "arabic"] = "none"
    """How words of the lexicon are compared with text. arabic: those of Arabic without vowel signs and tatweel, with plain
    alef; no text is rewritten."""
    inflect: bool = False
    """Whether switching also replaces regular English forms that the dictionary lacks (-s, -ed, -ing, -er, -est), by
    translations of their base."""
    coverage: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the words not held out that is used, drawn by seed."""
    held_out: Share = 0.05
    """Share of the dictionary's words that neither stage ever sees; retrieval is measured on them separately."""
    wrong: Share = 0.0
    """Share of each target's words for training, drawn by seed, that get each other's translations. Retrieval is measured
    on the true ones."""


class BitextFile(Section):
    """Parallel text of the source language and `target`: two files, a sentence a line, or one file that has both."""

    target: str
    source_file: str | None = None
    target_file: str | None = None
    """Line n of `target_file` translates line n of `source_file` (Moses, OPUS)."""
    path: str | None = None
    """One file: TMX; JSONL with a text for each language tag, also inside `translation`; or two tab-separated columns, the
    source's first. Recognised from the content."""

    @model_validator(mode="after")
    def _one_file_or_two(self) -> BitextFile:
        two = (self.source_file, self.target_file)
        if self.path and any(two):
            raise ValueError("has `path` and another file: set either `path`, or `source_file` and `target_file`")
        if not self.path and not all(two):
            raise ValueError("has no text: set `path` (one file), or both `source_file` and `target_file`")
        if self.source_file and self.source_file == self.target_file:
            raise ValueError(f"{self.source_file!r} is both sides: name two files")
        return self

    @property
    def paths(self) -> list[str]:
        """The file, or the source's and the target's."""
        return [path for path in (self.path, self.source_file, self.target_file) if path]


class BitextSection(Section):
    """Parallel text, for the methods that train on it. Sentences of the tests and of held-out documents are left out.

    A clone target makes its own: sentences of the source's training text and their twin ids.
    """

    files: list[BitextFile] = Field(default=[])
    limit: Positive | None = None
    """At most this many pairs of sentences a target language, the first ones; None: all."""
    max_tokens: Positive | None = None
    """Pairs with a longer sentence are left out and counted; None: pretrain.context - 2, which leaves room for BOS, EOS."""

    def longest(self, context: int) -> int:
        """Return the tokens of the longest sentence that is kept."""
        return self.max_tokens or context - 2


class ModelSection(Section):
    """The causal LM: a preset, a Hugging Face config folder, or a pretrained checkpoint."""

    preset: Literal["nano", "micro", "mini", "70m", "150m", "400m", "1b"] | None = "nano"
    config: str | None = None
    pretrained: str | None = None
    tie_embeddings: bool = False
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    trust_remote_code: bool = False


class MixtureSection(Section):
    """What stage 2 (and L_LM of stage 1) reads."""

    languages: Literal["all", "targets"] = "all"
    clone_ids: Literal["twin", "merged"] = "twin"
    """`merged` maps the clone back to source ids: perfect alignment by construction, the upper bound."""
    temperature: Annotated[float, Field(ge=1)] = 1.0
    """A language with the share q of the text is read with a share that goes as q^(1/temperature): 1 reads every document
    equally often, more reads small languages several times, and large ones not to the end."""
    weights: dict[str, Rate] = Field(default={})
    """Or the shares of tokens themselves, a number for each language in relation to the others."""

    @property
    def clone_in_source_ids(self) -> bool:
        """Whether the clone's text is read in the source's ids."""
        return self.clone_ids == "merged"


class PretrainSection(Section):
    """Stage 2. Arms without stage 1 get its FLOPs as extra steps; `steps` is the recipe of an arm that has it."""

    steps: Positive = 1000
    batch_size: Positive = 16
    context: Annotated[int, Field(ge=8)] = 128
    learning_rate: Rate = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    warmup: Share = 0.05
    validations: Positive = 8
    """How often validation perplexity is measured over the course of the stage."""
    validation_blocks: Positive = 64
    freeze_body: bool = False
    """Whether only the embeddings, input and output, are trained in this stage."""


class CheckpointSection(Section):
    """What a run that was killed goes on from. It changes no result, and no fingerprint."""

    every: Count = 1000
    """Steps between two checkpoints of a stage that trains; 0: none, a stage that was killed starts anew."""
    keep: Positive = 2
    """The newest so many are kept while the stage trains; when it is finished, none."""


class Variant(Section):
    """An arm of one's own: a named arm with settings (dotted keys) changed."""

    extends: str
    set: dict[str, Any]


_NAME = r"^[A-Za-z0-9_.-]+$"


class Recipe(Section):
    """A whole experiment."""

    name: Annotated[str, Field(pattern=_NAME)]
    seeds: list[Seed] = Field(default=[0], min_length=1)
    arms: list[str] = Field(default=["joint", "prealign"], min_length=1)
    baseline: str = "joint"
    jobs: Positive = 1
    """Arms trained side by side, each on its share of the cores."""
    processes: Positive = 1
    """Processes that tokenise text, count its words, switch and pack it. They change no result, and no fingerprint."""
    source: SourceText
    targets: list[TargetText] = Field(min_length=1)
    split: SplitSection = SplitSection()
    tokenizer: TokenizerSection = TokenizerSection()
    lexicon: LexiconSection = LexiconSection()
    bitext: BitextSection | None = None
    model: ModelSection = ModelSection()
    align: AlignSection = AlignSection()
    switch: SwitchSection = SwitchSection()
    sustain: SustainSection = SustainSection()
    anchor: AnchorSection = AnchorSection()
    mixture: MixtureSection = MixtureSection()
    pretrain: PretrainSection = PretrainSection()
    knowledge: KnowledgeSection | None = None
    evaluate: EvaluateSection = EvaluateSection()
    method: Annotated[str, Field(pattern=_NAME)] = "prealign"
    """What an arm trains by. The arm decides it: name the method in `arms`."""
    methods: dict[str, dict[str, Any]] = Field(default={})
    """Settings of methods, by name (`prealign.recipe.registry`)."""
    transfer: list[TransferTask] = Field(default=[])
    """Zero-shot cross-lingual transfer: each task is fine-tuned from the final model and tested in every language."""
    checkpoint: CheckpointSection = CheckpointSection()
    variants: dict[str, Variant] = Field(default={})
    trainer: dict[str, Any] = Field(default={})
    """Passed on to `transformers.TrainingArguments` (report_to, fsdp, deepspeed, dataloader_num_workers …)."""
