"""The plan of a recipe: against a run's own numbers, and cases worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import toy_experiment
import toys
from prealign.cli.plan import plan_tables
from prealign.errors import RecipeError
from prealign.methods.alignment.objective import WordFormAlignment, similarity_flops
from prealign.methods.flops import training_flops
from prealign.methods.memory import fused_loss_memory, parameter_memory
from prealign.methods.phase import Phase
from prealign.recipe.arms import resolve_arm
from prealign.recipe.sections import Recipe
from prealign.run.plan import DEVICES, GIB, Device, Devices, Plan, plan_arm, plan_recipe, use_devices
from prealign.run.planned import AssumedWords, planned_phases
from prealign.run.stages import ArmRun
from prealign.training.models import model_shapes

WORDS = AssumedWords(mean_forms_per_group=2, mean_tokens_per_group=4)
ONE = Devices("h100", 1, DEVICES["h100"], 0.5)


def recipe(**sections: Any) -> Recipe:
    base: dict[str, Any] = {
        "align": {"steps": 50, "pairs_per_batch": 16, "lm_batch_size": 4},
        "pretrain": {"steps": 100, "batch_size": 4, "context": 32},
        "trainer": {},
    }
    return toys.recipe(**base | sections)


def shapes(made: Recipe) -> Any:
    return model_shapes(made.model, vocab_size=500, context=made.pretrain.context, eos_token_id=0)


def plan(made: Recipe, arm: str = "prealign", devices: Devices = ONE) -> Plan:
    return plan_arm(made, arm, shapes(made), {"prealign": WORDS, arm: WORDS}, devices)


def phases(made: Recipe, arm: str) -> list[Phase]:
    return planned_phases(resolve_arm(made, arm), WORDS)


def test_steps_are_bounds_where_stage_1_may_end_early() -> None:
    made = recipe(align={"steps": 50, "until": 0.9, "pairs_per_batch": 16, "lm_batch_size": 4})
    plans = [plan(made, arm) for arm in ("joint", "prealign")]
    table, _ = plan_tables(plans, ONE, [])
    assert [row[1] for row in table.rows[:2]] == [
        f"pretrain {plans[0].steps['pretrain']}",
        "align ≤ 50, pretrain ≥ 100",
    ]
    assert "align.until" in table.note
    fixed = plan(recipe(), "joint")
    assert plans[0].steps["pretrain"] > fixed.steps["pretrain"], "the measurements are part of the budget"


def test_with_prepared_data_the_steps_are_those_of_the_run(tmp_path: Path) -> None:
    # An arm with few words has the budget of PreAlign with all words.
    few = {"few": {"extends": "joint", "set": {"lexicon.coverage": 0.1}}}
    arms = ["joint", "prealign", "prealign_sustained", "few"]
    made = toy_experiment.recipe(tmp_path / "text", variants=few, arms=arms, align__pairs_per_batch=64, align__steps=40)
    prepared, run = toy_experiment.prepared(made, tmp_path)
    plans, _, notes = plan_recipe(made, ONE, run.root)
    for found in plans:
        arm = ArmRun(found.arm, made.seeds[0], made, prepared, run, lambda progress: None)
        assert found.steps == {phase.name: phase.steps for phase in arm.phases}
    assert not any("assumed" in note for note in notes)
    assert f"{prepared.vocab_size:,} rows" in notes[0]


def test_before_there_is_any_text_words_are_assumed_and_it_says_so(tmp_path: Path) -> None:
    made = recipe(source={"text": [str(tmp_path / "nowhere")]}, tokenizer={"vocab_size": 600})
    plans, _, notes = plan_recipe(made, ONE, tmp_path / "run")
    assert [found.arm for found in plans] == ["joint", "prealign"]
    assert "1,199 rows" in notes[0]  # a twin of each of 600, but for the separator
    assert "assumed are 2 forms per translation group" in notes[1] and "2 tokens per form" in notes[1]
    assert not (tmp_path / "run").exists()


def test_every_arm_costs_what_prealign_costs_up_to_a_step() -> None:
    made = recipe()
    costs = {arm: plan(made, arm).flops for arm in ("prealign", "joint", "prealign_sustained", "prealign_no_lm")}
    step = phases(made, "prealign_sustained")[-1].cost(shapes(made)).flops
    for cost in costs.values():
        assert 0 <= costs["prealign"] - cost < step + 1
    assert plan(made).steps == {"align": 50, "pretrain": 100}


def test_amounts_worked_by_hand() -> None:
    made, found = recipe(), plan(recipe())
    model = shapes(made)
    parameters = sum(p.numel() for p in model.parameters())
    assert found.tokens == 50 * (4 * 32 + 16 * 4) + 100 * 4 * 32
    text = [training_flops(model, 4 * 32, 32)] * 2
    words = WordFormAlignment(WORDS, groups=16).cost(model).flops
    assert found.flops == 50 * (text[0] + words) + 100 * text[1]
    assert found.disk == 2 * 4 * parameters + 8 * 100 * 4 * 32
    similar = 50 * similarity_flops(model, 16, WORDS)
    assert found.seconds == pytest.approx(((found.flops - similar) / 989e12 + similar / 67e12) / 0.5)


def test_devices_read_more_in_the_same_steps_and_share_similarities() -> None:
    made = recipe()
    one, eight = plan(made), plan(made, devices=replace(ONE, number=8))
    assert (eight.steps, eight.tokens) == (one.steps, 8 * one.tokens)
    # Each of 8 scores the words of all: 8² as many similarities on a device, of 50 steps.
    more = 50 * (8**2 - 1) * similarity_flops(shapes(made), 16, WORDS)
    assert eight.flops == pytest.approx(8 * (one.flops + more))
    assert eight.memory["align"].objectives > one.memory["align"].objectives
    assert eight.memory["pretrain"] == one.memory["pretrain"]


def test_float32_goes_by_the_float32_peak_and_takes_more_memory() -> None:
    low, full = plan(recipe()), plan(recipe(trainer={"bf16": False}))
    assert full.seconds == pytest.approx(full.flops / 67e12 / 0.5)
    assert full.memory["pretrain"].activations > low.memory["pretrain"].activations


def test_fsdp_spreads_what_the_parameters_take() -> None:
    four = replace(ONE, number=4)
    whole, spread = plan(recipe(), devices=four), plan(recipe(trainer={"fsdp": "full_shard"}), devices=four)
    for part in ("weights", "gradients", "optimiser"):
        assert getattr(whole.peak[1], part) == 4 * getattr(spread.peak[1], part)
    assert whole.peak[1].activations == spread.peak[1].activations


def test_the_stages_of_an_arm_hold_what_they_use() -> None:
    made = recipe(sustain={"groups": 8})
    joint, no_lm, sustained = (plan(made, arm).memory for arm in ("joint", "prealign_no_lm", "prealign_sustained"))
    assert set(joint) == {"pretrain"} and joint["pretrain"].objectives == 0
    assert no_lm["align"].activations == no_lm["align"].logits == 0 < no_lm["align"].objectives
    assert 0 < sustained["pretrain"].objectives < sustained["align"].objectives


def test_liger_holds_the_logits_of_a_chunk() -> None:
    """Width 128 and 2,000 rows are 16 chunks: of 2,000 tokens, 125 each, rounded up to 128."""
    assert fused_loss_memory(2_000, 128, 2_000) == 4 * (3 * 128 * 2_000 + 2_000 * 128 + 2_000 * 128)
    assert fused_loss_memory(2_048, 128, 2_048) == 4 * (3 * 128 * 2_048 + 2 * 2_048 * 128), "a power of two stays"
    assert fused_loss_memory(8, 64, 32) == 4 * (3 * 8 * 32 + 8 * 64 + 32 * 64), "rows fewer than the width: one chunk"
    tokens, width, rows = 8_192, 768, 64_000
    assert fused_loss_memory(tokens, width, rows) < 0.2 * 2 * 2 * tokens * rows, "bf16 logits and their gradient"
    half = plan(recipe(trainer={"fp16": True})).memory["pretrain"]
    made = recipe(trainer={"use_liger_kernel": True})
    text = made.pretrain.batch_size * made.pretrain.context
    plain, fused = plan(recipe()).memory, plan(made).memory
    assert plain["pretrain"].logits in (2 * 2 * text * 500, 2 * 4 * text * 500)
    assert half.logits == 3 * 4 * text * 500, "the stock loss, in float32"
    assert fused["pretrain"].logits == fused_loss_memory(text, 128, 500)
    for stage in ("align", "pretrain"):
        assert replace(fused[stage], logits=plain[stage].logits) == plain[stage], "nothing else"


def test_micro_batches_take_less_memory_and_the_plan_says_what_they_cost(tmp_path: Path) -> None:
    whole, micro = recipe(align={"pairs_per_batch": 512}), recipe(align={"pairs_per_batch": 512, "micro_pairs": 16})
    assert plan(micro).memory["align"].objectives < plan(whole).memory["align"].objectives / 2
    assert plan(micro).flops == plan(whole).flops
    notes = [plan_recipe(made, ONE, tmp_path / "run")[2] for made in (whole, micro)]
    assert [any("align.micro_pairs" in note for note in each) for each in notes] == [False, True]


def test_a_frozen_body_takes_weights_only_and_its_share_is_told(tmp_path: Path) -> None:
    made = recipe(align={"steps": 50, "pairs_per_batch": 16, "lm_batch_size": 4, "freeze_body": True})
    whole, frozen = plan(recipe()).memory["align"], plan(made).memory["align"]
    model = shapes(made)
    embeddings = 4 * 2 * model.get_input_embeddings().weight.numel()
    assert frozen.weights == whole.weights == 4 * sum(p.numel() for p in model.parameters())
    assert (frozen.gradients, frozen.optimiser) == (embeddings, 2 * embeddings)
    assert frozen.activations < whole.activations and plan(made).memory["pretrain"] == plan(recipe()).memory["pretrain"]
    _, _, notes = plan_recipe(toy_experiment.recipe(tmp_path, **{"align.freeze_body": True}), ONE, tmp_path / "run")
    (told,) = [note for note in notes if "freeze_body" in note]
    assert told.startswith("align.freeze_body: ") and told.endswith("do not train in that stage, in prealign")


def test_freezing_saves_steps_of_no_arm_and_flops_of_all() -> None:
    """Joint training has the budget of PreAlign, whose stage 1 costs less."""
    made = recipe(align={"steps": 50, "pairs_per_batch": 16, "lm_batch_size": 4, "freeze_body": True})
    for arm in ("joint", "prealign"):
        assert plan(made, arm).flops < plan(recipe(), arm).flops
    joint, whole = (plan(one, "joint").steps["pretrain"] for one in (made, recipe()))
    assert plan(made).steps == plan(recipe()).steps and joint < whole
    step = phases(made, "joint")[-1].cost(shapes(made)).flops
    assert 0 <= plan(made).flops - plan(made, "joint").flops < step


def test_what_does_not_fit_is_said_under_the_table_with_what_to_do() -> None:
    made = recipe()
    need = plan(made).peak[1].total
    state = parameter_memory(shapes(made)).total
    by_size = {
        (GIB, need * 2): ("yes", ""),
        (GIB, need - state / 2): (
            "no",
            "use more devices with fsdp (trainer.fsdp: full_shard), or use a smaller align.",
        ),
        (GIB, need - state * 1.1): (
            "no",
            "; use a smaller align.lm_batch_size or align.micro_pairs (unset: all pairs), or trainer.",
        ),
    }
    for (_, memory), (fits, advice) in by_size.items():
        small = replace(ONE, device=Device(1e12, 1e12, memory))
        table = plan_tables([plan(made, devices=small)], small, [])[1]
        assert table.rows[0][-1] == fits
        assert (("prealign: does not fit: " in table.note) and advice in table.note) == (fits == "no")


def test_the_last_row_adds_up_arms_and_seeds() -> None:
    made = recipe(seeds=[0, 1, 2], arms=["joint", "prealign"])
    plans = [plan(made, arm) for arm in made.arms]
    table = plan_tables(plans, ONE, ["a note"])[0]
    assert table.rows[-1][0] == "all, 3 seeds" and table.note == "a note"
    assert [row[0] for row in table.rows[:-1]] == made.arms


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("h10", 1, 0.4), "unknown --gpu 'h10'; did you mean 'h100'?"),
        (("abacus", 1, 0.4), "unknown --gpu 'abacus'; known: a100, h100, h200, l40s, rtx4090, mi300x, cpu"),
        (("h100", 0, 0.4), "--gpus 0: a plan needs at least one device"),
        (("h100", 1, 0.0), "--utilisation 0 is not a share above 0 and at most 1"),
        (("h100", 1, 40.0), "40 % is written 0.4"),
        (("h100", 1, math.nan), "--utilisation nan"),
        (("cpu", 1, 0.4), "Give the peak FLOP/s: --flops 2e12"),
        (("cpu", 1, 0.4, -1.0), "--flops -1 is not a number"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        use_devices(*arguments)
    assert message in str(caught.value)


def test_a_peak_of_ones_own_replaces_the_tables() -> None:
    assert use_devices("cpu", 2, 1.0, 2e12).device == Device(2e12, 2e12, math.inf)
    assert use_devices("h100", 1, 0.4, 5e14).device == Device(5e14, 5e14, 80 * GIB)
