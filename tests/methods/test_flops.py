"""FLOPs against torch's own counter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import toys
from prealign.methods.alignment import states
from prealign.methods.alignment.loss import ExcludedPairs, WordAlignmentLoss
from prealign.methods.alignment.objective import WordFormAlignment, similarity_flops
from prealign.methods.flops import forward_flops_per_token, training_flops
from prealign.recipe.sections import ModelSection
from prealign.training.models import build_model, freeze_body

BATCH = 3


def llama(tied: bool = False) -> Any:
    config = LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=64, tie_word_embeddings=tied, attn_implementation="eager",
    )  # fmt: skip
    return LlamaForCausalLM(config)


def grouped() -> Any:
    """Fewer key-value heads than heads, and heads whose widths do not add up to the model's."""
    config = LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=64, attn_implementation="eager",
    )  # fmt: skip
    return LlamaForCausalLM(config)


def gpt2() -> Any:
    config = GPT2Config(vocab_size=300, n_embd=64, n_layer=3, n_head=4, n_positions=64, attn_implementation="eager")
    return GPT2LMHeadModel(config)


MODELS = {"llama": llama, "llama tied": lambda: llama(tied=True), "llama grouped": grouped, "gpt2": gpt2}


def counted(model: Any, context: int, *, backward: bool, body: bool = False) -> int:
    ids = torch.zeros(BATCH, context, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        if body:
            loss = model.base_model(input_ids=ids, use_cache=False).last_hidden_state.sum()
        else:
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        if backward:
            loss.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("context", [8, 64])
@pytest.mark.parametrize("name", MODELS)
def test_equals_torchs_counter_to_one_percent(name: str, context: int) -> None:
    model, tokens = MODELS[name](), BATCH * context
    forward = counted(model, context, backward=False)
    assert tokens * forward_flops_per_token(model, context) == pytest.approx(forward, rel=0.01)
    assert training_flops(model, tokens, context) == pytest.approx(counted(model, context, backward=True), rel=0.01)
    freeze_body(model)
    frozen = counted(model, context, backward=True)
    assert training_flops(model, tokens, context, freeze_body=True) == pytest.approx(frozen, rel=0.01)


@pytest.mark.parametrize("name", MODELS)
def test_without_logits_equals_the_body(name: str) -> None:
    model = MODELS[name]()
    body = counted(model, 16, backward=False, body=True)
    assert BATCH * 16 * forward_flops_per_token(model, 16, logits=False) == pytest.approx(body, rel=0.01)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("frozen", [False, True])
def test_the_alignment_step_equals_torchs_counter_to_five_percent(
    name: str, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted are forms as they are, not the rows in which they stand, so these are as short as they can be; and products of
    a batch in tiles, where one tile of all needs one less. A tied model is counted with the layer that it leaves out."""
    monkeypatch.setattr(states, "ROW", 1)
    model = MODELS[name]()
    if frozen:
        freeze_body(model)
    generator = torch.Generator().manual_seed(0)
    words = toys.forms(*[[[1] * 2 ** int(n) for n in torch.randint(3, (2,), generator=generator)] for _ in range(256)])
    batch = words.batch(np.arange(256))
    assert states.packs(model)  # asked now, and not while FLOPs are counted
    with FlopCounterMode(display=False) as counter:
        own = states.encoded_word_states(model, batch["word_ids"], batch["word_lengths"])
        excluded = ExcludedPairs(batch["word_groups"], batch["word_surfaces"])
        WordAlignmentLoss(tile=2**14)(own, batch["word_groups"], excluded).backward()
    layers = model.config.num_hidden_layers + 2
    left_out = similarity_flops(model, 256, words) * (layers - len(own)) / layers
    found = WordFormAlignment(words, groups=256).cost(model, freeze_body=frozen).flops - left_out
    assert found == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_similarities_of_a_joined_batch_are_counted_on_every_device() -> None:
    model, words = toys.llama(), toys.forms(*[[[1], [2, 3]]] * 8)
    one, four = (WordFormAlignment(words, groups=8).cost(model, ranks).flops for ranks in (1, 4))
    assert four - one == 3 * (toys.BLOCKS + 2) * 2 * toys.WIDTH * ((4 * 16) ** 2 - 16**2)


def test_shapes_on_the_meta_device_are_enough() -> None:
    section = ModelSection(preset="nano")
    model = build_model(section, vocab_size=500, context=32, seed=0, eos_token_id=0)
    with torch.device("meta"):
        empty = type(model)(model.config)
    assert training_flops(empty, 100, 32) == training_flops(model, 100, 32)


def test_flops_worked_by_hand() -> None:
    # toys.llama: 2 blocks of 4 · 16² attention and 3 · 16 · 24 feed-forward weights, 64 · 16 output rows;
    # a context of 10 costs attention 4 · L · T · D.
    body = 2 * (4 * 16**2 + 3 * 16 * 24)
    assert forward_flops_per_token(toys.llama(), 10) == 2 * (body + 64 * 16) + 4 * 2 * 10 * 16
