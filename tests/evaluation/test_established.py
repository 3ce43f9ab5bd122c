"""Whether words are aligned: against a naive loop, and what ends a phase."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import toys
from prealign.evaluation.retrieval.established import PairSample, UntilEstablished
from prealign.lexicon import Group, Lexicon
from prealign.methods.alignment.states import word_states
from prealign.methods.goal import Layers
from tokenizers_in_memory import byte_level_bpe

LEXICON = Lexicon(
    [
        Group(f"word{i}", {"de": (f"wort{i}", f"wert{i}"), "cs": (f"slovo{i}",)} if i % 3 else {"de": (f"wort{i}",)})
        for i in range(12)
    ],
    source="en",
    targets=["de", "cs"],
)


def sample(layers: Layers = "all") -> PairSample:
    return PairSample.draw(byte_level_bpe(), LEXICON, 0, layers=layers, bos=False)


def naive(states: dict[str, np.ndarray], language: str) -> float:
    """P@1 of both directions, by loops; states: word -> (D,)."""
    gold = {(g.word, t) for g in LEXICON for t in g.translations.get(language, ())}
    sides = [{s for s, _ in gold}, {t for _, t in gold}]
    hits = []
    for own, other in (sides, sides[::-1]):
        for word in sorted(own):
            best = max(
                sorted(other),
                key=lambda o: states[word] @ states[o] / np.linalg.norm(states[word]) / np.linalg.norm(states[o]),
            )
            hits.append((word, best) in gold or (best, word) in gold)
    return float(np.mean(hits))


@pytest.mark.parametrize("layers", ["all", "embedding", "output"])
def test_it_is_the_mean_over_layers_of_a_naive_loop(layers: Layers) -> None:
    tokenizer = byte_level_bpe()
    model = toys.llama(rows=len(tokenizer))
    words = {
        w: tag for g in LEXICON for w, tag in [(g.word, "en"), *((t, k) for k, v in g.translations.items() for t in v)]
    }
    states = {w: word_states(model, tokenizer, [w], language=tag)[:, 0].double().numpy() for w, tag in words.items()}
    chosen = {"all": range(1, toys.BLOCKS + 1), "embedding": [0], "output": [toys.BLOCKS + 1]}[layers]
    expected = {
        tag: np.mean([naive({w: s[layer] for w, s in states.items()}, tag) for layer in chosen]) for tag in ("de", "cs")
    }
    assert sample(layers)(model) == pytest.approx(expected, abs=1e-9)
    assert 0 < sum(expected.values()) < 2


class Rising:
    """A sample whose P@1 is 0.5 at the first measurement, then 0.9, in one language a measurement later."""

    pairs = (None,)

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, model: Any) -> dict[str, float]:
        self.calls += 1
        return {"de": 0.5 if self.calls < 2 else 0.9, "cs": 0.5 if self.calls < 3 else 0.95}


def trained(most: int, *, resume_at: int | None = None) -> tuple[int, list[dict[str, Any]], int]:
    """The last step, the log and the number of measurements of a training; resume_at: in another process after this step."""
    rising = Rising()
    args, state = SimpleNamespace(max_steps=most), SimpleNamespace(max_steps=most, global_step=0, log_history=[])
    callback = UntilEstablished(rising, 0.9)  # type: ignore[arg-type]
    callback.on_train_begin(args, state, None)
    while state.global_step < state.max_steps:
        state.global_step += 1
        callback.on_step_end(args, state, None, model=None)
        if state.global_step == resume_at:
            state.max_steps, callback = most, UntilEstablished(rising, 0.9)  # type: ignore[arg-type]
            callback.on_train_begin(args, state, None)
    return state.global_step, state.log_history, rising.calls


def test_the_slowest_language_decides() -> None:
    last, log, calls = trained(500)
    assert (last, calls) == (75 + 8, 3), "0.9 in both at step 75, then a tenth of decay"
    assert [entry["step"] for entry in log] == [25, 50, 75]


@pytest.mark.parametrize("at", [24, 25, 60, 75, 80])
def test_a_resumed_phase_ends_at_the_same_step(at: int) -> None:
    assert trained(500, resume_at=at) == trained(500)


def test_a_goal_out_of_reach_leaves_all_steps() -> None:
    assert trained(60)[0] == 60 and trained(80)[0] == 80


def test_a_lexicon_without_pairs_is_never_measured() -> None:
    none = PairSample(byte_level_bpe(), [])
    state = SimpleNamespace(max_steps=30, global_step=25, log_history=[])
    UntilEstablished(none, 0.5).on_step_end(SimpleNamespace(max_steps=30), state, None)
    assert none(torch.nn.Identity()) == {} and state.log_history == []
