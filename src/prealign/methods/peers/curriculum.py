"""Code-switching curriculum (CSCL, Macaroni): words switched, then sentences alternated, then monolingual text.

1. Word switching, for the first `words` of the phase: each known word of source text is replaced by a translation with
   probability `word_ratio`, as in code-switching.
2. Sentence alternation, for the next `sentences` of the phase: with probability `sentence_ratio`, parallel text of at
   least as many tokens replaces a source document. It consists of consecutive pairs from a random place of the bitext,
   one per line. Every other sentence is in the target language, which is drawn for each document.
3. Monolingual text for the rest of the phase.
4. Labels are the inputs (`vanilla`), as in the papers, or those of input-only switching. Sentence alternation then treats a
   sentence as a word: the label at the first token of a target sentence is the first token of the source sentence, and its
   other tokens are ignored.

Without parallel text there is no sentence alternation: its share of the phase is monolingual. Target text never changes.
Progress is counted in tokens before the change, so the first two parts last longer where translations have more tokens.

[choice] Shares and ratios: half of the phase is monolingual, and alternation replaces half of the source text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from prealign.methods.phase import Inputs, Method, Phase, Rewriting, main_phase
from prealign.methods.schedule import Schedule
from prealign.methods.switching.switch import CodeSwitcher, Mode, generator_of, replace_spans
from prealign.recipe.section import Section, Share
from prealign.recipe.sections import PretrainSection
from prealign.text.blocks import Rewritten
from prealign.text.ragged import IntArray, Ragged
from prealign.text.words import Tokenizer

Rate = Annotated[float, Field(gt=0, le=1)]


class CurriculumSwitcher(CodeSwitcher):
    """Switches words by its schedule, and replaces documents by alternating sentences in the stage `alternating`.

    bitext: target language -> source sentences and their translations, by row. sentence_ratio: probability that a document
    of the stage is replaced. Counts of words are those of the document before it is replaced.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        lexicon: Any,
        *,
        bitext: Mapping[str, tuple[Ragged, Ragged]],
        alternating: Schedule,
        sentence_ratio: float,
        **switching: Any,
    ) -> None:
        super().__init__(tokenizer, lexicon, **switching)
        self.alternating, self.sentence_ratio = alternating, sentence_ratio
        self._line_end = np.array(tokenizer.encode("\n", add_special_tokens=False), dtype=np.int64)
        self.bitext = [(source.with_ends(self._line_end), target) for source, target in bitext.values()]

    def rewrite(
        self, ids: Any, *, epoch: int = 0, document: int = 0, progress: float = 0.0, starts: Any = None
    ) -> Rewritten:
        """Rewrite a document as its place in the phase asks."""
        done = super().rewrite(ids, epoch=epoch, document=document, progress=progress, starts=starts)
        generator = generator_of(f"{self.seed}/{epoch}/sentences", document)
        if not self.bitext or generator.random() >= self.sentence_ratio * self.alternating(progress):
            return done
        input_ids, labels = self._alternate(len(ids), generator)
        return replace(done, input_ids=input_ids, labels=labels)

    def _alternate(self, size: int, generator: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Return input ids and labels of parallel text whose source side has at least `size` tokens."""
        sources, targets = self.bitext[generator.integers(len(self.bitext))]
        first, turn = generator.integers(len(sources)), generator.integers(2)
        passes, rest = divmod(sources.offsets[first] + size, sources.offsets[-1])
        last = passes * len(sources) + np.searchsorted(sources.offsets, rest)
        rows = np.arange(first, last) % len(sources)
        text, changed = sources.take(rows), np.arange(len(rows)) % 2 == turn
        substitutes = targets.take(rows[changed])
        start, n = text.offsets[:-1][changed], text.lengths[changed] - len(self._line_end)
        longer = substitutes.lengths - n
        return replace_spans(text.values, start, n, start + np.cumsum(longer) - longer, substitutes, self.mode)


class StagedSwitching(Rewriting):
    """Rewrites source documents. Nothing is made before `rewriters`."""

    def __init__(self, settings: Curriculum.Settings, inputs: Inputs) -> None:
        self.settings, self.inputs = settings, inputs

    def rewriters(self) -> Mapping[str, CurriculumSwitcher]:
        """Return the rewriter of source text."""
        own, inputs, source = self.settings, self.inputs, self.inputs.languages[0]
        made = CurriculumSwitcher(
            inputs.tokenizer,
            inputs.switching_lexicon,
            bitext=inputs.bitext,
            alternating=Schedule.between(own.words, own.words + own.sentences),
            schedule=Schedule.between(0.0, own.words),
            sentence_ratio=own.sentence_ratio,
            **{"source": source, "seed": inputs.seed, "ratio": own.word_ratio, "mode": own.mode},
        )
        return {source: made}

    def describe(self) -> dict[str, Any]:
        """Return the settings of the stages, and whether one is left out."""
        told = {"rewriting": "code-switching curriculum", **self.settings.model_dump(exclude={"pretrain"})}
        if self.settings.sentences and not self.inputs.bitext:
            told |= {"sentences": 0.0, "left_out": "sentence alternation: there is no bitext"}
        return told


class Curriculum(Method):
    """Joint training on source text that is mixed with the targets by word, then by sentence, then not at all."""

    label: ClassVar[str] = "Code-switching curriculum"
    description: ClassVar[str] = "words switched first, then sentences alternated if there is a bitext, then neither"
    citation: ClassVar[str] = (
        "Yoo, Park, Yun, Oh, Lee: Code-Switching Curriculum Learning for Multilingual Transfer in LLMs. Findings of ACL "
        "2025. arXiv:2411.02460. From scratch: Macaroni. arXiv:2609.30535"
    )

    class Settings(Section):
        """The stages as shares of the phase, and how much is replaced in each."""

        pretrain: PretrainSection
        words: Rate = 0.3
        """Share of the phase in which words are switched, from its start."""
        word_ratio: Rate = 0.2
        """Probability that a known word is switched in that part."""
        sentences: Share = 0.2
        """Share of the phase, after that, in which sentences are alternated."""
        sentence_ratio: Rate = 0.5
        """Probability that a source document is replaced by alternated sentences in that part."""
        mode: Mode = "vanilla"
        """Labels, as in `switch.mode`."""

        @model_validator(mode="after")
        def _within_the_phase(self) -> Curriculum.Settings:
            if self.words + self.sentences > 1:
                raise ValueError(
                    f"words and sentences are {self.words + self.sentences:g} of the phase: at most 1 together"
                )
            return self

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase."""
        return [main_phase(settings.pretrain, rewriting=StagedSwitching(settings, inputs))]
