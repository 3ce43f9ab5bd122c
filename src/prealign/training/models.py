"""Build the causal LM of a recipe (preset, Hugging Face config or pretrained checkpoint); freeze, save and load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, set_seed

from prealign.errors import PrealignError, RecipeError
from prealign.recipe.sections import ModelSection
from prealign.training.weights import load_causal_lm

PRESETS: dict[str, dict[str, int]] = {
    # name: blocks, width, feed-forward width, heads. The last four have the shapes of the paper's code.
    "nano": {"num_hidden_layers": 4, "hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4},
    "micro": {"num_hidden_layers": 4, "hidden_size": 256, "intermediate_size": 768, "num_attention_heads": 4},
    "mini": {"num_hidden_layers": 8, "hidden_size": 512, "intermediate_size": 1536, "num_attention_heads": 8},
    "70m": {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    "150m": {"num_hidden_layers": 12, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16},
    "400m": {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16},
    "1b": {"num_hidden_layers": 24, "hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 16},
}


def build_model(section: ModelSection, *, vocab_size: int, context: int, seed: int, eos_token_id: int) -> Any:
    """Return the model in float32, with at least `vocab_size` embedding rows; `seed` decides its random weights.

    Raises RecipeError if the model has fewer positions than `context`, or if its folder or hub id cannot be read.
    """
    config = _config(section, vocab_size, context, eos_token_id)
    set_seed(seed)
    if not section.pretrained:
        return _from_config(section, config)
    model = load_weights(section, section.pretrained, revision=section.revision)
    if model.get_input_embeddings().weight.shape[0] < vocab_size:
        model.resize_token_embeddings(vocab_size)
    return model


def model_shapes(section: ModelSection, *, vocab_size: int, context: int, eos_token_id: int) -> Any:
    """Return the model of `build_model` on the meta device: shapes without weights, enough for FLOPs and memory.

    Raises the errors of `build_model`.
    """
    config = _config(section, vocab_size, context, eos_token_id)
    with torch.device("meta"):
        return _from_config(section, config)


def load_weights(section: ModelSection, folder: str, *, revision: str | None = None) -> Any:
    """Load a checkpoint in float32. The attention implementation comes from the recipe; a checkpoint does not record it.

    revision: of a hub id (None: main). Raises WeightsError unless the folder holds every weight, and finite ones.
    """
    loading = _loading(section) | {"revision": revision or "main"}
    model = _with_attention(section, load_causal_lm(folder, **loading))
    # A padding row gets no gradient. Many checkpoints pad with EOS, whose row must learn; our padding is masked anyway.
    model.get_input_embeddings().padding_idx = None
    return model


def freeze_body(model: Any) -> None:
    """Freeze all parameters except the input and output embeddings, in place."""
    embeddings = model.get_input_embeddings(), model.get_output_embeddings()
    trained = {id(parameter) for module in embeddings for parameter in module.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def frozen_share(model: Any) -> float:
    """Return the frozen share of the parameters, 0..1."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trains in sizes if not trains) / sum(size for size, _ in sizes)


def save_weights(section: ModelSection, model: Any, folder: Path) -> None:
    """Save a checkpoint. PrealignError if names or shapes of the weights differ from the config: it could not be loaded."""
    with torch.device("meta"):
        expected = {
            name: tuple(weight.shape) for name, weight in _from_config(section, model.config).state_dict().items()
        }
    actual = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    wrong = [
        f"{name} is {actual.get(name, 'missing')} and should be {expected.get(name, 'left out')}"
        for name in {**expected, **actual}
        if actual.get(name) != expected.get(name)
    ]
    if wrong:
        raise PrealignError(
            f"{folder}: not saved, as {len(wrong)} of the model's {len(expected)} weights do not match its config: "
            f"{'; '.join(wrong[:3])}{'; …' if len(wrong) > 3 else ''}. The weights are sharded, or tied to other rows: "
            "train without sharding or tying (`trainer.fsdp`, `trainer.deepspeed`, the launcher's configuration)."
        )
    model.save_pretrained(folder)


def _from_config(section: ModelSection, config: Any) -> Any:
    try:
        model = AutoModelForCausalLM.from_config(config, **_loading(section))
    except (ImportError, ValueError) as error:  # of an attention that is not installed, or that the model lacks
        raise RecipeError(f"model: cannot be built: {error}") from None
    return _with_attention(section, model)


def _with_attention(section: ModelSection, model: Any) -> Any:
    """Return the model. RecipeError if transformers has chosen another attention than the recipe's."""
    if (chosen := model.config._attn_implementation) != section.attention:
        raise RecipeError(
            f"model.attention is {section.attention!r}, and this model has {chosen!r} only: set model.attention={chosen}."
        )
    return model


def _loading(section: ModelSection) -> dict[str, Any]:
    trust = section.trust_remote_code
    return {"dtype": torch.float32, "attn_implementation": section.attention, "trust_remote_code": trust}


def _config(section: ModelSection, vocab_size: int, context: int, eos_token_id: int) -> Any:
    if path := section.pretrained or section.config:
        try:
            config = AutoConfig.from_pretrained(
                path, revision=section.revision or "main", trust_remote_code=section.trust_remote_code
            )
        except (OSError, ValueError) as error:
            key = "pretrained" if section.pretrained else "config"
            raise RecipeError(f"model.{key} {path!r} cannot be loaded: {_not_here(path)}{error}") from None
        config.vocab_size = max(config.vocab_size, vocab_size)
        if not section.pretrained:
            # The config's token ids belong to another vocabulary, and a padding row would never learn.
            config.update({"eos_token_id": eos_token_id, "pad_token_id": None, "bos_token_id": None})
    else:
        config = _preset(section, vocab_size, context, eos_token_id)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and positions < context:
        raise RecipeError(
            f"pretrain.context is {context}, but the model has only {positions} positions. "
            f"Set pretrain.context to at most {positions}."
        )
    return config


def _not_here(path: str) -> str:
    return "" if Path(path).is_dir() else "there is no such folder here, and the hub did not have it: "


def _preset(section: ModelSection, vocab_size: int, context: int, eos_token_id: int) -> LlamaConfig:
    assert section.preset is not None, "validation leaves exactly one of preset, config and pretrained"
    return LlamaConfig(
        **PRESETS[section.preset],
        vocab_size=vocab_size,
        max_position_embeddings=context,
        tie_word_embeddings=section.tie_embeddings,
        bos_token_id=None,
        eos_token_id=eos_token_id,
        pad_token_id=None,
    )
