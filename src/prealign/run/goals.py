"""The goals of phases that align words (`prealign.methods.goal`): measured while a phase trains and when it has ended.

1. `GoalWatch` draws the sample of word pairs. For a phase that may end early it gives the callback that ends it.
2. When the phase has trained, `finish` measures what was reached. It adds this to the record, and tells the user.
3. `trained_phase` gives the main phase the FLOPs that finished phases saved by ending early.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prealign.evaluation.retrieval.established import LAYERS, PairSample, UntilEstablished
from prealign.events import OnProgress, Progress
from prealign.files import read_json
from prealign.languages import language_name
from prealign.methods.phase import MAIN, Phase
from prealign.recipe.methods import ESTABLISHED
from prealign.run.folder import STAGE_FILE
from prealign.run.inputs import ArmInputs
from prealign.training import ranks


@dataclass(frozen=True)
class GoalWatch:
    """The goal of a phase of an arm: its sample of word pairs, and the callback that may end the phase."""

    inputs: ArmInputs
    phase: Phase
    sample: PairSample
    callback: UntilEstablished | None

    @classmethod
    def of(cls, inputs: ArmInputs, phase: Phase, on_progress: OnProgress) -> GoalWatch | None:
        """Return None if the phase has no goal, or the clone has the ids of its source and its words are the same.

        Tells the user if the lexicon has too few words for full batches.
        """
        if phase.goal is None or inputs.recipe.mixture.clone_in_source_ids:
            return None
        settings: dict[str, Any] = {"layers": phase.goal.layers, "bos": inputs.recipe.align.bos}
        sample = PairSample.draw(inputs.tokenizer, inputs.training_lexicon, inputs.seed, **settings)
        until = phase.goal.until
        if note := few_words(inputs.words.groups, inputs.recipe.align.pairs_per_batch, inputs.devices):
            on_progress(Progress(phase.name, 0, phase.steps or 0, note=note))
        return cls(inputs, phase, sample, None if until is None else UntilEstablished(sample, until))

    @property
    def callbacks(self) -> list[UntilEstablished]:
        """The callback, if there is one."""
        return [self.callback] if self.callback else []

    def finish(self, record: Mapping[str, Any], model: Any, on_progress: OnProgress) -> dict[str, Any]:
        """Measure the trained model; return the record with the measurements' FLOPs and "alignment", and tell the user.

        "alignment" has a row a language: P@1 "value" of "n" pairs at "layers", the goal "until" and the "most" steps.
        """
        goal, devices, steps = self.phase.goal, self.inputs.devices, record["steps"]
        assert goal is not None
        measured = len(self.callback.points) if self.callback else 0
        flops = record["flops"] + devices * measured * goal.measurement(model).flops
        value = ranks.by_first(lambda: self.sample(model))
        rows = [
            {
                "language": pairs.language,
                "value": value[pairs.language],
                "n": len(pairs.sources),
                "layers": goal.layers,
                "until": goal.until,
                "most": self.phase.steps,
            }
            for pairs in self.sample.pairs
        ]
        share = flops / (devices * self.inputs.budget)
        missed = self.callback is not None and self.callback.reached is None
        for note in notes(rows, steps, share, missed=missed) if rows else ():
            on_progress(Progress(self.phase.name, steps, steps, note=note))
        return {**record, "flops": flops, "alignment": rows}


def few_words(groups: int, pairs: int, devices: int) -> str:
    """Return what the user is told if a step of `devices` batches of `pairs` groups holds the whole lexicon; else ""."""
    needed = pairs * devices
    if groups >= needed:
        return ""
    of = f"{pairs} × {devices} devices" if devices > 1 else f"{pairs}"
    return (
        f"a step of align.pairs_per_batch {of} needs {needed:,} words with a translation; the training lexicon has "
        f"{groups:,}, so every step holds all of them; lower it, or add a dictionary"
    )


def notes(rows: Sequence[Mapping[str, Any]], steps: int, share: float, *, missed: bool) -> list[str]:
    """Return what the user is told when stage 1 has ended: what was reached, its price, and what to change.

    rows: those of the record. share: of the arm's FLOPs. missed: whether the most steps ended before the goal.
    """
    first = rows[0]
    values = ", ".join(f"{row['value']:.2f} in {language_name(row['language'])}" for row in rows)
    of_most = "" if first["until"] is None else f" of at most {first['most']:,}"
    told = [
        f"P@1 of seen words at {LAYERS[first['layers']]} is {values}, after {steps:,}{of_most} steps, {share:.1%} of the "
        "arm's FLOPs"
    ]
    advice = "raise align.steps" + (
        ", align.pairs_per_batch or align.learning_rate" if first["layers"] == "all" else ""
    )
    if min(row["value"] for row in rows) < ESTABLISHED:
        told.append(
            f"the alignment is not established (P@1 below {ESTABLISHED}): what follows is no test of PreAlign; {advice}"
        )
    elif missed:
        told.append(f"align.until {first['until']} was not reached within align.steps {first['most']:,}; {advice}")
    return told


def trained_phase(inputs: ArmInputs, name: str, folder: Callable[[str], Path]) -> Phase:
    """Return a phase as it is trained: what earlier phases saved by an early end goes to the main phase.

    folder: returns the folder of a stage. For the main phase, the stages of the phases that may end early are finished.
    """
    early = [phase.name for phase in inputs.phases if phase.ends_early]
    if name != MAIN or not early:
        return inputs.phase(name)
    spent = {name: read_json(folder(name) / STAGE_FILE)["flops"] / inputs.devices for name in early}
    return next(phase for phase in inputs.phases_after(spent) if phase.name == MAIN)
