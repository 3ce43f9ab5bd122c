"""The recipe that `prealign init` writes for a user's files: sizes and settings guessed from a survey, every line explained.

1. `guess` chooses split, tokenizer, model, share and steps from the sizes of the text (`Sizes`).
2. `problems` names what will spoil the result: too little text, few covered words, mixed languages, definitions.
3. `recipe_text` fills the template.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prealign.languages import UNSPACED_LANGUAGES, base, language_name
from prealign.recipe.arms import ARMS
from prealign.recipe.presets import PRESET_SETTINGS
from prealign.run.small_text import ENOUGH_TO_LEARN, ENOUGH_TO_TEST
from prealign.run.survey import MINIMUM_COUNT, LexiconSurvey, Mixed, TextSurvey
from prealign.wording import some

RECOMMENDED = ("anchored", "prealign_anchored")
"""The arms that a new recipe compares with joint training (docs/your-own-language.md says why)."""

CONTEXT = 128
TEST_TOKENS = 20_000
"""Tokens of test text a language, if there is enough text."""
MOST_PASSES = 8
"""A language is read at most this often, as more reading of the same text hardly helps."""
MOST_SHARE = 0.3
"""Of the tokens, in the target language: more target text is the cheapest gain, and the source still learns."""
FEWEST_STEPS, MOST_STEPS = 800, 4000
ENOUGH_OF_SOURCE = 300_000
ENOUGH_WORDS = 1_000
ENOUGH_COVERAGE = 0.5


@dataclass(frozen=True)
class Sizes:
    """What is guessed. share: of the tokens in the target language. passes: over the source's and the target's text."""

    validation: int
    test: int
    vocab_size: int
    preset: str
    steps: int
    align_steps: int
    share: float
    passes: tuple[float, float]


def guess(source: TextSurvey, target: TextSurvey) -> Sizes:
    """Choose sizes for two texts."""
    both = source, target
    fewest = min(text.number for text in both)
    wanted = max(math.ceil(TEST_TOKENS * text.number / max(1, text.tokens)) for text in both)
    test = max(1, min(wanted, fewest // 10))
    tokens = source.tokens + target.tokens
    preset = "nano" if tokens < 3_000_000 else "micro"
    per_step = int(PRESET_SETTINGS[preset]["pretrain"]["batch_size"]) * CONTEXT
    steps = min(MOST_STEPS, max(FEWEST_STEPS, math.ceil(tokens / per_step / 100) * 100))
    budget = steps * per_step
    share = max(target.tokens / tokens, min(MOST_SHARE, MOST_PASSES * target.tokens / budget))
    share = min(0.5, max(0.01, round(share, 2)))
    unspaced = any(base(text.language) in UNSPACED_LANGUAGES for text in both)
    return Sizes(
        validation=max(1, test // 2),
        test=test,
        vocab_size=8000 if unspaced or tokens >= 3_000_000 else 4000,
        preset=preset,
        steps=steps,
        align_steps=min(500, steps // 8),
        share=share,
        passes=(budget * (1 - share) / source.tokens, budget * share / target.tokens),
    )


def problems(
    source: TextSurvey, target: TextSurvey, lexicon: LexiconSurvey, between: Mixed, sizes: Sizes
) -> Iterator[str]:
    """Yield what will spoil the result, each with what to do."""
    for text, least in ((source, ENOUGH_OF_SOURCE), (target, ENOUGH_TO_LEARN)):
        if text.tokens < least:
            yield (
                f"little text: about {text.tokens:,} tokens of {language_name(text.language)}; below {least:,} a model "
                "learns little of a language. Add text."
            )
        tested = sizes.test * text.tokens / text.number
        if tested < ENOUGH_TO_TEST:
            cut = ", or cut it into more documents (`documents: line`)" if text.documents == "file" else ""
            yield (
                f"a small test: about {round(tested):,} tokens of {language_name(text.language)} ({sizes.test:,} of "
                f"{text.number:,} documents); below {ENOUGH_TO_TEST:,} its perplexity is uncertain. Add text{cut}."
            )
    if lexicon.usable < ENOUGH_WORDS:
        yield (
            f"few words to align: the dictionary translates {lexicon.usable:,} words that the text has "
            f"{MINIMUM_COUNT} times or more; below {ENOUGH_WORDS:,} alignment has little to hold on to. Use a larger "
            "dictionary or more text."
        )
    if lexicon.coverage < ENOUGH_COVERAGE:
        yield (
            f"low coverage: the dictionary has {lexicon.coverage:.1%} of the running words of the "
            f"{language_name(source.language)} text; look for a larger one, or for text of its kind."
        )
    if lexicon.long > 0.3:
        yield (
            f"definitions: {lexicon.long:.0%} of the translations have more than three words. This looks like a dictionary "
            "of definitions; only single words are switched and aligned well."
        )
    if between.share > 0.05:
        yield (
            f"mixed text: {between.share:.0%} of the words of the {language_name(target.language)} text stand in lines that "
            f"look {language_name(source.language)}, such as {between.example[:60]!r}. They teach the wrong language: "
            "remove these lines."
        )
    if between.repeated > 0.05:
        yield (
            f"repeated text: {between.repeated:.0%} of the lines of the {language_name(target.language)} text stand in the "
            f"{language_name(source.language)} text too. Remove them from one of the two."
        )
    if sizes.passes[1] > 20:
        yield f"much repetition: the {language_name(target.language)} text is read {sizes.passes[1]:.0f} times."


def recipe_text(
    name: str, path: Path, source: TextSurvey, target: TextSurvey, lexicon: LexiconSurvey, sizes: Sizes
) -> str:
    """Return the recipe as YAML, with a comment at every choice. path: the file it is written to."""
    parts = (_head(name, path, source, target), _data(source, target, lexicon, sizes), _training(sizes))
    return "\n".join(_aligned(line) for line in "\n".join(parts).splitlines()) + "\n"


def _head(name: str, path: Path, source: TextSurvey, target: TextSurvey) -> str:
    first, second = source.language, target.language
    arms = ["joint", *RECOMMENDED]
    explained = "\n".join(f"#   {arm}: {ARMS[arm].description}" for arm in arms)
    return f"""\
# {language_name(first)} -> {language_name(second)}. Written by `prealign init` from these files; change what you like.
#   prealign validate {path}        checks it
#   prealign lexicon build {path}   shows what is read of the dictionary, and what the text has of it
#   prealign run {path}             trains every arm, measures it, writes a report
#   prealign plan {path}            estimates the cost
# A setting of a line can be changed for one run: prealign run {path} pretrain.steps=2000
name: {name}
seeds: [0]  # one model an arm: a first look. [0, 1, 2] says whether a difference is more than chance
arms: [{", ".join(arms)}]
{explained}
primary: {{arm: {RECOMMENDED[0]}}}  # named before the run: its difference to joint training needs no correction
jobs: {min(len(arms), os.cpu_count() or 1)}  # arms trained at the same time, on equal shares of the cores
"""


def _data(source: TextSurvey, target: TextSurvey, lexicon: LexiconSurvey, sizes: Sizes) -> str:
    first, second = source.language, target.language
    files = "".join(f"\n    - {{path: {_quoted(path)}, target: {second}}}" for path in lexicon.paths)
    case = "\n  case: text  # the dictionary writes words in another case than the text: take the text's"
    return f"""\
source:
  language: {first}
  text: {_listed(source.sources)}
  documents: {source.documents}  # {_size(source)}
targets:
  - language: {second}
    text: {_listed(target.sources)}
    documents: {target.documents}  # {_size(target)}
split:  # whole documents that no arm trains on, of each language
  validation: {sizes.validation}
  test: {sizes.test}  # for perplexity: about {_tokens(source, sizes.test)} and {_tokens(target, sizes.test)} tokens
mixture:
  weights: {{{first}: {1 - sizes.share:.2f}, {second}: {sizes.share:.2f}}}  # shares of the tokens read: \
{first} {sizes.passes[0]:.1f} times, {second} {sizes.passes[1]:.1f} times

lexicon:
  files:{files}
  minimum_count: {MINIMUM_COUNT}  # rarer words are left out: {lexicon.usable:,} of {lexicon.words:,} words stay
  #                             they are {lexicon.coverage:.0%} of the running words of the {first} text
  sense_order: frequency  # of several translations, those that the {second} text has most often come first
  maximum_senses: 4  # and four of them are kept{case if lexicon.other_case else ""}
  held_out: 0.05  # share of the words that no arm is told: retrieval of them is measured separately

tokenizer:
  vocab_size: {sizes.vocab_size}  # a byte-level BPE, trained on this text; or `path:` of a pretrained tokenizer
"""


def _training(sizes: Sizes) -> str:
    preset = PRESET_SETTINGS[sizes.preset]
    return f"""\
model:
  preset: {sizes.preset}  # nano: minutes on a CPU core; micro: twice as wide; mini, 70m, 150m …: for GPUs
  attention: {preset["model"]["attention"]}  # faster than sdpa on a CPU for small models

align:  # stage 1 of prealign_anchored
  steps: {sizes.align_steps}  # at most; stage 1 ends early once the words are aligned
  until: 0.9  # share of its words whose nearest word is a translation; the report says what was reached
  senses: one  # one drawn translation of a word a step: three times cheaper than all of them
  pairs_per_batch: 256  # words with their translations in a step
  lm_batch_size: 1  # blocks of text in a step, so that the model keeps learning text
  learning_rate: 0.003  # higher than in pretraining: stage 1 is short
switch:
  ratio: 0.05  # share of the known words that are replaced in the input
anchor:  # both anchored arms
  em_rounds: {preset["anchor"]["em_rounds"]}
  residual_rate: 0.3  # how fast a tied row may leave its translations; 1 is as fast as other weights
pretrain:
  steps: {sizes.steps}  # of PreAlign; each arm trains as many as cost the same in all
  batch_size: {preset["pretrain"]["batch_size"]}  # blocks in a step: few, as small models need many updates
  context: {CONTEXT}  # tokens in a block
  learning_rate: {preset["pretrain"]["learning_rate"]}  # found for models of this size
evaluate:
  retrieval_words: 500  # pairs of words for retrieval: is the nearest word of the other language the translation?
"""


def _aligned(line: str) -> str:
    """Put the comment of a line behind its setting, in one column."""
    setting, mark, comment = line.partition("  # ")
    return f"{setting.rstrip():<29} # {comment.strip()}" if mark and setting.strip() and '"' not in setting else line


def _listed(sources: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, sources))}]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _size(text: TextSurvey) -> str:
    return f"{some(text.number, 'document')}, about {text.tokens:,} tokens"


def _tokens(text: TextSurvey, documents: int) -> str:
    return f"{round(documents * text.tokens / text.number, -2):,.0f}"
