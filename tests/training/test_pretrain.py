"""Stage 2: the stock Trainer, and what sustained alignment adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import Trainer

import toys
from prealign.errors import RecipeError
from prealign.methods.alignment.objective import WordFormAlignment
from prealign.methods.budget import matched_steps
from prealign.methods.flops import training_flops
from prealign.methods.phase import Phase, Term
from prealign.methods.schedule import Schedule
from prealign.recipe.sections import PretrainSection
from prealign.training.loop import training_arguments
from prealign.training.loss import causal_lm_loss
from prealign.training.phase import train

CONTEXT, BATCH, STEPS = 12, 2, 4
WORDS = toys.forms(*([[g, g + 1], [g + 20]] for g in range(1, 11)))
BLOCKS = toys.blocks(STEPS * BATCH, CONTEXT, vocabulary=5)  # EOS of many tokenizers, 0, is a label here as any other


def stage_2(*terms: Term) -> Phase:
    return toys.phase(*terms, steps=STEPS, batch_size=BATCH, context=CONTEXT, warmup=0.05)


def run(folder: Path, model: Any, *terms: Term) -> dict[str, Any]:
    validation = {"en": BLOCKS.select(range(3)), "en-clone": BLOCKS.select(range(3, 6))}
    return train(
        stage_2(*terms),
        model,
        BLOCKS,
        validation,
        seed=0,
        folder=folder,
        on_progress=lambda _: None,
        trainer={"bf16": False},
        validations=2,
    )


def test_without_sustained_alignment_it_is_the_stock_trainer(tmp_path: Path) -> None:
    ours, theirs = toys.llama(), toys.llama()
    record = run(tmp_path / "ours", ours)
    settings: dict[str, Any] = {"steps": STEPS, "batch_size": BATCH, "seed": 0, "validations": 2}
    arguments = training_arguments({"bf16": False}, tmp_path, stage_2(), **settings)
    theirs.loss_function = causal_lm_loss
    Trainer(theirs, arguments, train_dataset=BLOCKS, eval_dataset=BLOCKS).train()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
    assert all("align_loss" not in point for point in record["history"])


def test_the_first_loss_is_the_labels_mean_worked_by_hand(tmp_path: Path) -> None:
    model = toys.llama()
    ids, labels = (torch.tensor(BLOCKS[:BATCH][key]) for key in ("input_ids", "labels"))
    assert (labels[:, 1:] == 0).any() and (labels != ids).any()
    with torch.no_grad():
        expected = toys.lm_loss(model, ids, labels).item()
    assert run(tmp_path, model)["history"][0]["loss"] == pytest.approx(expected, rel=1e-4)


def test_warm_up_is_a_share_of_the_steps_up_to_all_of_them(tmp_path: Path) -> None:
    arguments = [
        training_arguments(
            {}, tmp_path, PretrainSection(warmup=share), steps=40, batch_size=1, seed=0
        ).get_warmup_steps(40)
        for share in (0.0, 0.01, 0.05, 0.5, 1.0)
    ]
    assert arguments == [0, 1, 2, 20, 40]


def test_validation_perplexity_is_measured_by_language(tmp_path: Path) -> None:
    model = toys.llama()
    history = run(tmp_path, model)["history"]
    points = {point["step"]: point["validation"] for point in history if "validation" in point}
    assert list(points) == [2, 4]
    with torch.no_grad():
        for language, rows in (("en", slice(0, 3)), ("en-clone", slice(3, 6))):
            loss = toys.lm_loss(model, *(torch.tensor(BLOCKS[rows][key]) for key in ("input_ids", "labels")))
            assert points[4][language] == pytest.approx(loss.exp().item(), rel=1e-4)


@pytest.mark.parametrize("every", [1, 3])
def test_sustained_alignment_is_added_at_every_kth_step(tmp_path: Path, every: int) -> None:
    model, weight = toys.llama(), 0.5
    objective = WordFormAlignment(WORDS, groups=5)
    record = run(tmp_path, model, Term(objective, weight, every))
    aligned = [point for point in record["history"] if "align_loss" in point]
    assert [point["step"] - 1 for point in aligned] == list(range(0, STEPS, every))
    for point in aligned:
        assert point["loss"] == pytest.approx(point["lm_loss"] + weight * point["align_loss"], rel=1e-3)
    assert [sorted(point["validation"]) for point in record["history"] if "validation" in point] == [
        ["en", "en-clone"]
    ] * 2
    assert record["tokens"] == round(STEPS * (BATCH * CONTEXT + 5 * 3 / every))
    text = training_flops(model, BATCH * CONTEXT, CONTEXT)
    assert record["flops"] == pytest.approx(STEPS * (text + objective.cost(model).flops / every))


def test_a_schedule_changes_the_weight_over_the_course_of_the_stage(tmp_path: Path) -> None:
    schedule = Schedule(((0.0, 2.0), (0.5, 1.0), (1.0, 0.0)))
    record = run(tmp_path, toys.llama(), Term(WordFormAlignment(WORDS, groups=5), 0.5, schedule=schedule))
    weights = [1.0, 0.75, 0.5, 0.25]  # at 0, 1/4, 1/2 and 3/4 of four steps
    for point, weight in zip(record["history"], weights, strict=False):
        assert point["loss"] == pytest.approx(point["lm_loss"] + weight * point["align_loss"], rel=1e-3)


def test_flops_of_a_step_without_sustained_alignment_are_those_of_its_text() -> None:
    model = toys.llama()
    text = training_flops(model, BATCH * CONTEXT, CONTEXT)
    assert stage_2().cost(model).flops == text


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 1e4))
def test_matched_steps_use_the_budget_up_to_one_step(budget: float, spent: float, step: float) -> None:
    if (budget - spent) / step + 1e-6 < 1:
        with pytest.raises(RecipeError, match="leaves no step"):
            matched_steps(budget, spent, step)
        return
    used = spent + matched_steps(budget, spent, step) * step
    assert budget - step - 1e-6 < used <= budget + step * 1e-5


@given(st.floats(0.1, 1e15), st.integers(1, 10_000), st.floats(0.1, 1e15))
def test_the_arm_that_sets_the_budget_gets_its_own_steps(align: float, steps: int, step: float) -> None:
    """Sums of FLOPs round, and one step would be lost to it now and then."""
    assume(align < 1e4 * steps * step)
    assert matched_steps(align + steps * step, align, step) == steps


def test_the_recipe_decides_the_precision_whatever_the_launcher_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    arguments = training_arguments({"bf16": False}, tmp_path, PretrainSection(), steps=1, batch_size=1, seed=0)
    assert arguments.mixed_precision == "no"
