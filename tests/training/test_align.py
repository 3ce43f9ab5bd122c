"""Stage 1 on a toy: it learns, and its record says what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn

import toys
from prealign.events import Progress
from prealign.methods.alignment.objective import WordFormAlignment
from prealign.methods.alignment.states import encoded_word_states, pad_words
from prealign.methods.flops import training_flops
from prealign.methods.phase import Phase, Term
from prealign.training.phase import train

PAIRS, CONTEXT, STEPS = 30, 16, 40
WORDS = toys.forms(*([[g], [PAIRS + g, 2 * PAIRS + g % 7]] for g in range(PAIRS)))
ROWS = 2 * PAIRS + 7


def counting_text(blocks: int) -> Dataset:
    """Text that is easy to model: every token is followed by the next number."""
    ids = (np.arange(CONTEXT)[None] + np.random.default_rng(0).integers(0, ROWS, (blocks, 1))) % ROWS
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": ids.tolist()})


def stage_1(**settings: Any) -> Phase:
    base = {"name": "align", "steps": STEPS, "batch_size": 8, "context": CONTEXT, "learning_rate": 1e-2, "warmup": 0.05}
    return toys.phase(Term(WordFormAlignment(WORDS, groups=16)), **base | settings)


def run(folder: Path, model: Any, **settings: Any) -> tuple[dict[str, Any], list[Progress]]:
    phase, progress = stage_1(**settings), list[Progress]()
    assert phase.steps
    text = counting_text(phase.steps * 8)
    record = train(
        phase,
        model,
        text,
        {"en": text.select(range(8))},
        seed=0,
        folder=folder,
        on_progress=progress.append,
        trainer={"bf16": False},
        validations=4,
    )
    return record, progress


def precision_at_1(model: Any) -> list[float]:
    """Share of words whose nearest translation is theirs, both directions, per layer."""
    with torch.no_grad():
        h = nn.functional.normalize(encoded_word_states(model, *pad_words(WORDS.ids)), dim=-1)
    similarity = h[:, ::2] @ h[:, 1::2].transpose(1, 2)  # (L+2, PAIRS, PAIRS)
    own = torch.arange(PAIRS)
    return [float((torch.cat([s.argmax(1), s.argmax(0)]) == own.repeat(2)).float().mean()) for s in similarity]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any], list[Progress]]:
    model = toys.llama(rows=ROWS, initializer_range=0.02)
    assert max(precision_at_1(model)) < 0.5
    return model, *run(tmp_path_factory.mktemp("align"), model)


def test_both_losses_fall_and_every_layer_is_aligned(trained: Any) -> None:
    model, record, _ = trained
    first, last = record["history"][0], record["history"][-1]
    assert last["align_loss"] < 0.1 * first["align_loss"]
    assert last["lm_loss"] < 0.8 * first["lm_loss"]
    assert precision_at_1(model.eval()) == [1.0] * (toys.BLOCKS + 2)


def test_the_history_holds_losses_and_validation_perplexity(trained: Any) -> None:
    _, record, progress = trained
    history = record["history"]
    assert [point["step"] for point in history] == list(range(1, STEPS + 1))
    validation = {point["step"]: point["validation"]["en"] for point in history if "validation" in point}
    assert list(validation) == [10, 20, 30, 40]
    assert ROWS * 2 > validation[10] > validation[40] > 1
    for point in history[:5]:
        assert point["loss"] == pytest.approx(point["lm_loss"] + point["align_loss"], rel=1e-3)
    assert progress[-1].step == progress[-1].steps == STEPS
    assert progress[-1].loss == history[-2]["loss"], "the last one logged: a step is logged after it ends"


def test_the_record_counts_tokens_and_flops(trained: Any) -> None:
    model, record, _ = trained
    assert record["steps"] == STEPS
    assert record["tokens"] == STEPS * (8 * CONTEXT + 16 * 3) == record["history"][-1]["tokens"]
    text = training_flops(model, 8 * CONTEXT, CONTEXT)
    assert record["flops"] == STEPS * (text + WordFormAlignment(WORDS, groups=16).cost(model).flops)


def test_flops_of_words_are_those_of_a_body_without_logits_and_of_similarities() -> None:
    model, forms, tokens = toys.llama(rows=ROWS), 2 * 10, 3 * 10
    encode = training_flops(model, tokens, 1.5, logits=False)
    similarities = 3 * (toys.BLOCKS + 2) * 2 * forms * forms * toys.WIDTH
    ten, all_groups, more = (WordFormAlignment(WORDS, groups=n).cost(model) for n in (10, PAIRS, 10 * PAIRS))
    assert ten.flops == pytest.approx(encode + similarities) and ten.float32_flops == similarities
    assert more == all_groups, "no batch holds a group twice"


def test_without_lm_weight_text_costs_nothing(tmp_path: Path) -> None:
    model = toys.llama(rows=ROWS)
    record, _ = run(tmp_path, model, steps=2, lm_weight=0.0)
    assert record["tokens"] == 2 * 16 * 3
    words = WordFormAlignment(WORDS, groups=16).cost(model)
    assert stage_1(lm_weight=0.0).cost(model) == words and words.flops == record["flops"] / 2


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    weights = []
    for name in ("one", "two"):
        model = toys.llama(rows=ROWS)
        run(tmp_path / name, model, steps=3)
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
