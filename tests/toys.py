"""Toy models, word forms and blocks for tests of training: as small as they can be while every code path runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from prealign.methods.alignment.words import WordForms
from prealign.methods.phase import Phase, Term
from prealign.recipe.sections import Recipe
from prealign.text.ragged import Ragged

# Thousands of tiny operations: on a busy machine threads only wait for each other, and one thread is deterministic.
torch.set_num_threads(1)

BLOCKS, WIDTH, HEADS, POSITIONS = 2, 16, 2, 64
_SHAPE = {
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.3,  # far from uniform, so that context matters
}


def llama(rows: int = 64, *, tied: bool = False, seed: int = 0, **settings: Any) -> Any:
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(vocab_size=rows, tie_word_embeddings=tied, **_SHAPE | settings))


def qwen2(rows: int = 64, *, tied: bool = True) -> Any:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=rows, num_key_value_heads=1, tie_word_embeddings=tied, **_SHAPE))


def neox(rows: int = 64, *, tied: bool = False) -> Any:
    torch.manual_seed(0)
    dropout = {"hidden_dropout": 0.1, "attention_dropout": 0.1}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=rows, tie_word_embeddings=tied, **dropout, **_SHAPE))


def gpt2(rows: int = 64, *, tied: bool = True) -> Any:
    torch.manual_seed(0)
    config = GPT2Config(
        bos_token_id=None,
        eos_token_id=None,
        vocab_size=rows,
        n_embd=WIDTH,
        n_layer=BLOCKS,
        n_head=HEADS,
        n_positions=POSITIONS,
        initializer_range=0.3,
        tie_word_embeddings=tied,
    )
    return GPT2LMHeadModel(config)


def gemma(rows: int = 64, *, tied: bool = True) -> Any:
    """Gemma 3's kind: scaled embeddings, a norm of queries and keys, and blocks that see a window."""
    torch.manual_seed(0)
    settings = {
        "num_key_value_heads": 1,
        "head_dim": 8,
        "sliding_window": 8,
        "tie_word_embeddings": tied,
        "pad_token_id": None,
    }
    return Gemma3ForCausalLM(
        Gemma3TextConfig(vocab_size=rows, layer_types=["sliding_attention", "full_attention"], **settings, **_SHAPE)
    )


ARCHITECTURES = {"llama": llama, "neox": neox, "qwen2": qwen2, "gemma": gemma, "gpt2": gpt2}
"""Each takes its number of rows, and whether input and output embedding are tied."""


def forms(*groups: Sequence[Sequence[int]], count: Sequence[int] | None = None) -> WordForms:
    """Word forms of groups of token sequences, as `word_forms` makes them."""
    ids = Ragged.of([form for group in groups for form in group])
    surfaces: dict[tuple[int, ...], int] = {}
    return WordForms(
        ids=ids,
        first=np.concatenate([[0], np.cumsum([len(group) for group in groups])]),
        surface=np.array([surfaces.setdefault(tuple(form), len(surfaces)) for group in groups for form in group]),
        language=np.concatenate([np.arange(len(group)) > 0 for group in groups]).astype(int),
        count=np.array(count if count is not None else [1] * len(groups)),
    )


def blocks(number: int, context: int, *, vocabulary: int, seed: int = 0) -> Dataset:
    """Random blocks whose labels differ from their inputs: some ignored, some another token."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, vocabulary, (number, context))
    labels = np.where(generator.random(ids.shape) < 0.1, -100, (ids + (generator.random(ids.shape) < 0.1)) % vocabulary)
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": labels.tolist()})


def phase(*terms: Term, **settings: Any) -> Phase:
    """A phase of one step on two blocks of 12 tokens; settings win."""
    base: dict[str, Any] = {"name": "pretrain", "steps": 1, "batch_size": 2, "context": 12, "learning_rate": 1e-3}
    return Phase(**base | {"warmup": 0.0} | settings, terms=terms)


def recipe(**sections: Any) -> Recipe:
    """A recipe that computes in float32, whatever the machine; sections win."""
    base = {
        "name": "toy",
        "source": {"text": ["en.txt"]},
        "targets": [{"language": "en-clone"}],
        "trainer": {"bf16": False},
    }
    return Recipe.model_validate(base | sections)


def lm_loss(model: Any, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the labels that are not ignored, each predicted from the position before."""
    logits = model(input_ids=ids).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
