"""The recipe: every setting of an experiment, typed and strict.

A recipe describes text, lexicon, model and the two stages. An *arm* (`prealign.recipe.arms`) is the same recipe with a
few settings changed: two arms differ only in the settings that their names state.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from prealign.languages import CLONE_SUFFIX
from prealign.recipe.measures import EvaluateSection, KnowledgeSection, PrimarySection, TransferTask
from prealign.recipe.methods import (
    AlignSection,
    AnchorSection,
    NextWordSection,
    SustainSection,
    SwitchSection,
    TwinAdamSection,
    TwinMaskSection,
)
from prealign.recipe.presets import PRESET_SETTINGS
from prealign.recipe.section import Count, Name, Positive, Rate, Section, Seed, Share, Tag

SegmenterName = Literal["auto", "whitespace", "rjieba", "icu", "longest_match"]


class SourceText(Section):
    """The source language: most training text is in it, and code-switching replaces its words."""

    language: Tag = "en"
    """Language tag, such as `en`."""
    text: list[str] = Field(min_length=1)
    """Files, folders or globs (.txt; .html, .htm or .xhtml; .jsonl with one document per line, key `text`; each may be
    gzipped; links are followed, and each folder is read once), `package:NAME` (the .txt files of a Python package), or
    `hub:OWNER/NAME` (a dataset, see `prealign.text.hub`)."""
    documents: Literal["file", "line"] = "file"
    """Whether each text or HTML file is one document, or each line of it (in HTML: each paragraph)."""


class TargetText(Section):
    """A target language. The clone `xx-clone` of source `xx` needs no text: it is source text with other token ids."""

    language: Tag
    """Language tag, such as `de`, or the clone of the source language, such as `en-clone`."""
    text: list[str] = Field(default=[])
    """Text of the language, as in `source.text`. A clone has none."""
    documents: Literal["file", "line"] = "file"
    """As in `source.documents`."""
    share: Share = 0.05
    """Share of the source's training documents that become clone text and leave the source text. Clones only."""
    segmenter: SegmenterName = "auto"
    """Word segmenter. `auto` is `whitespace` for languages with spaces. For others it is rjieba or icu, if one that
    fits the language is installed, else `longest_match` (the longest words of `lexicon.files`)."""

    @model_validator(mode="after")
    def _text_or_clone(self) -> TargetText:
        if self.is_clone == bool(self.text):
            raise ValueError(
                "a clone is made from the source text: remove `text`" if self.is_clone else "`text` is missing"
            )
        return self

    @property
    def is_clone(self) -> bool:
        """Whether the language is the clone of the source language."""
        return self.language.endswith(CLONE_SUFFIX)


class SplitSection(Section):
    """The split of each language's documents into validation, test and training."""

    validation: Positive = 8
    """Number of whole documents for validation, per language."""
    test: Positive = 16
    """Number of whole documents for test, per language."""
    seed: Seed = 0
    """Seed of the split. The seeds of the arms do not change it."""
    train: Annotated[int, Field(ge=2)] | None = None
    """Maximum number of training documents per language; a clone's documents count for the source. null: all other
    documents. The documents of a smaller number are among those of a larger number."""


class TokenizerSection(Section):
    """The tokenizer of all languages: a pretrained fast tokenizer, or a byte-level BPE trained on the training text."""

    path: str | None = None
    """Folder or hub id of a pretrained fast tokenizer. null: train a byte-level BPE."""
    revision: str | None = None
    """Commit, branch or tag of the hub id `path`. null: main. A run records and keeps its commit."""
    vocab_size: Positive = 4000
    """Vocabulary size of the trained BPE, in tokens. It has no effect with `path`."""
    bos: bool | None = None
    """Whether every document begins with the tokenizer's BOS, in training, perplexity and sentences alike. null: only
    if the tokenizer itself puts BOS before a text, as those of Llama and Gemma do."""
    extend: Count = 0
    """Number of new tokens to add to the tokenizer of `path`, which must be a BPE. They are learned on the targets'
    training text; source text keeps its tokens. 0 adds none."""
    temperature: Annotated[float, Field(ge=1)] = 1.0
    """Balance of languages when tokens are learned: a language with share q of the text gets a weight in proportion to
    q^(1/temperature). 1 uses the text unchanged; higher values give small languages more weight."""


class LexiconFile(Section):
    """One dictionary file from the source language to `target`."""

    path: str
    """Path of the file."""
    target: str
    """Target language of the dictionary: one of `targets`."""
    format: str | None = None
    """muse, tsv, csv, panlex, ding, cedict, edict, dictd, stardict, tmx, dix, kaikki, paper_pairs, paper_words,
    paper_indexed or jsonl. null: detect the format from the content."""
    turned: bool = False
    """Whether the file has the opposite direction, from `target` to the source. Only for formats with two columns."""
    columns: Annotated[list[int | str], Field(min_length=2, max_length=2)] | None = None
    """The two columns of a table, source word first: numbers from 1, or names of its header. null: detect them."""
    reverse: str | None = None
    """Path of a second dictionary, from `target` to the source. A translation is kept only if this dictionary
    translates it back. null: no such check."""


class LexiconSection(Section):
    """Stage 0: the lexicon. A clone target gets a perfect dictionary from the corpus; other targets read `files`."""

    files: list[LexiconFile] = Field(default=[])
    """Dictionary files. Every target except a clone needs at least one."""
    minimum_count: Positive = 5
    """Minimum frequency of a source word in the training text. Rarer words are left out of the lexicon."""
    maximum_senses: Positive = 4
    """Maximum number of translations per word and target language. The first ones in `sense_order` are kept."""
    sense_order: Literal["file", "frequency"] = "file"
    """Order of translations: as in the files, or by frequency in the target's training text."""
    case: Literal["file", "text"] = "file"
    """Case of translations. `text` uses the most frequent case in the target's training text (haus becomes Haus), for
    dictionaries in lower case such as MUSE; words missing from the text stay unchanged. `file` changes nothing."""
    normalise: Literal["none", "arabic"] = "none"
    """Comparison of lexicon words with text. `arabic` ignores vowel signs, tatweel and forms of alef in Arabic words.
    The text itself is not rewritten. `none` compares exactly."""
    inflect: bool = False
    """Whether code-switching also replaces regular English forms that the dictionary lacks (-s, -ed, -ing, -er, -est),
    by translations of their base form."""
    coverage: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the words not held out that training uses, drawn by seed. 1 uses all."""
    held_out: Share = 0.05
    """Share of the lexicon's words that no training stage uses, drawn by seed. Retrieval is measured on them separately."""
    wrong: Share = 0.0
    """Share of each target's training words that get wrong translations, those of other words; drawn by seed. Retrieval
    is measured with the true translations. 0 changes none."""


class BitextFile(Section):
    """Parallel text of the source language and `target`: two files, a sentence a line, or one file that has both."""

    target: str
    """Target language of the parallel text: one of `targets`."""
    source_file: str | None = None
    """File of the source's sentences, with `target_file`."""
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
    """The causal LM: exactly one of `preset`, `config` and `pretrained`."""

    preset: Literal["nano", "micro", "mini", "70m", "150m", "400m", "1b"] | None = "nano"
    """A Llama architecture of this size with random weights. Its settings (`prealign.recipe.presets`) replace the defaults
    of `pretrain`, `align`, `anchor` and `model`. With `config` or `pretrained` the default is null."""
    config: str | None = None
    """Folder or hub id of a Hugging Face config. The model starts with random weights."""
    pretrained: str | None = None
    """Folder or hub id of a pretrained checkpoint. It also needs `tokenizer.path`."""
    revision: str | None = None
    """Commit, branch or tag of the hub id in `config` or `pretrained`. null: main. A run records and keeps its commit."""
    tie_embeddings: bool = False
    """Whether input and output embedding share one matrix. Presets only; other models follow their config."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention implementation of transformers."""
    trust_remote_code: bool = False
    """Whether transformers may run Python code that comes with the model or tokenizer. Allow it only for code you trust."""

    @model_validator(mode="after")
    def _one_model(self) -> ModelSection:
        if "preset" not in self.model_fields_set and (self.config or self.pretrained):
            self.__dict__["preset"] = None
        return self


class MixtureSection(Section):
    """The text mixture of stage 2, and of L_LM in stage 1."""

    languages: Literal["all", "targets"] = "all"
    """Languages of the mixture: source and targets, or targets alone."""
    clone_ids: Literal["twin", "merged"] = "twin"
    """Token ids of clone text. `twin` gives every token a new id. `merged` keeps the source ids: perfect alignment by
    construction, the upper bound."""
    temperature: Annotated[float, Field(ge=1)] = 1.0
    """Balance of languages: a language with share q of the text gets a share of the tokens in proportion to
    q^(1/temperature). 1 reads all documents equally often. Higher values repeat small languages and cut large ones
    short."""
    weights: dict[str, Rate] = Field(default={})
    """Relative share of tokens for each language, for example {en: 9, de: 1}. Name every language. Empty: the shares
    follow `passes` or `temperature`."""
    passes: dict[str, Rate] = Field(default={})
    """Passes of stage 2 over the training text of a language, for example {de: 8}. Languages that are not named fill up the
    steps, each in proportion to its text. Instead of `weights` and `temperature`."""

    @property
    def clone_in_source_ids(self) -> bool:
        """Whether clone text has the source's token ids."""
        return self.clone_ids == "merged"


class PretrainSection(Section):
    """Stage 2: pretraining on the text mixture."""

    steps: Positive = 1000
    """Number of optimiser steps of the arm `prealign`. Its two stages set the budget in FLOPs; every other arm gets as
    many stage 2 steps as the same budget allows."""
    batch_size: Positive = 16
    """Blocks of `context` tokens per device and step."""
    context: Annotated[int, Field(ge=8)] = 128
    """Length of a block in tokens, in both stages."""
    learning_rate: Rate = 3e-4
    """Peak learning rate of AdamW; it decays by a cosine schedule."""
    embedding_rate: Rate = 1.0
    """Factor on the learning rate of the input and the output embedding."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Weight decay of AdamW."""
    warmup: Share = 0.05
    """Share of the steps in which the learning rate rises from 0 to its peak."""
    validations: Positive = 8
    """Number of measurements of validation perplexity over the course of the stage."""
    validation_blocks: Positive = 64
    """Blocks of `context` tokens per language in each measurement."""
    freeze_body: bool = False
    """Whether stage 2 trains only the input and output embeddings."""


class CheckpointSection(Section):
    """Checkpoints within a stage; a run that was killed resumes from them. They change no result and no fingerprint."""

    every: Count = 1000
    """Steps between two checkpoints. 0 writes none: a stage that was killed starts again at step 0."""
    minutes: Rate = 30.0
    """Minutes after which a checkpoint is written before `every` steps have passed. An interrupt writes one at once."""
    keep: Positive = 2
    """Number of newest checkpoints kept while the stage trains. A finished stage keeps none."""


class Variant(Section):
    """A custom arm: another arm with some settings changed."""

    extends: str
    """Name of the arm or variant to start from."""
    set: dict[str, Any]
    """Changed settings by dotted key, for example {switch.ratio: 0.1}."""


class Recipe(Section):
    """A whole experiment. A section is described at its class."""

    name: Name
    """Name of the experiment. The default run folder is runs/NAME."""
    seeds: list[Seed] = Field(default=[0], min_length=1)
    """Each arm is trained once with each seed. A seed decides initial weights, data order, code-switching and held-out
    words."""
    arms: list[str] = Field(default=["joint", "prealign"], min_length=1)
    """Arms to train and compare: built-in arms (`prealign.recipe.arms`), methods, or names of `variants`."""
    baseline: str = "joint"
    """Arm that all other arms are compared with."""
    primary: PrimarySection = PrimarySection()
    family: list[str] = Field(default=[])
    """Arms whose comparisons are corrected together for their number (Holm). Name it where arms are run apart and merged.
    Empty: `arms`; arms that are merged later are then corrected apart."""
    jobs: Positive = 1
    """Number of arms trained at the same time. Each gets an equal share of the CPU cores."""
    processes: Positive = 1
    """Worker processes that tokenise, count, switch and pack text. They change no result and no fingerprint."""
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
    next_word: NextWordSection | None = None
    twin_mask: TwinMaskSection | None = None
    twin_adam: TwinAdamSection | None = None
    mixture: MixtureSection = MixtureSection()
    pretrain: PretrainSection = PretrainSection()
    knowledge: KnowledgeSection | None = None
    evaluate: EvaluateSection = EvaluateSection()
    method: Name = "prealign"
    """Training method. Each arm sets it; to use a method, name it in `arms`."""
    methods: dict[str, dict[str, Any]] = Field(default={})
    """Settings of methods, by method name (`prealign.recipe.registry`)."""
    transfer: list[TransferTask] = Field(default=[])
    """Tasks of zero-shot cross-lingual transfer. Each is fine-tuned from the final model and tested in every language."""
    checkpoint: CheckpointSection = CheckpointSection()
    variants: dict[str, Variant] = Field(default={})
    """Custom arms, by name. Name them in `arms` to train them."""
    trainer: dict[str, Any] = Field(default={})
    """Further arguments of `transformers.TrainingArguments` (report_to, fsdp, deepspeed, dataloader_num_workers …)."""

    @model_validator(mode="after")
    def _settings_of_the_preset(self) -> Recipe:
        for name, settings in PRESET_SETTINGS.get(self.model.preset or "", {}).items():
            self.__dict__[name] = getattr(self, name).completed(settings)
        return self
