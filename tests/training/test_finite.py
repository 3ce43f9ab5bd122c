"""Training ends at the first number that is not finite, with its name, its step and the setting to change."""

from __future__ import annotations

import gc
import math
import re
import weakref
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from torch import Tensor
from transformers import TrainerCallback

import toys
from prealign.errors import DivergedError, RecipeError
from prealign.methods.alignment.objective import WordFormAlignment
from prealign.methods.phase import Term
from prealign.recipe.checks import contradictions
from prealign.recipe.sections import CheckpointSection
from prealign.training import phase as phase_module
from prealign.training.checkpoints import WHOLE, newest
from prealign.training.phase import train as train_phase

CONTEXT, STEPS = 12, 6
WORDS = toys.forms([[1, 2], [20]], [[3], [21, 22]], [[4, 5, 6], [23]], [[7], [24], [1, 2]], [[8, 9], [25]])


class Breaking(WordFormAlignment):
    """L_align whose value, or whose gradient alone, is not finite in the step `at`, counted from 0."""

    def __init__(self, at: int, value: float, *, gradient: bool = False) -> None:
        super().__init__(WORDS)
        self.at, self.value, self.gradient, self.steps = at, value, gradient, 0

    def loss(self, encoded: Any, batch: Any) -> dict[str, Tensor]:
        losses, self.steps = super().loss(encoded, batch), self.steps + 1
        if self.steps - 1 == self.at:
            if self.gradient:
                losses["align"].register_hook(lambda slope: slope * self.value)
            else:
                losses["align"] = losses["align"] * self.value
        return losses


def train(folder: Path, *terms: Term, model: Any = None, **settings: Any) -> dict[str, Any]:
    names = ("callbacks", "at_start", "trainer", "eval_batch_size")
    more = {name: settings.pop(name) for name in names if name in settings}
    held_out = {"en": toys.blocks(4, CONTEXT, vocabulary=60, seed=1)}
    validation = settings.pop("validation", held_out)
    return train_phase(
        toys.phase(*terms, steps=STEPS, context=CONTEXT, **settings),
        model or toys.llama(),
        toys.blocks(2 * STEPS, CONTEXT, vocabulary=60),
        validation,
        seed=0,
        folder=folder,
        on_progress=lambda _: None,
        checkpoint=CheckpointSection(every=1, keep=9),
        validations=2,
        **{"trainer": {"bf16": False}} | more,
    )


@pytest.mark.parametrize(("at", "value"), [(1, math.nan), (3, math.inf), (STEPS - 1, -math.inf)])
def test_the_first_loss_that_is_not_finite_ends_the_stage(tmp_path: Path, at: int, value: float) -> None:
    with pytest.raises(DivergedError) as told:
        train(tmp_path, Term(Breaking(at, value)), name="align")
    assert str(told.value) == (
        f"align diverged at step {at + 1} of {STEPS}: align_loss is {value}. "
        "To mend it, raise align.temperature, or lower align.learning_rate."
    )
    sealed = sorted(int(path.parent.name.removeprefix("checkpoint-")) for path in tmp_path.glob(f"*/{WHOLE}"))
    assert sealed == list(range(1, at + 1)), "every good checkpoint stays, and no bad one is whole"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_first_gradient_that_is_not_finite_ends_the_stage(tmp_path: Path, value: float) -> None:
    with pytest.raises(DivergedError, match=r"^pretrain diverged at step 3 of 6: the norm of the gradient is nan"):
        train(tmp_path, Term(Breaking(2, value, gradient=True)))
    assert newest(tmp_path).step == 2


@pytest.mark.parametrize("clipping", [0.0, 1.0])
def test_gradients_are_watched_with_and_without_clipping(tmp_path: Path, clipping: float) -> None:
    trainer = {"bf16": False, "max_grad_norm": clipping}
    with pytest.raises(DivergedError, match=r"^pretrain diverged at step 3 of 6: the norm of the gradient is nan"):
        train(tmp_path, Term(Breaking(2, math.nan, gradient=True)), trainer=trainer)


def test_a_number_broken_before_the_first_update_is_not_the_fault_of_the_learning_rate(tmp_path: Path) -> None:
    model = toys.llama()
    model.lm_head.weight.data[3, 2] = math.nan
    with pytest.raises(DivergedError) as told:
        train(tmp_path, model=model, at_start="lower align.learning_rate")
    place = f"pretrain diverged at step 1 of {STEPS}, before the first update of the weights"
    assert str(told.value) == f"{place}: the loss is nan. To mend it, lower align.learning_rate."
    with pytest.raises(DivergedError, match=re.escape("align_loss is nan. To mend it, raise align.temperature, or")):
        train(tmp_path / "cold", Term(WordFormAlignment(WORDS, temperature=1e-300)))


def test_a_rate_far_too_high_names_its_stage(tmp_path: Path) -> None:
    for name in ("align", "pretrain"):
        with pytest.raises(DivergedError, match=rf"^{name} diverged at .*lower {name}.learning_rate\.$"):
            train(tmp_path / name, name=name, learning_rate=1e20)


class Break(TrainerCallback):
    """Makes row 61 of the embedding NaN after a step. No block of training reads the row."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step == self.at:
            model.model.embed_tokens.weight.data[61] = math.nan


@pytest.mark.parametrize("at", [4, STEPS])
def test_broken_weights_are_neither_sealed_nor_the_result(tmp_path: Path, at: int) -> None:
    with pytest.raises(DivergedError, match=rf"^pretrain diverged at step {at} of 6: a weight is nan"):
        train(tmp_path, callbacks=[Break(at)])
    assert newest(tmp_path).step == at - 1


def test_validation_leaves_out_no_batch(tmp_path: Path) -> None:
    # One of two batches in one language reads the broken row; the stock filter takes the mean of the other.
    half = Dataset.from_dict({"input_ids": [[1] * CONTEXT, [61] * CONTEXT], "labels": [[1] * CONTEXT] * 2})
    with pytest.raises(DivergedError, match=r"^pretrain diverged at step 3 of 6: the validation loss in en is nan"):
        train(tmp_path, callbacks=[Break(3)], validation={"de": half.select([0]), "en": half}, eval_batch_size=1)
    assert newest(tmp_path).step == 2


def test_the_trainer_is_freed_when_it_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    build = phase_module._trainer

    def watched(*args: Any) -> Any:
        trainer = build(*args)
        made.append(weakref.ref(trainer))
        return trainer

    monkeypatch.setattr(phase_module, "_trainer", watched)
    gc.collect()
    gc.disable()
    try:
        train(tmp_path, Term(WordFormAlignment(WORDS)))
        assert made[0]() is None, "its optimiser would stay in memory beside the next arm's"
    finally:
        gc.enable()


def test_the_filter_of_the_trainer_cannot_be_set() -> None:
    recipe = toys.recipe(trainer={"bf16": False, "logging_nan_inf_filter": True})
    ((key, message),) = [p for p in contradictions(recipe) if p[0][0] == "trainer"]
    assert key == ("trainer", "logging_nan_inf_filter") and "hides losses" in message


def test_float16_is_not_recorded_where_float32_is_trained(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"would train in float32, and the recipe says float16"):
        train(tmp_path, trainer={"fp16": True})
