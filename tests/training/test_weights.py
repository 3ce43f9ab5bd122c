"""A model is loaded whole or not at all: missing, foreign, misshapen, broken and unreadable weights are named."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import toys
from prealign.errors import RecipeError, WeightsError
from prealign.recipe.sections import ModelSection
from prealign.training.checkpoints import names_kept
from prealign.training.models import build_model, load_weights, model_shapes
from prealign.training.weights import check_checkpoint, load_causal_lm, not_finite

Weights = dict[str, torch.Tensor]
NEEDS: dict[str, int] = {"vocab_size": 64, "context": 32, "eos_token_id": 3}
UP = "model.layers.0.mlp.up_proj.weight"


def changed(folder: Path, change: Callable[[Weights], Any], *, tied: bool = False) -> str:
    """A checkpoint of a toy model whose file of weights was changed."""
    toys.llama(tied=tied).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def with_value(name: str, value: float) -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        weights[name].view(-1)[3] = value

    return change


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("make", list(toys.ARCHITECTURES.values()), ids=list(toys.ARCHITECTURES))
def test_a_whole_checkpoint_is_loaded_as_it_is(tmp_path: Path, make: Callable[..., Any], tied: bool) -> None:
    model = make(tied=tied)
    model.save_pretrained(tmp_path)
    found = load_causal_lm(str(tmp_path)).state_dict()
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda w: w.pop("lm_head.weight"), "weights are missing: lm_head.weight."),
        (lambda w: [w.pop(f"model.layers.{i}.input_layernorm.weight") for i in (0, 1)], "are missing: model.layers.0"),
        (lambda w: w.pop("model.embed_tokens.weight"), "weights are missing: model.embed_tokens.weight."),
        (lambda w: w.update({"head.bias": torch.ones(2)}), "weights are not in a model of this config: head.bias."),
        (lambda w: w.update({UP: torch.ones(24, 8)}), f"{UP} (is (24, 8), should be (24, 16))"),
        (with_value(UP, float("nan")), f"weights are not finite (NaN or infinity): {UP}."),
        (with_value("lm_head.weight", float("inf")), "not finite (NaN or infinity): lm_head.weight."),
        (with_value("model.norm.weight", float("-inf")), "not finite (NaN or infinity): model.norm.weight."),
        (lambda w: [w.pop(name) for name in [*w] if "layers.1" in name], "and 6 more"),
    ],
    ids=["head", "two", "embedding", "unexpected", "shape", "nan", "inf", "-inf", "a layer"],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, change: Callable[[Weights], Any], named: str) -> None:
    folder = changed(tmp_path, change)
    for load in (
        lambda: load_weights(ModelSection(), folder),
        lambda: build_model(ModelSection(preset=None, pretrained=folder), seed=0, **NEEDS),
    ):
        with pytest.raises(WeightsError, match=re.escape(named)) as told:
            load()
        assert str(told.value).startswith(f"{folder}: ")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    def change(weights: Weights) -> None:
        weights["foreign"] = weights.pop("lm_head.weight")
        weights[UP].fill_(float("nan"))

    with pytest.raises(WeightsError, match=r"missing: lm_head.weight; .*this config: foreign; .*infinity"):
        load_causal_lm(changed(tmp_path, change))


def test_a_tied_weight_is_not_missing(tmp_path: Path) -> None:
    folder = changed(tmp_path, lambda weights: None, tied=True)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    model = load_causal_lm(folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("left", [0, 7, 3000])
def test_a_file_cut_short_is_damaged(tmp_path: Path, left: int) -> None:
    toys.llama().save_pretrained(tmp_path)
    os.truncate(tmp_path / "model.safetensors", left)
    with pytest.raises(WeightsError, match="a file of its weights is damaged"):
        load_causal_lm(str(tmp_path))


def test_a_folder_without_weights_is_an_error(tmp_path: Path) -> None:
    toys.llama().config.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"no file named model.safetensors"):
        load_causal_lm(str(tmp_path))


def pickled(folder: Path, **more: Any) -> str:
    model = toys.llama()
    model.config.save_pretrained(folder)
    torch.save(model.state_dict() | more, folder / "pytorch_model.bin")
    return str(folder)


def test_a_pickle_of_tensors_is_read_and_one_with_code_is_not(tmp_path: Path) -> None:
    model = load_causal_lm(pickled(tmp_path / "tensors"))
    assert all(torch.equal(weight, toys.llama().state_dict()[name]) for name, weight in model.state_dict().items())
    with pytest.raises(WeightsError) as told:
        load_causal_lm(pickled(tmp_path / "code", function=os.system))
    message = str(told.value)
    assert "save_pretrained(" in message and "safetensors" in message
    assert not any(word in message for word in ("weights_only", "trust", "allowlist", "add_safe_globals"))


def test_an_attention_that_is_not_here_is_one_message(tmp_path: Path) -> None:
    toys.llama().save_pretrained(tmp_path)
    section = ModelSection(preset=None, pretrained=str(tmp_path), attention="flash_attention_2")
    with pytest.raises(WeightsError, match="FlashAttention2"):
        load_weights(section, str(tmp_path))
    with pytest.raises(RecipeError, match="FlashAttention2"):
        model_shapes(section, **NEEDS)


def test_names_of_weights_that_are_not_finite() -> None:
    model = toys.llama()
    assert not_finite(model) == []
    for name in ("model.norm.weight", "lm_head.weight"):
        model.get_parameter(name).data.view(-1)[0] = float("nan")
    assert not_finite(model) == ["weights are not finite (NaN or infinity): model.norm.weight, lm_head.weight"]


@pytest.mark.parametrize("make", list(toys.ARCHITECTURES.values()), ids=list(toys.ARCHITECTURES))
def test_a_checkpoint_of_the_trainer_has_the_weights_of_its_model(tmp_path: Path, make: Callable[..., Any]) -> None:
    model = make()
    with names_kept(model):
        model.save_pretrained(tmp_path)
    check_checkpoint(tmp_path, model)
    weights = load_file(tmp_path / "model.safetensors")
    gone = sorted(weights)[0]
    weights["new"] = weights.pop(gone)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=f"are missing: {re.escape(gone)}; weights are unexpected: new.*--force"):
        check_checkpoint(tmp_path, model)
