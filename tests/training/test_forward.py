"""The forward of training: the class's loss and nothing else, on top of whatever forward the instance has."""

from __future__ import annotations

import copy
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import toy_experiment
import toys
from prealign.errors import RecipeError
from prealign.methods.alignment.objective import WordFormAlignment
from prealign.methods.phase import Term
from prealign.training import phase as training_phase
from prealign.training.forward import fused_loss, training_forward, with_objectives
from prealign.training.loop import training_arguments

FUSED = toys.recipe(trainer={"use_liger_kernel": True})
IDS = torch.arange(12).reshape(2, 6)


@pytest.mark.parametrize("make", [toys.llama, lambda: toys.llama(tied=True), toys.gpt2, toys.neox, toys.qwen2])
def test_training_gets_the_same_loss_and_gradients_without_logits(make: Any) -> None:
    plain = make().train()
    lean = training_forward(copy.deepcopy(plain), {})
    outputs = []
    for model in (plain, lean):
        torch.manual_seed(0)  # some drop out
        outputs.append(model(input_ids=IDS, labels=IDS))
    expected, found = outputs
    assert expected.logits is not None and list(found.keys()) == ["loss"]
    for model, output in ((plain, expected), (lean, found)):
        output.loss.backward()
        assert output.loss.item() == pytest.approx(expected.loss.item(), rel=1e-6)
        for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7, msg=name)
    assert lean(input_ids=IDS).logits is not None, "no labels, no loss"


def test_measuring_gets_everything_and_a_checkpoint_is_that_of_the_class(tmp_path: Path) -> None:
    plain, lean = toys.llama().eval(), training_forward(toys.llama(), {}).eval()
    assert torch.equal(lean(input_ids=IDS, labels=IDS).logits, plain(input_ids=IDS).logits)
    assert training_forward(toys.llama(), {}).__class__ is not lean.__class__, "one instance, not its class"
    lean.save_pretrained(tmp_path)
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path)) is type(plain)


def test_a_forward_that_a_kernel_put_into_the_instance_is_the_one_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """liger-kernel needs a GPU; here stands what it does: it sets `forward` of the instance."""
    seen = []

    def apply(model: Any, config: Any) -> None:
        inner = type(model).forward

        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append((config, sorted(kwargs)))
            return inner(self, *args, **kwargs)

        model.forward = MethodType(forward, model)

    monkeypatch.setattr("transformers.integrations.liger.apply_liger_kernel", apply)
    words = toys.forms([[1], [2]], [[3], [4]])
    objectives = {"words": WordFormAlignment(words)}
    model = with_objectives(training_forward(toys.llama().train(), FUSED.trainer), objectives)
    output = model(input_ids=IDS, labels=IDS, objectives={"words": words.batch(np.arange(1))})
    assert output.keys() == {"loss", "objectives"}
    ((config, names),) = seen
    assert [name for name, on in config.items() if on] == ["fused_linear_cross_entropy"]
    assert names == ["input_ids", "labels"]
    training_forward(toys.llama(), {})(input_ids=IDS)
    assert len(seen) == 1, "only where it is asked for"


def test_a_model_that_the_kernel_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.integrations.liger.apply_liger_kernel", lambda model, config: None)
    with pytest.raises(RecipeError, match="no fused loss for models of type 'gpt_neox'"):
        training_forward(toys.neox(), FUSED.trainer)


def test_the_trainer_and_the_classifier_are_not_told_of_kernels(tmp_path: Path) -> None:
    """The Trainer would put the kernel's forward over ours, and a language model's into a classifier."""
    task = {"name": "nli", "train": "a.tsv", "tests": {"en": "b.tsv"}}
    recipe = toy_experiment.recipe(tmp_path, transfer=[task], trainer={"use_liger_kernel": True, "bf16": False})
    assert fused_loss(recipe.trainer)
    for section in (recipe.pretrain, recipe.align, recipe.transfer[0]):
        made = training_arguments(recipe.trainer, tmp_path, section, steps=1, batch_size=1, seed=0)
        assert (made.use_liger_kernel, made.bf16) == (False, False)


def test_data_parallel_looks_for_unused_weights_where_there_may_be_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def arguments(*args: Any, **kwargs: Any) -> Any:
        asked.append(training_arguments(*args, **kwargs).ddp_find_unused_parameters)
        raise KeyboardInterrupt

    monkeypatch.setattr(training_phase, "training_arguments", arguments)
    aligned = Term(WordFormAlignment(toys.forms([[1], [2]], [[3], [4]])))
    for phase in (toys.phase(), toys.phase(aligned), toys.phase(aligned, lm_weight=0.0)):
        with pytest.raises(KeyboardInterrupt):
            training_phase.train(
                phase, toys.llama(), toys.blocks(2, 12, vocabulary=9), {}, seed=0, folder=tmp_path, on_progress=print
            )
    assert asked == [False, False, True]
