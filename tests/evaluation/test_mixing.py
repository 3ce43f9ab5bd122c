"""Mixing of languages against a float64 loop, token by token."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import tokenizers_in_memory as memory
import toys
from prealign.evaluation.lm.mixing import SHARED, LanguageMixing, language_rows, sample
from prealign.evaluation.score import Evaluation
from prealign.text.clone import clone_language

TOKENIZER = memory.load("byte_bpe")
CLONE = clone_language(TOKENIZER)
CONTEXT = 24


def model(scale: float = 1.0, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    made = toys.llama(rows=CLONE.vocab_size)
    with torch.no_grad():
        made.get_output_embeddings().weight.mul_(scale)
    return made


def documents() -> list[np.ndarray]:
    texts = ("the house by the river is old", "water and houses", "a market, the market and a house")
    return [np.array(TOKENIZER.encode(text, add_special_tokens=False), dtype=np.int64) for text in texts]


def evaluator(**settings: Any) -> LanguageMixing:
    rows = np.arange(CLONE.vocab_size)
    twin = CLONE.unmap(rows) != rows
    defaults: dict[str, Any] = {
        "tokenizer": TOKENIZER, "documents": documents(), "language": "en", "foreign": twin, "own": ~twin, "twins": True,
        "context": CONTEXT, "prefix": int(TOKENIZER.eos_token_id), "prompt": 3, "tokens": 6,
    }  # fmt: skip
    return LanguageMixing(**defaults | settings)


def values(evaluation: Evaluation) -> dict[str, float]:
    return {score.metric: score.value for score in evaluation.scores}


@pytest.mark.parametrize("stride", [1, 7, CONTEXT])
def test_equals_a_float64_loop_token_by_token(stride: int) -> None:
    """Documents end within the context, so every window has the whole document before each token."""
    own, found = model(scale=20.0), evaluator(stride=stride)
    mass, stays, within, count, tokens = 0.0, 0.0, 0.0, 0, 0
    foreign = found.foreign | (np.arange(len(found.foreign)) == found.documents[1][0])  # a foreign label, too
    for ids in found.documents:
        inputs = torch.tensor([[found.prefix, *ids[:-1]]])
        with torch.no_grad():
            logits = own(input_ids=inputs).logits[0].double().numpy()
        for row, label in zip(logits, ids, strict=True):
            p = np.exp(row - row.max())
            p /= p.sum()
            m = sum(p[i] for i in range(len(p)) if foreign[i])
            mass, tokens = mass + m, tokens + 1
            if not foreign[label]:
                stays, within, count = stays - math.log(1 - m), within - math.log(p[label] / (1 - m)), count + 1
    got = values(evaluator(stride=stride, foreign=foreign, own=~foreign)(own))
    assert 0 < count < tokens
    assert got["foreign_mass"] == pytest.approx(mass / tokens, rel=1e-5)
    assert got["language_factor"] == pytest.approx(math.exp(stays / count), rel=1e-5)
    assert got["perplexity_within"] == pytest.approx(math.exp(within / count), rel=1e-5)


def test_the_factor_times_the_perplexity_within_is_the_perplexity() -> None:
    own, found = model(scale=5.0), evaluator()
    got = values(found(own))
    nats = 0.0
    for ids in found.documents:
        with torch.no_grad():
            logits = own(input_ids=torch.tensor([[found.prefix, *ids[:-1]]])).logits[0]
        nats += float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(ids), reduction="sum"))
    perplexity = math.exp(nats / sum(map(len, found.documents)))
    assert got["language_factor"] * got["perplexity_within"] == pytest.approx(perplexity, rel=1e-5)


def test_a_model_that_never_writes_the_other_language_has_the_factor_1() -> None:
    found = evaluator()

    class Silent(torch.nn.Module):
        """A model whose foreign rows have no probability."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model()
            self.config, self.device = self.inner.config, torch.device("cpu")

        def forward(self, **inputs: Any) -> Any:
            output = self.inner(**inputs)
            output.logits[..., torch.from_numpy(found.foreign)] = -1e9
            return output

    got = values(found(Silent()))  # type: ignore[arg-type]
    assert got["foreign_mass"] == pytest.approx(0, abs=1e-6) and got["language_factor"] == pytest.approx(1, abs=1e-6)
    assert got["foreign_words"] == 0


def test_words_of_the_wrong_language_are_counted_by_word() -> None:
    found = evaluator()
    plain = np.array(TOKENIZER.encode(" the house and water", add_special_tokens=False), dtype=np.int64)
    assert found._words(plain) == (4, 0)
    twins = CLONE.map(plain)
    assert found._words(twins) == (4, 4)
    one = plain.copy()
    one[-1] = twins[-1]  # the last token of the last word
    assert found._words(one) == (4, 1)
    shared = evaluator(own=np.zeros_like(found.own), foreign=np.zeros_like(found.foreign))
    assert shared._words(plain) == (0, 0), "words of shared tokens tell nothing"


def test_rows_beyond_the_ids_are_shared_and_never_written() -> None:
    torch.manual_seed(0)
    padded = toys.llama(rows=CLONE.vocab_size + 7)
    got = evaluator()(padded)
    assert 0 < values(got)["foreign_mass"] < 1 and sum(got.items["written"]["words"]) > 0


def test_what_is_written_depends_on_the_seed_and_on_nothing_else() -> None:
    own = model()
    state = torch.random.get_rng_state()
    first, again, other = (evaluator(seed=seed, tokens=12)(own).items["written"] for seed in (0, 0, 1))
    assert first == again != other
    assert torch.equal(state, torch.random.get_rng_state()), "the generator of the run is left alone"
    share = sum(first["foreign"]) / sum(first["words"])
    assert 0.2 < share < 0.95, "an untrained model writes both languages"


def test_samples_follow_the_softmax() -> None:
    own = model(scale=30.0)
    inputs = torch.tensor([[1, 2]]).repeat(4000, 1)
    with torch.no_grad():
        expected = own(input_ids=inputs[:1]).logits[0, -1].double().softmax(0)
        torch.manual_seed(0)
        drawn = sample(own, inputs, 1, rows=CLONE.vocab_size)[:, 0]
    best = int(expected.argmax())
    assert float((drawn == best).double().mean()) == pytest.approx(float(expected[best]), abs=0.04)


def test_rows_belong_to_the_language_that_has_them_20_times_as_often() -> None:
    """Of 1,000 tokens each: 900 to 1; 95 to 5 (19 times); 5 to 994; a row that only one language has, once."""
    counts = {"en": np.array([900, 95, 5, 0, 0]), "de": np.array([1, 4, 994, 1, 0])}
    assert language_rows(counts).tolist() == [0, SHARED, 1, SHARED, SHARED]
    assert language_rows(counts, ratio=1.5).tolist() == [0, 0, 1, SHARED, SHARED]
