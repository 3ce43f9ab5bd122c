"""Word states against one unpadded forward pass a word, for several architectures."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import toys
from prealign.alignment.states import encoded_word_states, length_batches, pad_words, tied, word_states
from prealign.alignment.trainer import with_word_states
from prealign.errors import TokenizerError
from prealign.text.languages import encode_words
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
    with_word_states(model)(word_ids=ids, word_lengths=lengths)
    assert not calls
    model(input_ids=ids)
    assert calls, "the hook is on the module that computes logits"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=60), st.integers(1, 10), st.integers(1, 12))
def test_batches_hold_every_word_once_and_little_padding(lengths: list[int], least: int, largest: int) -> None:
    batches = [batch.tolist() for batch in length_batches(torch.tensor(lengths), least, largest)]
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(0 < len(batch) <= largest for batch in batches)
    spread = [sorted({lengths[i] for i in batch}) for batch in batches]
    assert all(one[-1] <= other[0] for one, other in pairwise(spread)), "sorted by length"
    for kinds in spread:
        assert all(lengths.count(kind) < least for kind in kinds[:-1]), "only rare lengths are padded"


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
