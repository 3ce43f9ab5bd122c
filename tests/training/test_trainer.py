"""The trainer of both losses against sums made by hand and the stock Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy import sparse
from torch import Tensor
from transformers import AutoModelForCausalLM, Trainer

import toys
from prealign.errors import RecipeError
from prealign.methods.alignment import states
from prealign.methods.alignment.loss import ExcludedPairs, WordAlignmentLoss
from prealign.methods.alignment.objective import WordFormAlignment, selected
from prealign.methods.alignment.words import WordForms
from prealign.methods.phase import Phase, Term
from prealign.methods.vocabulary.anchored import anchor_vocabulary
from prealign.training.forward import with_objectives
from prealign.training.loop import training_arguments
from prealign.training.trainer import PhaseSteps, PhaseTrainer, collate

CONTEXT = 12
EOS = 0
WORDS = toys.forms(*([[g, g + 1], [g + 20]] for g in range(1, 11)), [[1, 2], [40]])


def arguments(folder: Path, steps: int, batch_size: int = 1, **trainer: Any) -> Any:
    settings = {"bf16": False, "logging_steps": 1, **trainer}
    return training_arguments(
        settings, folder, toys.phase(), steps=steps, batch_size=batch_size, seed=0, validations=steps
    )


def aligned(
    words: WordForms = WORDS,
    *,
    weight: float = 1.0,
    every: int = 1,
    lm_weight: float = 1.0,
    batch_size: int = 2,
    **settings: Any,
) -> Phase:
    """A phase with L_align of 5 groups; settings are the objective's."""
    objective = WordFormAlignment(words, **{"groups": 5, **settings})
    return toys.phase(Term(objective, weight, every), lm_weight=lm_weight, batch_size=batch_size)


def trainer_of(model: Any, phase: Phase, blocks: Dataset, arguments: Any, **more: Any) -> PhaseTrainer:
    objectives = {term.objective.name: term.objective for term in phase.terms}
    return PhaseTrainer(
        with_objectives(model, objectives),
        arguments,
        phase=phase,
        data_collator=collate,
        train_dataset=PhaseSteps(blocks, phase),
        **more,
    )


def words_in(item: dict[str, Any]) -> dict[str, Any]:
    return item["objectives"]["words"]


def align_loss(model: Any, batch: dict[str, Any], layers: slice = slice(None), tau: float = 0.1) -> torch.Tensor:
    batch = words_in(batch)
    own = states.encoded_word_states(model, batch["word_ids"], batch["word_lengths"])[layers]
    excluded = ExcludedPairs(batch["word_groups"], batch["word_surfaces"])
    return WordAlignmentLoss(tau)(own, batch["word_groups"], excluded)


@pytest.mark.parametrize("make", [toys.llama, lambda: toys.llama(tied=True), toys.gpt2, toys.neox])
def test_checkpoints_are_those_of_the_plain_class(make: Any, tmp_path: Path) -> None:
    plain = make().eval()
    cls, ids = type(plain), torch.arange(10)[None]
    with torch.no_grad():
        expected = plain(input_ids=ids).logits
        wrapped = with_objectives(plain, {})
        assert torch.equal(wrapped(input_ids=ids).logits, expected)
        wrapped.save_pretrained(tmp_path)
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        assert type(loaded) is cls
        assert loaded.config.architectures == [cls.__name__]
        torch.testing.assert_close(loaded(input_ids=ids).logits, expected)


def test_only_the_instance_given_encodes_for_objectives() -> None:
    one, other = toys.llama(), toys.llama()
    with_objectives(one, {"words": WordFormAlignment(WORDS, groups=3)})
    batches = {"words": WORDS.batch(np.arange(3))}
    assert one(objectives=batches)["objectives"]["words"].keys() == {"states"}
    with pytest.raises((TypeError, ValueError)):
        other(objectives=batches)


@pytest.mark.parametrize(
    ("weight", "lm_weight", "layers"), [(1.0, 1.0, "all"), (0.3, 2.0, "embedding"), (2.0, 0.5, "output")]
)
def test_the_loss_of_a_step_is_the_weighted_sum(weight: float, lm_weight: float, layers: str, tmp_path: Path) -> None:
    # pad = eos in many tokenizers, and a label that is EOS counts all the same: here there are some.
    model, blocks = toys.llama(), toys.blocks(4, CONTEXT, vocabulary=5)
    assert any(EOS in labels[1:] for labels in blocks["labels"])
    phase = aligned(weight=weight, lm_weight=lm_weight, layers=layers, temperature=0.2)
    chosen = selected(layers, model)
    with torch.no_grad():
        batch = PhaseSteps(blocks, phase)[0]
        expected = [toys.lm_loss(model, batch["input_ids"], batch["labels"]), align_loss(model, batch, chosen, tau=0.2)]
    trainer = trainer_of(model, phase, blocks, arguments(tmp_path, 2, eval_strategy="no"))
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["lm_loss"] == pytest.approx(expected[0].item(), rel=1e-5)
    assert first["align_loss"] == pytest.approx(expected[1].item(), rel=1e-5)
    assert first["loss"] == pytest.approx(lm_weight * expected[0].item() + weight * expected[1].item(), rel=1e-4)


def gradients_of_a_step(trainer: PhaseTrainer, batch: dict[str, Any]) -> dict[str, Any]:
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, batch).backward()
    return {name: p.grad for name, p in trainer.model.named_parameters()}


def anchored() -> Any:
    anchors = sparse.csr_matrix((np.array([0.5, 0.5, 1.0]), ([21, 21, 22], [1, 2, 3])), shape=(64, 64))
    return anchor_vocabulary(toys.llama(), anchors, np.where(np.isin(np.arange(64), [21, 22]), 0, -1), fresh=False)


def step_with(
    model: Any, folder: Path, micro: int | None, *, bf16: bool = False
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one step with 8 groups."""
    phase, blocks = aligned(groups=8, weight=0.7, bos=63, micro_pairs=micro), toys.blocks(2, CONTEXT, vocabulary=60)
    trainer = trainer_of(model.train(), phase, blocks, arguments(folder, 1, eval_strategy="no"))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = trainer.compute_loss(model, PhaseSteps(blocks, phase)[0])
    loss.backward()
    return float(loss), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("make", [toys.llama, lambda: toys.llama(tied=True), toys.qwen2, anchored])
@pytest.mark.parametrize("micro", [1, 3])
def test_a_step_in_micro_batches_is_the_step_of_the_whole_batch(make: Any, micro: int, tmp_path: Path) -> None:
    whole, parts = (step_with(make().double(), tmp_path, at_once) for at_once in (None, micro))
    assert parts[0] == pytest.approx(whole[0], rel=1e-12)
    for name, gradient in whole[1].items():
        torch.testing.assert_close(parts[1][name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_micro_batches_work_in_autocast_and_with_gradient_checkpointing(checkpointing: bool, tmp_path: Path) -> None:
    whole, model = step_with(toys.llama(), tmp_path, None, bf16=True), toys.llama()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    parts = step_with(model, tmp_path, 3, bf16=True)
    assert parts[0] == pytest.approx(whole[0], rel=1e-3)
    for name, gradient in whole[1].items():
        assert (parts[1][name] - gradient).norm() < 0.02 * gradient.norm(), name


@pytest.mark.parametrize(("micro", "batches"), [(None, [16]), (8, [16]), (3, [6, 5, 5]), (1, [2] * 8)])
def test_a_micro_batch_holds_the_forms_of_its_pairs(
    micro: int | None, batches: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, encode = [], states._body_states

    def spy(model: Any, ids: Tensor, *rest: Any) -> Tensor:
        seen.append(len(ids))
        return encode(model, ids, *rest)

    monkeypatch.setattr(states, "_body_states", spy)
    step_with(toys.llama(), tmp_path, micro)
    again = batches[::-1] if len(batches) > 1 else []
    assert seen == batches + again, "encoded once more, last first, unless all are one batch"


def test_without_lm_weight_text_is_not_read(tmp_path: Path) -> None:
    model, calls = toys.llama(), []
    model.lm_head.register_forward_hook(lambda *_: calls.append("head"))
    phase, blocks = aligned(lm_weight=0.0), toys.blocks(2, CONTEXT, vocabulary=60)
    steps, trainer = (
        PhaseSteps(blocks, phase),
        trainer_of(model, phase, blocks, arguments(tmp_path, 1, eval_strategy="no")),
    )
    align_loss(model, steps[0]).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    found = gradients_of_a_step(trainer, steps[0])
    assert not calls
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("every", [1, 3])
def test_words_are_read_at_every_kth_step(every: int) -> None:
    steps = PhaseSteps(toys.blocks(14, CONTEXT, vocabulary=60), aligned(every=every, seed=4))
    items = [steps[i] for i in range(len(steps))]
    assert [i for i, item in enumerate(items) if "objectives" in item] == list(range(0, 7, every))
    met = [words_in(item)["word_groups"].tolist() for item in items if "objectives" in item]
    assert met == [WORDS.numbered_batch(n, 5, 4)["word_groups"].tolist() for n in range(len(met))], "none is left out"


@pytest.mark.parametrize("every", [1, 2])
def test_two_ranks_read_what_one_reads_with_twice_the_batch(every: int) -> None:
    blocks, pairs = toys.blocks(16, CONTEXT, vocabulary=60), toys.forms(*([[g], [g + 30]] for g in range(20)))
    one = PhaseSteps(blocks, aligned(pairs, batch_size=4, groups=6, every=every))
    two = PhaseSteps(blocks, aligned(pairs, batch_size=2, groups=3, every=every), ranks=2)
    for step in range(len(one)):
        halves = two[2 * step], two[2 * step + 1]
        assert torch.equal(one[step]["input_ids"], torch.cat([half["input_ids"] for half in halves]))
        assert [("objectives" in half) for half in halves] == [step % every == 0] * 2
        if step % every == 0:
            met = {group for half in halves for group in words_in(half)["word_groups"].tolist()}
            assert set(words_in(one[step])["word_groups"].tolist()) == met


def test_text_comes_in_the_order_in_which_the_stock_trainer_reads_it(tmp_path: Path) -> None:
    blocks = toys.blocks(10, CONTEXT, vocabulary=60)
    stock = Trainer(toys.llama(), arguments(tmp_path, 5, batch_size=2), train_dataset=blocks, eval_dataset=blocks)
    ours = trainer_of(toys.llama(), aligned(), blocks, arguments(tmp_path, 5), eval_dataset=blocks)
    theirs, own = list(stock.get_train_dataloader()), list(ours.get_train_dataloader())
    assert len(theirs) == len(own) == 5
    for one, other in zip(theirs, own, strict=True):
        assert torch.equal(one["input_ids"], other["input_ids"]) and torch.equal(one["labels"], other["labels"])


def test_without_weight_it_trains_as_the_stock_trainer(tmp_path: Path) -> None:
    blocks = toys.blocks(8, CONTEXT, vocabulary=60)
    stock = Trainer(toys.llama(), arguments(tmp_path, 4, batch_size=2), train_dataset=blocks, eval_dataset=blocks)
    stock.train()
    ours = trainer_of(toys.llama(), aligned(weight=0.0), blocks, arguments(tmp_path, 4), eval_dataset=blocks)
    ours.train()
    for one, other in zip(stock.model.parameters(), ours.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    seen = [[e["eval_loss"] for e in t.state.log_history if "eval_loss" in e] for t in (stock, ours)]
    assert len(seen[0]) == 4, "validation is measured"
    assert seen[0] == pytest.approx(seen[1], rel=1e-4)


def test_gradient_accumulation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not additive"):
        trainer_of(
            toys.llama(),
            aligned(),
            toys.blocks(2, CONTEXT, vocabulary=60),
            arguments(tmp_path, 1, gradient_accumulation_steps=2, eval_strategy="no"),
        )


def test_the_output_layer_of_a_tied_model_is_refused() -> None:
    assert selected("output", toys.llama()) == slice(-1, None)
    with pytest.raises(RecipeError, match="model ties its embeddings"):
        selected("output", toys.llama(tied=True))


@pytest.mark.parametrize(("layers", "rows"), [("embedding", "model.embed_tokens.weight"), ("output", "lm_head.weight")])
def test_one_layer_moves_one_matrix(layers: str, rows: str, tmp_path: Path) -> None:
    phase, blocks = aligned(lm_weight=0.0, layers=layers), toys.blocks(2, CONTEXT, vocabulary=60)
    trainer = trainer_of(toys.llama(), phase, blocks, arguments(tmp_path, 1, eval_strategy="no"))
    gradients = gradients_of_a_step(trainer, PhaseSteps(blocks, phase)[0])
    moved = {name for name, g in gradients.items() if g is not None and g.any()}
    assert moved == {rows}


def test_bos_reaches_the_words(tmp_path: Path) -> None:
    model, bos = toys.llama(), 63
    phase, blocks = aligned(lm_weight=0.0, bos=bos), toys.blocks(2, CONTEXT, vocabulary=60)
    trainer = trainer_of(model, phase, blocks, arguments(tmp_path, 1, eval_strategy="no"))
    gradient = gradients_of_a_step(trainer, PhaseSteps(blocks, phase)[0])["model.embed_tokens.weight"]
    assert gradient[bos].any() and not gradient[62].any()
    assert not model.get_output_embeddings().weight.grad[bos].any()
