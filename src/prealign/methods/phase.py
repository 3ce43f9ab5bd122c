"""The interface of methods: an arm is a list of phases, and nothing above this package asks which method it is.

1. A `Method` turns its settings and a run's `Inputs` into phases.
2. A `Phase` trains a model on text for some steps. Its loss is lm_weight · L_LM plus, for each `Term`, weight · loss of an
   `Objective` in every `every`-th step. A `Rewriter` may change the documents, an `Initialisation` the embeddings.
3. `cost` adds up what a step takes, and budgets are matched by it; `describe` says what a phase is, and fingerprints, report
   and model card take that.

docs/extending.md adds a method, step by step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from torch import Tensor

from prealign.errors import RecipeError
from prealign.lexicon import Lexicon
from prealign.methods.alignment.words import WordForms, WordSizes
from prealign.methods.flops import training_flops
from prealign.methods.schedule import Schedule
from prealign.recipe.section import Section
from prealign.recipe.sections import PretrainSection
from prealign.text.bitext import TokenPairs
from prealign.text.blocks import Rewriter
from prealign.text.words import Tokenizer

MAIN = "pretrain"
"""The name of the phase whose steps the budget decides: every arm has one."""


@dataclass(frozen=True)
class Cost:
    """What a step takes on one device: FLOPs, those of them that are float32 in any precision, and tokens read."""

    flops: float = 0.0
    tokens: float = 0.0
    float32_flops: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.tokens + other.tokens, self.float32_flops + other.float32_flops)

    def __mul__(self, steps: float) -> Cost:
        return Cost(self.flops * steps, self.tokens * steps, self.float32_flops * steps)

    def __truediv__(self, steps: float) -> Cost:
        return Cost(self.flops / steps, self.tokens / steps, self.float32_flops / steps)


class Objective(Protocol):
    """A loss beside L_LM. `name` is unique within a phase; subclasses inherit what is defined here.

    A step calls `batch` where data are loaded, `encode` inside the model's one wrapped forward (DDP, FSDP and autocast need
    it there), and `loss` on what that returned.
    """

    name: str

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> dict[str, Tensor]:
        """Return the inputs of its step number `step` on one rank: a function of these and its seed, of nothing else."""

    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors that the loss needs, with gradients."""

    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the named parts of the loss, scalars. Their sum is trained; each is logged as `NAME_loss`."""

    def cost(self, model: Any, devices: int = 1, *, freeze_body: bool = False) -> Cost:
        """Return the cost of a step in which it takes part, on one of `devices`. `model` may be on the meta device."""

    def describe(self) -> dict[str, Any]:
        """Return its settings, as JSON."""

    def memory(self, model: Any, devices: int = 1, *, bf16: bool = False) -> float:
        """Return the bytes it takes on one device beside the model's own. `model` is on the meta device."""
        return 0.0

    def check(self, model: Any) -> None:
        """Raise RecipeError if this model does not have what the objective reads. `model` may be on the meta device."""
        return


class Initialisation(Protocol):
    """What happens to the weights before a phase, and is undone into plain weights after it. Subclasses inherit defaults."""

    def apply(self, model: Any, *, fresh: bool) -> None:
        """Change the model in place. fresh: its weights are random; otherwise its outputs must not change."""

    def describe(self) -> dict[str, Any]:
        """Return its settings, as JSON."""

    def export(self, model: Any) -> None:
        """Turn the model's weights into those of its class again; its outputs do not change."""
        return

    def memory(self, model: Any) -> float:
        """Return the bytes that training takes more on one device. `model` is on the meta device."""
        return 0.0

    @property
    def unshardable(self) -> str | None:
        """Why FSDP cannot spread such a model over devices, as the end of "the arm 'X' …"; None if it can."""
        return None


class Rewriting(Protocol):
    """What rewrites the documents of a phase: a `Rewriter` for each language whose text changes."""

    def rewriters(self) -> Mapping[str, Rewriter]:
        """Make the rewriters, by language."""

    def describe(self) -> dict[str, Any]:
        """Return its settings, as JSON."""


@dataclass(frozen=True)
class Term:
    """weight · schedule(progress) · the loss of an objective, in every `every`-th step."""

    objective: Objective
    weight: float = 1.0
    every: int = 1
    schedule: Schedule | None = None

    def weight_at(self, progress: float) -> float:
        """Return the weight when `progress` (0..1) of the phase is done."""
        return self.weight * (self.schedule(progress) if self.schedule else 1.0)

    def describe(self) -> dict[str, Any]:
        """Return the objective's settings and how it takes part."""
        schedule = {"schedule": self.schedule.points} if self.schedule else {}
        own = {"name": self.objective.name, "weight": self.weight, "every": self.every, **schedule}
        return own | self.objective.describe()


@dataclass(frozen=True)
class BitextShare:
    """Steps of a phase that read parallel text instead of the mixture: each pair of sentences is a document.

    share: of the steps, at least one of them. place: where they are. "spread": as many blocks, evenly over the phase. The
    blocks of parallel text and those of the mixture are the same in all three places; their order differs.
    """

    share: float = 1.0
    place: Literal["first", "spread", "last"] = "spread"

    def positions(self, steps: int, blocks_per_step: int) -> np.ndarray:
        """Return the numbers (n,) of the phase's blocks that are parallel text, in ascending order."""
        total, taken = steps * blocks_per_step, min(steps, max(1, round(self.share * steps))) * blocks_per_step
        number = np.arange(taken)
        if self.place == "spread":
            return (2 * number + 1) * total // (2 * taken)
        return number if self.place == "first" else total - taken + number


@dataclass(frozen=True)
class Phase:
    """One training of an arm. Batch sizes are of one device; `steps` is None in the main phase, where the budget decides.

    name: of its stage and checkpoint folder, unique within the arm; that of the main phase is "pretrain". batch_size:
    blocks of `context` tokens a step.
    """

    name: str
    steps: int | None
    batch_size: int
    context: int
    learning_rate: float
    weight_decay: float = 0.1
    warmup: float = 0.05
    lm_weight: float = 1.0
    terms: tuple[Term, ...] = ()
    rewriting: Rewriting | None = None
    bitext: BitextShare | None = None
    initialisations: tuple[Initialisation, ...] = ()
    freeze_body: bool = False

    @property
    def text_tokens(self) -> int:
        """Tokens of text in a step on one device."""
        return self.batch_size * self.context if self.lm_weight else 0

    def cost(self, model: Any, devices: int = 1) -> Cost:
        """Return the mean cost of a step on one of `devices`."""
        flops = training_flops(model, self.text_tokens, self.context, freeze_body=self.freeze_body)
        total = Cost(flops, self.text_tokens)
        for term in self.terms:
            total += term.objective.cost(model, devices, freeze_body=self.freeze_body) / term.every
        return total

    def check(self, model: Any) -> None:
        """Raise RecipeError if this model does not have what an objective reads."""
        for term in self.terms:
            term.objective.check(model)

    @property
    def unshardable(self) -> str | None:
        """Why FSDP cannot spread the model of this phase, None if it can."""
        return next((why for one in self.initialisations if (why := one.unshardable)), None)

    def describe(self) -> dict[str, Any]:
        """Return all that decides the phase's weights, besides data and model, as JSON."""
        plain = ("name", "steps", "batch_size", "context", "learning_rate", "weight_decay", "warmup", "lm_weight")
        return {
            **{key: getattr(self, key) for key in (*plain, "freeze_body")},
            "objectives": [term.describe() for term in self.terms],
            "rewriting": self.rewriting.describe() if self.rewriting else None,
            "initialisations": [one.describe() for one in self.initialisations],
            **({"bitext": asdict(self.bitext)} if self.bitext else {}),
        }


def main_phase(section: PretrainSection, **more: Any) -> Phase:
    """Return the main phase with the steps, batches and rates of the recipe's `pretrain`; more: its other fields."""
    return Phase(
        name=MAIN,
        steps=None,
        batch_size=section.batch_size,
        context=section.context,
        learning_rate=section.learning_rate,
        weight_decay=section.weight_decay,
        warmup=section.warmup,
        freeze_body=section.freeze_body,
        **more,
    )


class Inputs(Protocol):
    """What a run offers a method. Every property is made when it is first read."""

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer of all languages; None before there is one, as when a run is planned."""

    @property
    def languages(self) -> Sequence[str]:
        """Return the source language, then the targets."""

    @property
    def seed(self) -> int:
        """Return the seed of the arm."""

    @property
    def words(self) -> WordForms | WordSizes:
        """Return the words for training in tokens; their sizes alone when a run is planned."""

    @property
    def training_lexicon(self) -> Lexicon:
        """Return the words for training."""

    @property
    def switching_lexicon(self) -> Lexicon:
        """Return the words for training and the forms that the recipe adds to them."""

    @property
    def bitext(self) -> Mapping[str, TokenPairs]:
        """Return the parallel text of each target language that has some: (sentences of the source, their translations) in
        token ids without special tokens. Empty without `bitext` in the recipe; sizes alone when a run is planned.
        """

    @property
    def token_counts(self) -> Mapping[str, np.ndarray]:
        """Return how often each embedding row (V,) occurs in a language's training text."""


def required_bitext(inputs: Inputs, method: str) -> Mapping[str, TokenPairs]:
    """Return the parallel text; RecipeError, which names the method, if the recipe has none."""
    if not inputs.bitext:
        raise RecipeError(
            f"{method} trains on parallel text, and the recipe has none: add `bitext: {{files: [{{target: de, "
            "source_file: FILE, target_file: FILE}]}`, or `bitext: {}` for a clone"
        )
    return inputs.bitext


class Method(Protocol):
    """A way to train. `Settings` has a field for each section of the recipe that it reads, by that section's name; its other
    fields are what `methods: {NAME: …}` of the recipe may set.
    """

    Settings: ClassVar[type[Section]]
    label: ClassVar[str]
    description: ClassVar[str]
    citation: ClassVar[str]

    def phases(self, settings: Any, inputs: Inputs) -> list[Phase]:
        """Return the phases in their order; the main one, whose `steps` is None, gets what the budget leaves."""


def settled(phases: Sequence[Phase], model: Any, budget: float, devices: int = 1) -> list[Phase]:
    """Return the phases with the steps that `budget` FLOPs a device leave to the one that has none. RecipeError if none."""
    fixed = sum(phase.steps * phase.cost(model, devices).flops for phase in phases if phase.steps)
    return [
        replace(phase, steps=matched_steps(budget, fixed, phase.cost(model, devices).flops))
        if phase.steps is None
        else phase
        for phase in phases
    ]


def budget_of(phases: Sequence[Phase], model: Any, steps: int, devices: int = 1) -> float:
    """Return the FLOPs of phases on one device, the phase without steps taking `steps`."""
    total = 0.0
    for phase in phases:
        total += (steps if phase.steps is None else phase.steps) * phase.cost(model, devices).flops
    return total


def matched_steps(budget: float, spent: float, step: float) -> int:
    """Return how many steps of `step` FLOPs the budget leaves after `spent`. RecipeError if that is none."""
    # Sums of FLOPs are not exact: what is whole but for rounding is whole.
    steps = math.floor((budget - spent) / step + 1e-6)
    if steps < 1:
        raise RecipeError(
            f"stage 1 of this arm takes {spent:.3g} FLOPs of a budget of {budget:.3g} and leaves no step of stage 2. "
            "The budget is `align.steps` and `pretrain.steps` of the recipe; lower the arm's own align.steps."
        )
    return steps
