"""Numbers that are not finite: which stage made them, what to change, and the runs that they left unfinished.

Training and evaluators raise DivergedError with the number. Here it gets the names that the user knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from prealign.errors import DivergedError, PrealignError
from prealign.methods.phase import Phase
from prealign.recipe.sections import ModelSection

INITIAL = "init"
"""The stage of a model that no phase has trained."""


@contextmanager
def of_model(stage: str, section: ModelSection) -> Iterator[None]:
    """Say of a DivergedError which stage made the measured model, and what to change."""
    try:
        yield
    except DivergedError as error:
        raise DivergedError(f"the model after {stage}: {error}. To mend it, {remedy(stage, section)}.") from None


def remedy(stage: str, section: ModelSection) -> str:
    """Return what to do about the model that a stage has made, as a clause. stage: of a phase, or INITIAL."""
    if stage != INITIAL:
        return f"lower {stage}.learning_rate"
    given = next((key for key in ("pretrained", "config") if getattr(section, key)), "preset")
    return f"check the weights of model.{given}" if given == "pretrained" else f"check model.{given}"


def start_of(phase: Phase, phases: Sequence[Phase]) -> str:
    """Return the stage whose model a phase starts from."""
    names = [one.name for one in phases]  # a phase that got steps of an earlier one is no longer equal
    place = names.index(phase.name)
    return names[place - 1] if place else INITIAL


def refuse_unfinished(unfinished: Sequence[Mapping[str, Any]], planned: int) -> None:
    """Raise PrealignError with the reason of each unfinished run of `planned` ones, if there is any.

    unfinished: rows of results.json with arm, seed and reason.
    """
    if unfinished:
        reasons = "".join(f"\n  {row['arm']} seed {row['seed']}: {row['reason']}" for row in unfinished)
        raise PrealignError(
            f"{len(unfinished)} of {planned} runs ended early. The results hold the others; finished stages and good "
            f"checkpoints are kept.{reasons}"
        )
