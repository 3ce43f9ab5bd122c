"""Whether words are aligned: P@1 of a fixed sample of the word pairs that a phase trains, and the end of the phase by it.

1. `PairSample` has at most `goal.PAIRS` groups of each target language, drawn by seed from the training lexicon.
2. A measurement is P@1 by cosine, both directions pooled, among the forms of the sample; its mean over the layers that
   the phase aligns (the blocks 1..L, if it aligns all layers).
3. `UntilEstablished` measures at `goal.measured_steps` while the phase trains. When every language has reached the goal,
   it moves the Trainer's last step to the end of the decay of the learning rate.

Points are kept in the Trainer's log: a checkpoint holds them, and a resumed phase ends at the same step. The first process
measures and decides for all. Measuring draws no random number and leaves the weights unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback

from prealign.evaluation.retrieval.nearest import two_way_precision
from prealign.evaluation.retrieval.pairs import WordPairs, draw_pairs
from prealign.lexicon import Lexicon
from prealign.methods.alignment.layers import layer_slice
from prealign.methods.alignment.states import word_states
from prealign.methods.goal import PAIRS, last_step, measured_layers, measured_steps
from prealign.recipe.methods import Layers
from prealign.text.words import Tokenizer
from prealign.training import ranks

_KEY = "established"

LAYERS: dict[Layers, str] = {
    "all": "the blocks",
    "embedding": "the input embedding",
    "blocks": "the blocks",
    "lower_blocks": "the lower blocks",
    "output": "the output embedding",
}
"""The measured layers in words."""


@dataclass(frozen=True)
class PairSample:
    """A sample of trained word pairs; called on a causal LM, it returns P@1 by target language.

    pairs: of each language that the lexicon translates into. layers: those that the phase aligns. bos: encode words after
    BOS.
    """

    tokenizer: Tokenizer
    pairs: Sequence[WordPairs]
    layers: Layers = "all"
    bos: bool = False

    @classmethod
    def draw(cls, tokenizer: Tokenizer, lexicon: Lexicon, seed: int, *, layers: Layers, bos: bool) -> PairSample:
        """Draw at most `PAIRS` groups a language from a lexicon."""
        none = Lexicon([], source=lexicon.source, targets=lexicon.targets)
        drawn = [draw_pairs(lexicon, none, language, PAIRS, seed) for language in lexicon.targets]
        return cls(tokenizer, [pairs for pairs in drawn if pairs.sources], layers, bos)

    def __call__(self, model: Any) -> dict[str, float]:
        """Return P@1 in 0..1, the mean over the measured layers, by target language."""
        found = {}
        for pairs in self.pairs:
            source, target = (
                word_states(model, self.tokenizer, words, language=language, bos=self.bos)
                for words, language in ((pairs.sources, pairs.source_language), (pairs.targets, pairs.language))
            )
            layers = layer_slice(measured_layers(self.layers), model.config.num_hidden_layers)
            metrics = two_way_precision(source[layers], target[layers], torch.from_numpy(pairs.gold), {_KEY: None})
            found[pairs.language] = float(metrics[_KEY].hits.mean())
        return found


class UntilEstablished(TrainerCallback):
    """Trainer callback: ends the training when every language of the sample has a P@1 of at least `until`."""

    def __init__(self, sample: PairSample, until: float) -> None:
        self.sample, self.until = sample, until
        self.points: list[dict[str, Any]] = []

    @property
    def reached(self) -> int | None:
        """The step that reached the goal; None if none has."""
        return next((point["step"] for point in self.points if min(point[_KEY].values()) >= self.until), None)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Restore the points of the checkpoint that training resumes from, and the last step that they decide."""
        self.points = [entry for entry in state.log_history if _KEY in entry]
        self._move_end(args, state)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Measure at the steps of `measured_steps`, until one reaches the goal."""
        if not self.sample.pairs or self.reached or state.global_step not in measured_steps(args.max_steps):
            return
        self.points.append({"step": state.global_step, _KEY: ranks.by_first(lambda: self.sample(model))})
        state.log_history.append(self.points[-1])
        self._move_end(args, state)

    def _move_end(self, args: Any, state: Any) -> None:
        if self.reached:
            state.max_steps = last_step(self.reached, args.max_steps)
