"""Word states against one unpadded forward pass a word, for several architectures."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

import toys
from prealign.errors import TokenizerError
from prealign.methods.alignment.states import ROW, Rows, encoded_word_states, packs, pad_words, tied, word_states
from prealign.text.encode import encode_words
from prealign.text.ragged import Ragged

WORDS = [[3, 4, 5], [6], [7, 8], [9], [3, 4], [10, 11, 12, 13], [5]]
MODELS = {**toys.ARCHITECTURES, "llama tied": lambda: toys.llama(tied=True)}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]().eval()


def one_at_a_time(model: Any, words: list[list[int]], bos: int | None) -> Tensor:
    """Each word alone, without padding, through the whole model."""
    columns = []
    for word in words:
        prefix = [] if bos is None else [bos]
        hidden = model(input_ids=torch.tensor([prefix + word]), output_hidden_states=True).hidden_states
        layers = [h[0, len(prefix) :].mean(0) for h in hidden]
        head = model.get_output_embeddings().weight
        if head is not model.get_input_embeddings().weight:
            layers.append(head[word].mean(0))
        columns.append(torch.stack(layers))
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("bos", [None, 1])
def test_equals_one_word_at_a_time_without_padding(model: Any, bos: int | None) -> None:
    ids, lengths = pad_words(Ragged.of(WORDS))
    with torch.no_grad():
        states = encoded_word_states(model, ids, lengths, bos)
        torch.testing.assert_close(states, one_at_a_time(model, WORDS, bos), rtol=1e-4, atol=1e-5)


def backward(model: Any, bos: int | None, micro: int | None) -> tuple[Tensor, list[Tensor]]:
    """States, and the gradients of a function of all of them together."""
    states = encoded_word_states(model, *pad_words(Ragged.of(WORDS)), bos, micro)
    weight = torch.randn(states.shape, generator=torch.Generator().manual_seed(0), dtype=states.dtype)
    (states * weight).sum().square().backward()
    gradients = [p.grad for p in model.parameters()]
    model.zero_grad()
    return states.detach(), gradients


@pytest.mark.parametrize("micro", [1, 3, 100])
@pytest.mark.parametrize("bos", [None, 1])
def test_micro_batches_change_neither_states_nor_gradients(model: Any, bos: int | None, micro: int) -> None:
    whole, parts = (backward(model.double(), bos, at_once) for at_once in (None, micro))
    # The norms of Gemma are float32 whatever its weights are.
    single = type(model).__name__.startswith("Gemma")
    torch.testing.assert_close(parts[0], whole[0], rtol=1e-5 if single else 1e-11, atol=1e-6 if single else 1e-13)
    for one, other in zip(parts[1], whole[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4 if single else 1e-9, atol=1e-5 if single else 1e-11)


@pytest.mark.parametrize("make", [toys.neox, toys.gpt2])  # they have dropout
def test_dropout_falls_on_the_same_places_when_a_micro_batch_is_encoded_again(make: Any) -> None:
    model = make().double().train()
    ids, lengths = pad_words(Ragged.of(WORDS))

    def loss() -> Tensor:
        torch.manual_seed(5)
        states = encoded_word_states(model, ids, lengths, micro=3)
        torch.randn(7)  # what another random draw of a step leaves behind
        return states.sin().sum().square()

    value = loss()
    assert not torch.equal(value, encoded_word_states(model, ids, lengths, micro=3).sin().sum().square())
    value.backward()
    # The slope of the loss along a direction, with the same dropout at both ends, without any backward pass.
    direction = {p: torch.randn(p.shape, dtype=p.dtype) * 1e-5 for p in model.parameters()}
    ends = []
    with torch.no_grad():
        for sign in (1, -2):
            for parameter, step in direction.items():
                parameter += sign * step
            ends.append(loss())
        slope = (ends[0] - ends[1]) / 2
        expected = sum((p.grad * step).sum() for p, step in direction.items() if p.grad is not None)
    assert slope.item() == pytest.approx(float(expected), rel=1e-5)


def test_micro_batches_keep_no_activations(model: Any) -> None:
    ids, lengths = pad_words(Ragged.of(WORDS * 8))
    kept = []
    for micro in (None, 8):
        saved: dict[int, int] = {}

        def keep(tensor: Tensor, saved: dict[int, int] = saved) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = encoded_word_states(model, ids, lengths, micro=micro)
        kept.append(sum(saved.values()))
        assert states.requires_grad
    assert kept[1] < kept[0] / 20, "ids and what dropout needs to be repeated"


@pytest.mark.parametrize("bos", [None, 1])
def test_what_pads_a_word_is_not_part_of_it(model: Any, bos: int | None) -> None:
    ids, lengths = pad_words(Ragged.of(WORDS))
    other = torch.where(torch.arange(ids.shape[1]) < lengths[:, None], ids, 20)
    with torch.no_grad():
        assert torch.equal(*(encoded_word_states(model, each, lengths, bos) for each in (ids, other)))


def test_the_output_layer_is_there_unless_embeddings_are_tied(model: Any) -> None:
    ids, lengths = pad_words(Ragged.of(WORDS))
    layers = len(encoded_word_states(model, ids, lengths))
    assert tied(model) == model.config.tie_word_embeddings
    assert layers == toys.BLOCKS + (1 if model.config.tie_word_embeddings else 2)


def test_gradients_reach_every_block_and_both_embeddings(model: Any) -> None:
    ids, lengths = pad_words(Ragged.of(WORDS))
    states = encoded_word_states(model, ids, lengths)
    (states * torch.randn(states.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    embeddings = {model.get_input_embeddings().weight, model.get_output_embeddings().weight}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
        if parameter in embeddings:
            used = parameter.grad.any(1).nonzero().flatten().tolist()
            assert used == sorted({i for word in WORDS for i in word})


def test_no_vocabulary_logits_are_computed_for_words(model: Any) -> None:
    calls: list[str] = []
    model.get_output_embeddings().register_forward_hook(lambda *_: calls.append("head"))
    ids, lengths = pad_words(Ragged.of(WORDS))
    encoded_word_states(model, ids, lengths)
    assert not calls
    model(input_ids=ids)
    assert calls, "the hook is on the module that computes logits"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=60), st.integers(1, 12))
def test_rows_hold_every_token_once_and_no_form_is_torn(lengths: list[int], least: int) -> None:
    rows = Rows.of(np.array(lengths), least)
    assert rows.width == max(least, *lengths)
    assert len(set(rows.place.tolist())) == sum(lengths)
    assert rows.place.min() >= 0 and rows.place.max() < rows.number * rows.width
    fill = [0] * rows.number
    for form, length in enumerate(lengths):
        own = rows.form == form
        places = rows.place[own]
        assert rows.position[own].tolist() == list(range(length))
        assert places.tolist() == list(range(places[0], places[0] + length))
        assert places[0] // rows.width == places[-1] // rows.width
        fill[places[0] // rows.width] += length
    free = [rows.width - n for n in fill[:-1]]
    assert all(place < max(lengths) for place in free), "no row but the last has room for the longest form"


def test_forms_of_the_usual_lengths_leave_hardly_a_place_unused() -> None:
    lengths = np.random.default_rng(0).integers(1, 7, 1000)
    rows = Rows.of(lengths, ROW)
    assert lengths.sum() > 0.97 * rows.number * rows.width


def apart(model: Any) -> bool:
    """Whether a form's states are those that it has alone, whatever stands before it in its row."""
    model.eval()
    with torch.no_grad():
        given = {"position_ids": torch.tensor([[0, 1, 0, 1, 2]])} if "position_ids" in takes(model) else {}
        row, alone = (
            model.base_model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False, **own)
            for ids, own in (([5, 6, 1, 2, 3], given), ([1, 2, 3], {}))
        )
    return all(
        torch.allclose(h[:, 2:], own, rtol=1e-4, atol=1e-5)
        for h, own in zip(row.hidden_states, alone.hidden_states, strict=True)
    )


def takes(model: Any) -> Any:
    return signature(model.base_model.forward).parameters


def bloom() -> Any:
    torch.manual_seed(0)
    return BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=16, n_layer=2, n_head=2))


def mamba() -> Any:
    torch.manual_seed(0)
    return MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4))


def hybrid() -> Any:
    """Attention, and convolutions that look over the borders of forms; its forward takes positions."""
    torch.manual_seed(0)
    config = Lfm2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
    )
    return Lfm2ForCausalLM(config)


def test_attention_keeps_forms_of_a_row_apart(model: Any) -> None:
    assert packs(model) and apart(model)


@pytest.mark.parametrize("make", [bloom, mamba, hybrid])
@pytest.mark.parametrize("micro", [None, 3])
def test_models_that_do_not_have_a_row_for_each_form(make: Any, micro: int | None) -> None:
    model = make().eval()
    assert not packs(model) and not apart(model)
    ids, lengths = pad_words(Ragged.of(WORDS))
    with torch.no_grad():
        states = encoded_word_states(model, ids, lengths, micro=micro)
        torch.testing.assert_close(states, one_at_a_time(model, WORDS, None), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [toys.neox, toys.gpt2])
def test_asking_a_model_whether_it_packs_changes_nothing(make: Any) -> None:
    model = make().train()  # with dropout
    state = torch.get_rng_state()
    assert packs(model) and model.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("make", [bloom, toys.llama])
def test_the_first_words_in_autocast_have_gradients(make: Any) -> None:
    """Asking runs the model without gradients, and autocast keeps weights that it has cast once."""
    model = make()
    with torch.autocast("cpu", torch.bfloat16):
        states = encoded_word_states(model, *pad_words(Ragged.of(WORDS)))
    states.square().sum().backward()
    body = [p for n, p in model.base_model.named_parameters() if "norm" not in n and "ln" not in n]
    assert all(p.grad is not None and p.grad.any() for p in body if p.ndim == 2)


def test_a_step_that_asks_rounds_as_one_that_does_not() -> None:
    """As the first step after a resume, which asks anew."""
    model, gradients = toys.llama(), []
    for _ in range(2):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=torch.arange(12).view(2, 6)).logits
            states = encoded_word_states(model, *pad_words(Ragged.of(WORDS)))
        (logits.float().square().sum() + states.square().sum()).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_embeddings_that_tell_no_tokens_apart_prove_nothing() -> None:
    model = toys.llama()
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(1.0)
    assert not packs(model)


def test_a_model_that_takes_positions_and_counts_places_does_not_pack() -> None:
    model = toys.gpt2().eval()
    inner = model.transformer.forward

    def forward(input_ids: Tensor, position_ids: Tensor | None = None, **kwargs: Any) -> Any:
        places = torch.arange(input_ids.shape[1])[None].expand_as(input_ids)
        own = (position_ids == 0).cumsum(1)
        mask = (own[:, :, None] == own[:, None]) & (places[0][:, None] >= places[0])
        return inner(input_ids=input_ids, position_ids=places, attention_mask=mask[:, None], **kwargs)

    model.transformer.forward = forward
    assert not packs(model)


def test_many_words_of_all_lengths_come_back_in_order() -> None:
    generator = torch.Generator().manual_seed(0)
    words = [
        torch.randint(0, 64, (int(n),), generator=generator).tolist()
        for n in torch.randint(1, 9, (150,), generator=generator)
    ]
    model = toys.llama().eval()
    ids, lengths = pad_words(Ragged.of(words))
    with torch.no_grad():
        states = encoded_word_states(model, ids, lengths)
        torch.testing.assert_close(states, one_at_a_time(model, words, None), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_word_states_measures_in_evaluation_mode_and_puts_the_mode_back(byte_bpe: Any, training: bool) -> None:
    model = toys.neox(rows=len(byte_bpe) + 5).train(training)  # it has dropout, and rows beyond the vocabulary
    words = ["house", "river", "Anna", "market", "unheard"]
    states = word_states(model, byte_bpe, words)
    assert model.training == training
    ids = [row.tolist() for row in encode_words(byte_bpe, words, "en")]
    with torch.no_grad():
        torch.testing.assert_close(states, one_at_a_time(model.eval(), ids, None), rtol=1e-4, atol=1e-5)
    assert not states.requires_grad and states.dtype == torch.float32


def test_word_states_of_a_clone_are_those_of_the_twins(byte_bpe: Any) -> None:
    model = toys.llama(rows=2 * len(byte_bpe))
    states = word_states(model, byte_bpe, ["house", "unheard"], language="en-clone", bos=True)
    twins = [(row + len(byte_bpe) - 1).tolist() for row in encode_words(byte_bpe, ["house", "unheard"], "en")]
    with torch.no_grad():
        expected = one_at_a_time(model.eval(), twins, byte_bpe.eos_token_id)
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)


def test_a_word_without_tokens_is_an_error() -> None:
    with pytest.raises(TokenizerError, match="word form 1 has no tokens"):
        pad_words(Ragged.of([[1], [], [2]]))
