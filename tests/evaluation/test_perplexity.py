"""Perplexity against a per-token float64 loop; every token is scored once, in full context."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from prealign.errors import PrealignError, RecipeError
from prealign.evaluation.lm.perplexity import document_sums, perplexity_scores, token_nats, windows

VOCABULARY = 50
ROWS = 57
"""More embedding rows than the tokenizer has ids."""
LENGTHS = (23, 5, 0, 12, 1, 40, 13, 2)


def score_documents(*args: Any, **settings: Any) -> tuple[Any, Any]:
    """Nats and scored tokens of each document."""
    return document_sums(token_nats(*args, **settings))


def llama() -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=ROWS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.4,  # far from uniform, so that context matters
    )
    return LlamaForCausalLM(config)


def gpt2() -> PreTrainedModel:
    config = GPT2Config(vocab_size=ROWS, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.4)
    return GPT2LMHeadModel(config)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Thousands of tiny forward passes: on a busy machine threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=[llama, gpt2])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    made: PreTrainedModel = request.param()
    return made.train()


@pytest.fixture
def documents() -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, VOCABULARY, length) for length in LENGTHS]


def naive(model: PreTrainedModel, document: NDArray[np.int64], prefix: int | None, context: int, stride: int) -> float:
    """One forward pass a token, alone in its batch, context cut as `windows` says; softmax in float64."""
    model.eval()
    ids = ([] if prefix is None else [prefix]) + [int(token) for token in document]
    total = 0.0
    for start, stop, first_scored in windows(max(0, len(ids) - 1), context, stride):
        for position in range(first_scored, stop):
            with torch.no_grad():
                logits = model(torch.tensor([ids[start : position + 1]])).logits[0, -1].double().numpy()
            total += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[ids[position + 1]]
    return total


# --- windows --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 60), st.data())
def test_every_position_is_scored_once_in_full_context(length: int, context: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, context))
    spans = windows(length, context, stride)
    scored = [position for _, stop, first in spans for position in range(first, stop)]
    assert scored == list(range(length))
    for number, (start, stop, first) in enumerate(spans):
        assert stop - start == min(context, length), "a window is full wherever the document is long enough"
        assert 0 <= start <= first < stop
        assert number == 0 or first - start + 1 >= context - stride + 1
        assert number == 0 or stop - first <= stride


def test_windows_by_hand() -> None:
    assert windows(10, 4, 2) == [(0, 4, 0), (2, 6, 4), (4, 8, 6), (6, 10, 8)]
    assert windows(9, 4, 4) == [(0, 4, 0), (4, 8, 4), (5, 9, 8)], "the last window moves back to be full"
    assert windows(5, 3, 1) == [(0, 3, 0), (1, 4, 3), (2, 5, 4)]
    assert windows(2, 8, 4) == [(0, 2, 0)]
    assert windows(0, 8, 4) == []


@pytest.mark.parametrize("stride", [0, 9])
def test_a_stride_that_would_skip_tokens_is_refused(stride: int) -> None:
    with pytest.raises(RecipeError, match=rf"evaluate\.stride is {stride}.*context of 8"):
        windows(20, 8, stride)


# --- scoring documents ----------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [0, None])
@pytest.mark.parametrize(("context", "stride"), [(16, 8), (16, 16), (16, 1), (64, 32)])
def test_equals_a_per_token_loop(
    model: PreTrainedModel,
    documents: list[NDArray[np.int64]],
    prefix: int | None,
    context: int,
    stride: int,
) -> None:
    nats, tokens = score_documents(model, documents, context=context, stride=stride, batch_size=3, prefix=prefix)
    expected = [naive(model, document, prefix, context, stride) for document in documents]
    np.testing.assert_allclose(nats, expected, rtol=2e-6, atol=1e-9)
    unscored = prefix is None
    assert tokens.tolist() == [max(0, length - unscored) for length in LENGTHS]
    assert nats.dtype == np.float64 and tokens.dtype == np.int64


@pytest.mark.parametrize("prefix", [0, None])
def test_nats_are_those_of_each_token(
    model: PreTrainedModel, documents: list[NDArray[np.int64]], prefix: int | None
) -> None:
    """A token costs what a document costs more than the document without it; context 64 holds each whole."""
    found = token_nats(model, documents, context=64, stride=32, batch_size=3, prefix=prefix)
    assert [len(nats) for nats in found] == [max(0, length - (prefix is None)) for length in LENGTHS]
    for document, nats in zip(documents, found, strict=True):
        beginnings = [document[:end] for end in range(len(document) - len(nats), len(document) + 1)]
        sums, _ = score_documents(model, beginnings, context=64, stride=32, batch_size=64, prefix=prefix)
        np.testing.assert_allclose(nats, np.diff(sums), rtol=1e-4, atol=1e-5)


def test_stride_one_is_each_token_after_its_last_context_tokens(model: PreTrainedModel) -> None:
    """Written without `windows`: a token is predicted from the (at most) 6 tokens before it."""
    document = np.random.default_rng(1).integers(1, VOCABULARY, 20)
    nats, _ = score_documents(model, [document], context=6, stride=1, batch_size=4, prefix=0)
    ids = [0, *document.tolist()]
    model.eval()
    expected = 0.0
    for target in range(1, len(ids)):
        with torch.no_grad():
            logits = model(torch.tensor([ids[max(0, target - 6) : target]])).logits[0, -1].double()
        expected -= float(logits.log_softmax(0)[ids[target]])
    assert nats[0] == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("batch_size", [2, 7, 1000])
def test_does_not_depend_on_the_batch_size(
    model: PreTrainedModel, documents: list[NDArray[np.int64]], batch_size: int
) -> None:
    alone, _ = score_documents(model, documents, context=12, stride=5, batch_size=1, prefix=0)
    together, _ = score_documents(model, documents, context=12, stride=5, batch_size=batch_size, prefix=0)
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_does_not_depend_on_the_order_of_documents(model: PreTrainedModel, documents: list[NDArray[np.int64]]) -> None:
    there, _ = score_documents(model, documents, context=12, stride=5, batch_size=4, prefix=0)
    back, _ = score_documents(model, documents[::-1], context=12, stride=5, batch_size=4, prefix=0)
    np.testing.assert_allclose(back[::-1], there, rtol=1e-6)


def test_longer_context_changes_what_a_token_costs(model: PreTrainedModel, documents: list[NDArray[np.int64]]) -> None:
    """Guards the tests above: with a model blind to context they could not fail."""
    short, _ = score_documents(model, documents, context=2, stride=1, batch_size=4, prefix=0)
    long, _ = score_documents(model, documents, context=64, stride=1, batch_size=4, prefix=0)
    assert abs(short[0] - long[0]) > 0.1
    of_one_token = LENGTHS.index(1)
    assert short[of_one_token] == pytest.approx(long[of_one_token], rel=1e-6)


def test_rows_beyond_the_tokenizer_take_part_in_the_softmax() -> None:
    """All logits 0: every token costs ln(rows), not ln(vocabulary)."""
    torch.manual_seed(0)
    model = llama()
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    nats, tokens = score_documents(model, [np.arange(1, 11)], context=8, stride=4, batch_size=2, prefix=0)
    assert nats[0] / tokens[0] == pytest.approx(np.log(ROWS), rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_leaves_the_model_as_it_was(model: PreTrainedModel, training: bool) -> None:
    model.train(training)
    score_documents(model, [np.arange(1, 6)], context=8, stride=4, batch_size=2, prefix=0)
    assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_dropout_is_off_while_scoring() -> None:
    torch.manual_seed(0)
    model = gpt2().train()
    assert model.config.resid_pdrop > 0
    runs = [
        score_documents(model, [np.arange(1, 20)], context=8, stride=4, batch_size=2, prefix=0)[0][0] for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_progress_counts_every_scored_token(model: PreTrainedModel, documents: list[NDArray[np.int64]]) -> None:
    seen: list[int] = []
    _, tokens = score_documents(model, documents, context=16, stride=8, batch_size=2, prefix=0, on_progress=seen.append)
    assert sum(seen) == tokens.sum() == sum(LENGTHS)
    assert len(seen) > 1


def test_no_document_at_all(model: PreTrainedModel) -> None:
    nats, tokens = score_documents(model, [], context=8, stride=4, batch_size=2, prefix=0)
    assert nats.shape == tokens.shape == (0,)


def test_a_diverged_model_is_an_error_that_says_so(model: PreTrainedModel) -> None:
    torch.nn.init.constant_(model.get_output_embeddings().weight, float("nan"))
    with pytest.raises(PrealignError, match=r"not finite for 1 of 2 documents \(first: number 1\)"):
        score_documents(model, [np.array([], int), np.arange(1, 6)], context=8, stride=4, batch_size=2, prefix=0)
    assert model.training


# --- scores ---------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    """8 nats over 4 tokens and 16 bytes: perplexity e^2, bits per byte 0.5 / ln 2."""
    nats, tokens, byte_counts = np.array([6.0, 2.0, 0.0]), np.array([2, 2, 0]), np.array([8, 8, 0])
    perplexity, bits = perplexity_scores(nats, tokens, byte_counts, language="en-clone", signature="docs:3")
    assert (perplexity.metric, bits.metric) == ("perplexity", "bits_per_byte")
    assert perplexity.value == pytest.approx(np.exp(2.0))
    assert bits.value == pytest.approx(0.5 / np.log(2))
    assert (perplexity.low, perplexity.high) == pytest.approx((np.exp(1.0), np.exp(3.0)))
    for score in (perplexity, bits):
        assert score.n == 2, "an empty document is not an item"
        assert (score.task, score.language, score.stage, score.split) == (
            "lm",
            "en-clone",
            "pretrain",
            "test",
        )
        assert (score.layer, score.chance, score.signature) == (None, None, "docs:3")


def test_documents_without_a_token_to_score_are_an_error() -> None:
    with pytest.raises(PrealignError, match="none of the 2 test documents in de"):
        perplexity_scores(
            np.zeros(2), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64), language="de", signature=""
        )
