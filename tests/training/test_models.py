"""Models of a recipe: presets, config folders, checkpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy import sparse
from transformers import LlamaConfig

import toys
from prealign.errors import PrealignError, RecipeError
from prealign.methods.vocabulary.anchored import anchor_vocabulary
from prealign.methods.vocabulary.parametrised import export_plain
from prealign.recipe.sections import ModelSection
from prealign.training.models import PRESETS, build_model, load_weights, model_shapes, save_weights

NEEDS: dict[str, int] = {"vocab_size": 64, "context": 32, "eos_token_id": 3}


def section(**settings: Any) -> ModelSection:
    return ModelSection(**{"preset": None, **settings})


def test_the_presets_are_those_a_recipe_may_name() -> None:
    names, none = get_args(ModelSection.model_fields["preset"].annotation)
    assert none is type(None) and get_args(names) == tuple(PRESETS)


@pytest.mark.parametrize(
    ("preset", "tied", "parameters"),
    [
        # Four attention and three feed-forward matrices and two norms a block, a last norm, 32,000 rows in and out:
        pytest.param("nano", False, 4 * (4 * 128**2 + 3 * 128 * 384 + 2 * 128) + 128 + 2 * 32_000 * 128, id="nano"),
        pytest.param("nano", True, 4_949_120, id="nano tied"),  # 852,992 + 128 + 4,096,000
        # 4 · (262,144 + 589,824 + 512) + 256 + rows of 8,192,000
        pytest.param("micro", False, 4 * 852_480 + 256 + 2 * 8_192_000, id="micro"),
        pytest.param("micro", True, 4 * 852_480 + 256 + 8_192_000, id="micro tied"),
        # 8 · (1,048,576 + 2,359,296 + 1,024) + 512 + rows of 16,384,000
        pytest.param("mini", False, 8 * 3_408_896 + 512 + 2 * 16_384_000, id="mini"),
        pytest.param("mini", True, 8 * 3_408_896 + 512 + 16_384_000, id="mini tied"),
        pytest.param("70m", False, 162_417_408, id="70m"),  # 12 · 9,438,720 + 768 + 2 · 24,576,000
        pytest.param("70m", True, 137_841_408, id="70m tied"),  # 12 · 9,438,720 + 768 + 24,576,000
        # 12 or 24 · (4,194,304 + 12,582,912 + 2,048) + 1,024 + rows of 32,768,000
        pytest.param("150m", False, 12 * 16_779_264 + 1_024 + 2 * 32_768_000, id="150m"),
        pytest.param("150m", True, 234_120_192, id="150m tied"),
        pytest.param("400m", False, 24 * 16_779_264 + 1_024 + 2 * 32_768_000, id="400m"),
        pytest.param("400m", True, 435_471_360, id="400m tied"),
        # 24 · (16,777,216 + 50,331,648 + 4,096) + 2,048 + rows of 65,536,000
        pytest.param("1b", False, 24 * 67_112_960 + 2_048 + 2 * 65_536_000, id="1b"),
        pytest.param("1b", True, 1_676_249_088, id="1b tied"),
    ],
)
def test_parameter_counts_worked_by_hand(preset: Any, tied: bool, parameters: int) -> None:
    needs = {**NEEDS, "vocab_size": 32_000, "context": 128}
    model = model_shapes(section(preset=preset, tie_embeddings=tied), **needs)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_the_seed_decides_the_initialisation() -> None:
    weights = [build_model(section(preset="nano"), seed=seed, **NEEDS).lm_head.weight for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_preset_fits_vocabulary_context_and_end_of_text() -> None:
    config = build_model(section(preset="nano"), seed=0, **NEEDS).config
    assert (config.vocab_size, config.max_position_embeddings, config.eos_token_id) == (64, 32, 3)
    assert config.pad_token_id is None and config.bos_token_id is None


def config_folder(folder: Path, **settings: Any) -> str:
    LlamaConfig(**{**toys.llama().config.to_dict(), **settings}).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(("rows", "expected"), [(40, 64), (100, 100)])
def test_a_config_gets_the_rows_the_vocabulary_needs(tmp_path: Path, rows: int, expected: int) -> None:
    model = build_model(section(config=config_folder(tmp_path, vocab_size=rows)), seed=0, **NEEDS)
    assert model.get_input_embeddings().weight.shape == (expected, toys.WIDTH)
    assert model.dtype == torch.float32


@pytest.mark.parametrize("rows", [50, 64, 70])
@pytest.mark.parametrize("tied", [True, False])
def test_a_checkpoint_keeps_its_weights_and_gets_the_rows_it_lacks(tmp_path: Path, rows: int, tied: bool) -> None:
    trained = toys.llama(rows, tied=tied)
    trained.bfloat16().save_pretrained(tmp_path)
    model = build_model(section(pretrained=str(tmp_path)), seed=0, **NEEDS)
    shapes = model_shapes(section(pretrained=str(tmp_path)), **NEEDS)
    expected = {name: p.float() for name, p in trained.named_parameters()}
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in shapes.named_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter[: len(expected[name])], expected[name])
    assert model.get_output_embeddings().weight.shape[0] == max(rows, 64)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_is_the_recipes(tmp_path: Path, attention: Any) -> None:
    toys.llama().save_pretrained(tmp_path)
    chosen = section(pretrained=str(tmp_path), attention=attention)
    made = build_model(chosen, seed=0, **NEEDS), load_weights(chosen, str(tmp_path)), model_shapes(chosen, **NEEDS)
    assert [model.config._attn_implementation for model in made] == [attention] * 3


@pytest.mark.parametrize("key", ["config", "pretrained"])
def test_a_context_longer_than_the_models_positions_is_an_error(tmp_path: Path, key: str) -> None:
    toys.llama().save_pretrained(tmp_path)
    chosen, needs = section(**{key: str(tmp_path)}), {**NEEDS, "context": toys.POSITIONS + 1}
    for build in (lambda: build_model(chosen, seed=0, **needs), lambda: model_shapes(chosen, **needs)):
        with pytest.raises(RecipeError, match=r"context is 65, but the model has only 64 positions. Set .* at most 64"):
            build()


@pytest.mark.parametrize("key", ["config", "pretrained"])
def test_a_folder_without_a_model_is_an_error(tmp_path: Path, key: str) -> None:
    with pytest.raises(RecipeError, match=f"model.{key} .* cannot be loaded"):
        build_model(section(**{key: str(tmp_path)}), seed=0, **NEEDS)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no such model"}))
    with pytest.raises(RecipeError, match=f"model.{key} .* cannot be loaded"):
        build_model(section(**{key: str(tmp_path)}), seed=0, **NEEDS)


def half_of_a_weight(model: Any) -> None:
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight[:32].detach())


def flat(model: Any) -> None:
    """As FSDP 1 leaves a weight."""
    embedding = model.get_input_embeddings()
    embedding.weight = torch.nn.Parameter(embedding.weight.detach().flatten())


def empty(model: Any) -> None:
    """As DeepSpeed of stage 3 leaves a weight."""
    model.lm_head.weight.data = torch.empty(0)


def anchored(model: Any) -> None:
    anchors = sparse.csr_matrix(([1.0], ([5], [1])), shape=(64, 64))
    anchor_vocabulary(model, anchors, np.where(np.arange(64) == 5, 0, -1), fresh=False)


@pytest.mark.parametrize(
    ("change", "weight", "shape"),
    [
        (half_of_a_weight, "lm_head.weight", "(32, 16) and should be (64, 16)"),
        (flat, "model.embed_tokens.weight", "(1024,) and should be (64, 16)"),
        (empty, "lm_head.weight", "(0,) and should be (64, 16)"),
        (anchored, "model.embed_tokens.weight", "missing and should be (64, 16)"),
    ],
)
def test_weights_that_their_config_does_not_describe_are_not_saved(
    tmp_path: Path, change: Callable[[Any], None], weight: str, shape: str
) -> None:
    model, folder = toys.llama(), tmp_path / "checkpoint"
    change(model)
    with pytest.raises(PrealignError, match=re.escape(f"{weight} is {shape}")) as told:
        save_weights(section(preset="nano"), model, folder)
    assert str(told.value).startswith(f"{folder}: not saved, as ") and not folder.exists()


@pytest.mark.parametrize("make", [toys.llama, toys.neox, toys.gpt2, toys.qwen2])
def test_what_is_saved_is_loaded_again(tmp_path: Path, make: Callable[[], Any]) -> None:
    model, rows = make(), 64
    model.resize_token_embeddings(rows + 3)
    save_weights(section(preset="nano"), model, tmp_path)
    again = load_weights(section(preset="nano"), str(tmp_path))
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in again.state_dict().items())


def test_an_anchored_vocabulary_is_saved_once_it_is_written_out(tmp_path: Path) -> None:
    model = toys.llama(tied=True)
    anchored(model)
    save_weights(section(preset="nano"), export_plain(model), tmp_path)
    assert (tmp_path / "model.safetensors").exists()
