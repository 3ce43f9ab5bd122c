"""The interface of methods: an arm is a list of phases, and nothing above this package asks which method it is.

1. A `Method` turns its settings and the `Inputs` of a run into phases.
2. A `Phase` trains a model on text for a number of steps. Its loss is lm_weight · L_LM; each `Term` adds weight · loss
   of an `Objective` at every `every`-th step. A `Rewriter` may change the documents, an `Initialisation` the
   embeddings.
3. `cost` adds up the cost of a step, `start_cost` the cost of the initialisations; budgets are matched by `total`.
   `describe` returns the settings of a phase; fingerprints, report and model card use them.

docs/extending.md shows step by step how to add a method.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from prealign.methods.bitext_share import BitextShare as BitextShare
from prealign.methods.cost import Cost as Cost
from prealign.methods.coupling import Coupling as Coupling
from prealign.methods.flops import training_flops
from prealign.methods.goal import Goal
from prealign.methods.inputs import Inputs as Inputs
from prealign.methods.inputs import required_bitext as required_bitext
from prealign.methods.schedule import Schedule
from prealign.recipe.section import Section
from prealign.recipe.sections import PretrainSection
from prealign.text.blocks import Rewriter

MAIN = "pretrain"
"""Name of the main phase. Every arm has one, and the budget decides its number of steps."""


class Objective(Protocol):
    """A loss beside L_LM. `name` is unique within a phase. Subclasses inherit the defaults of `memory` and `check`.

    A step calls `batch` where data are loaded, `encode` inside the one wrapped forward of the model (DDP, FSDP and
    autocast need it there), and `loss` on the result of `encode`.

    An objective with `reads_text` is a loss on the text of the step. `of_text` is then called where data are loaded, and
    its result joins the batch. The batch of `encode` also holds "text_states" (B, T, D), the input of the output embedding,
    and "text_logits" (B, T, V), its output, both of the forward that computes L_LM.
    """

    name: str
    reads_text: bool = False
    remedies: ClassVar[Mapping[str, str]] = {}
    """What to do about a part of the loss that is not finite, by its name, such as {"align": "raise align.temperature"}."""

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> dict[str, Tensor]:
        """Return the inputs of the objective's step number `step` on rank `rank` of `ranks`.

        The result depends on these arguments and the seed alone, so resume, workers and ranks cannot change it.
        """
        return {}

    def of_text(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the inputs for the text of a step, both (B, T): a function of the text and the seed alone."""
        return {}

    @abstractmethod
    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors that `loss` needs, with gradients."""

    @abstractmethod
    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the named parts of the loss as scalars. Their sum is trained; each part is logged as `NAME_loss`."""

    @abstractmethod
    def cost(self, model: Any, devices: int = 1, *, freeze_body: bool = False) -> Cost:
        """Return the cost of one step of the objective on one of `devices`. `model` may be on the meta device."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the objective's settings as JSON values."""

    def memory(self, model: Any, devices: int = 1, *, bf16: bool = False) -> float:
        """Return the bytes that the objective adds on one of `devices`. `model` is on the meta device."""
        return 0.0

    def check(self, model: Any) -> None:
        """Raise RecipeError if the objective cannot train this model. `model` may be on the meta device."""
        return


class Initialisation(Protocol):
    """A change of the weights before a phase; `export` turns them back into plain weights after it.

    Subclasses inherit the defaults of `export`, `record`, `cost`, `step_cost`, `memory` and `unshardable`. changed: the
    number of embedding rows that `apply` has set; None if it sets no rows.
    """

    changed: int | None = None

    @abstractmethod
    def apply(self, model: Any, *, fresh: bool) -> None:
        """Change the model in place. fresh: the weights are random.

        Otherwise the outputs must not change, except for a method that gives a trained model other rows.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the initialisation's settings as JSON values."""

    def export(self, model: Any) -> None:
        """Turn the weights into plain weights of the model's class, in place. The outputs do not change."""
        return

    def record(self) -> dict[str, Any]:
        """Return what `apply` has done, for the results: the initialisation's name and its rows; {} if it sets no rows."""
        name = self.describe()["initialisation"]
        return {} if self.changed is None else {"initialisation": name, "rows": self.changed}

    def cost(self, model: Any) -> Cost:
        """Return the cost of `apply` on one device. `model` may be on the meta device."""
        return Cost()

    def step_cost(self, model: Any) -> Cost:
        """Return the cost that it adds to each step on one device, such as that of computed rows."""
        return Cost()

    def memory(self, model: Any) -> float:
        """Return the bytes that the initialisation adds to training on one device. `model` is on the meta device."""
        return 0.0

    @property
    def unshardable(self) -> str | None:
        """Why FSDP cannot shard the changed model, as the end of "the arm 'X' …". None if FSDP can."""
        return None


class Rewriting(Protocol):
    """The rewriting of a phase's documents: one `Rewriter` for each language whose text changes."""

    @abstractmethod
    def rewriters(self) -> Mapping[str, Rewriter]:
        """Build the rewriters, by language."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the rewriting's settings as JSON values."""


@dataclass(frozen=True)
class Term:
    """A term of a phase's loss: weight · schedule(progress) · loss of the objective, at every `every`-th step."""

    objective: Objective
    weight: float = 1.0
    every: int = 1
    schedule: Schedule | None = None

    def weight_at(self, progress: float) -> float:
        """Return the weight at `progress` (0..1), the finished share of the phase."""
        return self.weight * (self.schedule(progress) if self.schedule else 1.0)

    def describe(self) -> dict[str, Any]:
        """Return the objective's settings with its name, weight, interval and schedule, as JSON values."""
        schedule = {"schedule": self.schedule.points} if self.schedule else {}
        term = {"name": self.objective.name, "weight": self.weight, "every": self.every, **schedule}
        return term | self.objective.describe()


@dataclass(frozen=True)
class Phase:
    """One training phase of an arm. Batch sizes are per device.

    name: of the stage and its checkpoint folder, unique within the arm; the main phase is called "pretrain". steps:
    None in the main phase, where the budget decides. batch_size: blocks of `context` tokens in a step. warmup: share of
    the steps. embedding_rate: factor on the learning rate of the input and the output embedding. lm_every: L_LM is part of
    the loss at every `lm_every`-th step, and the others read no text. goal: what an aligning phase is to reach; it may end
    the phase before `steps`. coupling: of the optimiser, for the embeddings.
    """

    name: str
    steps: int | None
    batch_size: int
    context: int
    learning_rate: float
    weight_decay: float = 0.1
    warmup: float = 0.05
    lm_weight: float = 1.0
    embedding_rate: float = 1.0
    lm_every: int = 1
    terms: tuple[Term, ...] = ()
    rewriting: Rewriting | None = None
    bitext: BitextShare | None = None
    initialisations: tuple[Initialisation, ...] = ()
    freeze_body: bool = False
    goal: Goal | None = None
    coupling: Coupling | None = None

    @property
    def ends_early(self) -> bool:
        """Whether the phase ends before its last step if it reaches its goal. `steps` are then the most."""
        return self.goal is not None and self.goal.until is not None

    @property
    def text_tokens(self) -> int:
        """Tokens of text that one device reads in a step with text; 0 without L_LM."""
        return self.batch_size * self.context if self.lm_weight else 0

    @property
    def text_steps(self) -> int:
        """Number of steps that read text; blocks are made for these."""
        assert self.steps, "call `settled` first: the phase has no number of steps"
        return math.ceil(self.steps / self.lm_every)

    def cost(self, model: Any, devices: int = 1) -> Cost:
        """Return the mean cost of a step on one of `devices`. A term adds 1 / `every` of its objective's cost."""
        flops = training_flops(model, self.text_tokens, self.context, freeze_body=self.freeze_body)
        total = Cost(flops, self.text_tokens) / self.lm_every
        for term in self.terms:
            total += term.objective.cost(model, devices, freeze_body=self.freeze_body) / term.every
        for initialisation in self.initialisations:
            total += initialisation.step_cost(model)
        return total

    def start_cost(self, model: Any) -> Cost:
        """Return the cost of the initialisations on one device, before the first step."""
        return sum((initialisation.cost(model) for initialisation in self.initialisations), Cost())

    def total(self, model: Any, devices: int = 1, *, steps: int | None = None) -> Cost:
        """Return the cost of the whole phase on one of `devices`: start, `steps` steps and the measurements of its goal.

        steps: None for those of the phase. A phase that ends early costs less.
        """
        steps = steps or self.steps
        assert steps, "call `settled` first: the phase has no number of steps"
        total = self.start_cost(model) + self.cost(model, devices) * steps
        return total + self.goal.cost(model, steps) if self.goal else total

    def check(self, model: Any) -> None:
        """Raise RecipeError if an objective cannot train this model."""
        for term in self.terms:
            term.objective.check(model)

    @property
    def unshardable(self) -> str | None:
        """Why FSDP cannot shard the model of this phase. None if it can."""
        coupled = (
            "couples the optimiser's moments of rows, which FSDP would spread over devices" if self.coupling else None
        )
        return next((why for initialisation in self.initialisations if (why := initialisation.unshardable)), coupled)

    def describe(self) -> dict[str, Any]:
        """Return every setting that decides the trained weights, except data and model, as JSON values."""
        plain = ("name", "steps", "batch_size", "context", "learning_rate", "weight_decay", "warmup", "lm_weight")
        factors = {key: getattr(self, key) for key in ("embedding_rate", "lm_every") if getattr(self, key) != 1}
        return {
            **{key: getattr(self, key) for key in (*plain, "freeze_body")},
            **factors,
            "objectives": [term.describe() for term in self.terms],
            "rewriting": self.rewriting.describe() if self.rewriting else None,
            "initialisations": [initialisation.describe() for initialisation in self.initialisations],
            **({"bitext": asdict(self.bitext)} if self.bitext else {}),
            **({"coupling": self.coupling.describe()} if self.coupling else {}),
            **({"goal": self.goal.describe()} if self.goal and self.ends_early else {}),
        }


def main_phase(section: PretrainSection, **more: Any) -> Phase:
    """Return the main phase with the batch size and rates of the recipe's `pretrain`. more: other fields of `Phase`."""
    return Phase(
        name=MAIN,
        steps=None,
        batch_size=section.batch_size,
        context=section.context,
        learning_rate=section.learning_rate,
        weight_decay=section.weight_decay,
        warmup=section.warmup,
        embedding_rate=section.embedding_rate,
        freeze_body=section.freeze_body,
        **more,
    )


class Method(Protocol):
    """A way to train an arm.

    `Settings` has one field for each recipe section that the method reads, with the name of the section. Its other
    fields are the method's settings, set in the recipe by `methods: {NAME: …}`.
    """

    Settings: ClassVar[type[Section]]
    label: ClassVar[str]
    description: ClassVar[str]
    citation: ClassVar[str]

    @abstractmethod
    def phases(self, settings: Any, inputs: Inputs) -> list[Phase]:
        """Return the phases in order. The main phase has `steps=None`: it gets the steps that the budget leaves."""
