"""Lexical initialisation: the embeddings start as subword vectors of all languages in one space.

1. Make vectors of the subwords of each language, from its training text alone, by PPMI-SVD: counts and linear algebra. The
   paper trains skip-gram vectors [choice].
2. Map the vectors of each target into the source's space by an orthogonal matrix. The seeds are the pairs of the lexicon
   (`dictionary`; a word is the mean of its subwords) or the tokens that both texts use (`identical`, as in the paper).
   Self-learning follows.
3. A token of several languages gets the mean of its vectors, weighted by its frequency in each language.
4. Write the vectors into the input and the output embedding, at the scale of the model's initial weights.
5. Pretrain jointly. With `hold`, the embedding of these rows is E = R + hold · W. R, the start, is fixed; W starts at 0
   and is learned. Rows then leave their start slowly, as with a smaller learning rate. `export` writes E as plain
   weights.

The estimated FLOPs of vectors and mappings count in the arm's budget, on each device. Seeds and arms that read the same text
share the work, but each counts it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from prealign.errors import LexiconError, RecipeError
from prealign.languages import is_clone, language_name
from prealign.methods.phase import Cost, Inputs, Method, Phase, main_phase
from prealign.methods.vocabulary.crosslingual import Seeds, common_space, dictionary_seeds, identical_seeds
from prealign.methods.vocabulary.started import StartedVocabulary
from prealign.methods.vocabulary.vectors import LanguageVectors, language_vectors, making_flops, mapping_flops
from prealign.recipe.section import Count, Positive, Rate, Section
from prealign.recipe.sections import ModelSection, PretrainSection

# V rows of the embedding, A of them with a vector, D width


class LexicalStart(StartedVocabulary):
    """Subword vectors of a run's text as the rows of a new model; settings: those of the method."""

    def __init__(self, inputs: Inputs, settings: Lexical.Settings) -> None:
        super().__init__(settings.hold)
        self.inputs, self.settings = inputs, settings

    def vectors(self, size: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens (A,) of the run's text, and their vectors (A, D). LexiconError without a pair of seeds."""
        own, inputs = self.settings, self.inputs
        settings = own.model_dump(include={"window", "minimum_count", "tokens"})
        made = {
            language: language_vectors(inputs.training_ids(language), size, width, **settings)
            for language in inputs.languages
        }
        source, *targets = made
        seeds = {language: self._seeds(made[language], made[source], language) for language in targets}
        return common_space(made, seeds, size, candidates=own.candidates, rounds=own.rounds)

    def _seeds(self, target: LanguageVectors, source: LanguageVectors, language: str) -> Seeds:
        if self.settings.seeds == "identical":
            found = identical_seeds(target, source)
        else:
            assert self.inputs.tokenizer is not None, "there is one when a model is initialised"
            found = dictionary_seeds(target, source, self.inputs.training_lexicon, language, self.inputs.tokenizer)
        if not len(found[0]):
            raise LexiconError(
                f"methods.lexical.seeds: {self.settings.seeds}: no pair of {language_name(language)} has vectors in both "
                "languages. Lower methods.lexical.minimum_count, or take the other kind of seeds."
            )
        return found

    def cost(self, model: Any) -> Cost:
        """Return an upper estimate of the FLOPs of vectors and mappings. Text of unknown size counts as `tokens` tokens."""
        own, (size, width) = self.settings, model.get_input_embeddings().weight.shape
        sizes = [min(own.tokens, self.inputs.training_sizes.get(name, own.tokens)) for name in self.inputs.languages]
        making = sum(making_flops(tokens, size, width, own.window) for tokens in sizes)
        mapping = mapping_flops(min(own.candidates, size), width, own.rounds)
        return Cost(making + (len(sizes) - 1) * mapping)

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return {"initialisation": "lexical", **self.settings.model_dump(exclude={"pretrain", "model"})}


class Lexical(Method):
    """Joint training from subword vectors in one space."""

    label: ClassVar[str] = "Lexical initialisation"
    description: ClassVar[str] = "joint training, embeddings start as subword vectors mapped into one space"
    citation: ClassVar[str] = (
        "Chronopoulou, Stojanovski, Fraser: Improving the Lexical Ability of Pretrained Language Models for Unsupervised "
        "Neural Machine Translation. NAACL 2021. arXiv:2103.10531"
    )

    class Settings(Section):
        """How vectors are made and mapped, and the sections of the recipe that the method reads."""

        model: ModelSection
        pretrain: PretrainSection
        seeds: Literal["dictionary", "identical"] = "dictionary"
        """Pairs that start the mapping: those of the lexicon, or tokens that both languages use."""
        rounds: Count = 3
        """Rounds of self-learning; 0: the seeds alone."""
        window: Positive = 5
        """Tokens on each side that count as context."""
        minimum_count: Positive = 5
        """Tokens that occur less often keep their random rows."""
        tokens: Positive = 10_000_000
        """Reads at most so many tokens of each language."""
        candidates: Positive = 20_000
        """The most frequent tokens of each language may become pairs in self-learning."""
        hold: Rate | None = None
        """How fast rows leave their start, relative to other weights; absent: they are free."""

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase. RecipeError for a pretrained model, or seeds that a clone cannot have."""
        if settings.model.pretrained:
            raise RecipeError(
                "lexical: the method replaces all embeddings, and model.pretrained has trained ones. Leave the arm out, or "
                "give the model by model.preset or model.config."
            )
        if settings.seeds == "identical" and any(is_clone(language) for language in inputs.languages):
            raise RecipeError(
                "methods.lexical.seeds: a clone shares no token with its source, so no tokens are identical. "
                "Set seeds: dictionary."
            )
        return [main_phase(settings.pretrain, initialisations=(LexicalStart(inputs, settings),))]
