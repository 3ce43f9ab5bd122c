"""Bilingual next word: against naive loops, by hand, in text of a tokenizer, and as an arm."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import text_losses as toy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch import Tensor

import tokenizers_in_memory as tokenizers
import toy_experiment
from prealign.files import read_json
from prealign.lexicon import Group, Lexicon
from prealign.methods.peers.next_word import NextWord, block_draws
from prealign.methods.peers.translated_labels import WordTranslator
from prealign.methods.vocabulary.links import TokenLinks
from prealign.recipe.arms import resolve_arm
from prealign.recipe.methods import AnchorSection, NextWordSection
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.run.planned import planned_phases
from prealign.text.clone import clone_language
from prealign.text.encode import encode_words, text_ids
from prealign.training.models import model_shapes


def objective(seed: int = 0, **section: Any) -> NextWord:
    return NextWord(NextWordSection(**section), toy.inputs(seed), anchor=AnchorSection())


def loss_of(made: NextWord, ids: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    batch = made.of_text(ids, labels)
    return made.loss(made.encode(None, {**batch, "text_logits": logits}), batch)["next_word"]


def naive(ids: Tensor, labels: Tensor, logits: Tensor, seed: int, keep: int, symmetric: bool, share: float) -> Tensor:
    """The loss by loops over labels, languages and tokens."""
    draws, losses = block_draws(ids.numpy(), seed), []
    for b, t in np.ndindex(*labels.shape):
        label = int(labels[b, t])
        if t == 0 or label < 0 or draws[b, t] >= share:
            continue
        parts = [part for part in (toy.DE, toy.FR, *([toy.REST] if symmetric else [])) if toy.heaviest(label, part, 1)]
        if parts:
            part = parts[int(draws[b, t] / share * len(parts))]
            total = torch.stack([logits[b, t - 1, v] for v in range(12) if toy.PART[v] == part]).logsumexp(0)
            losses.append(sum(q * (total - logits[b, t - 1, token]) for token, q in toy.heaviest(label, part, keep)))
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    ("keep", "symmetric", "share", "seed"), [(4, True, 1.0, 0), (1, True, 0.5, 1), (2, False, 0.7, 2)]
)
def test_loss_and_gradient_are_those_of_a_naive_loop(keep: int, symmetric: bool, share: float, seed: int) -> None:
    ids, labels = toy.text(5, seed=seed)
    logits = torch.randn(5, 9, toy.ROWS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    made = objective(seed, translations=keep, symmetric=symmetric, share=share)
    results = []
    for compute in (
        lambda z: loss_of(made, ids, labels, z),
        lambda z: naive(ids, labels, z, seed, keep, symmetric, share),
    ):
        own = logits.clone().requires_grad_()
        loss = compute(own)
        results.append((loss.detach(), *torch.autograd.grad(3 * loss, own)))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_a_case_worked_by_hand() -> None:
    # The label 11 is French, and token 3 and 4 translate it alike: within the rest of 7 tokens, 3 has 3/10 and 4 has 1/10.
    ids, labels = torch.tensor([[0, 11]]), torch.tensor([[11, 11]])
    logits = torch.zeros(1, 2, toy.ROWS, dtype=torch.float64)
    logits[0, 0, 3], logits[0, 0, 0] = math.log(3), math.log(2)
    logits[0, 0, 7:] = 50.0  # other parts, and rows that are no tokens, are of no account
    expected = -(math.log(3 / 10) + math.log(1 / 10)) / 2
    assert float(loss_of(objective(), ids, labels, logits)) == pytest.approx(expected, rel=1e-6)
    assert float(loss_of(objective(symmetric=False), ids, labels, logits)) == 0, "no label is left"


def test_bfloat16_logits_get_the_gradients_of_float32() -> None:
    ids, labels = toy.text(4)
    logits = torch.randn(4, 9, toy.ROWS, generator=torch.Generator().manual_seed(0)).bfloat16()
    slopes = []
    for dtype in (torch.float32, torch.bfloat16):
        own = logits.to(dtype).requires_grad_()
        slopes.append(torch.autograd.grad(loss_of(objective(), ids, labels, own), own)[0])
    assert slopes[1].dtype == torch.bfloat16
    torch.testing.assert_close(slopes[1].float(), slopes[0], rtol=0.02, atol=1e-4)


def test_draws_depend_on_the_seed_and_the_block_alone() -> None:
    ids, labels = toy.text(6)
    whole, again = (objective(1, share=0.5).of_text(ids, labels) for _ in range(2))
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    parts = [objective(1, share=0.5).of_text(ids[rows], labels[rows]) for rows in (slice(0, 2), slice(2, 6))]
    parts[1]["rows"] += 2 * ids.shape[1]
    assert all(torch.equal(whole[key], torch.cat([part[key] for part in parts])) for key in whole)
    other = objective(2, share=0.5).of_text(ids, labels)
    assert other["rows"].tolist() != whole["rows"].tolist()


cells = st.lists(
    st.tuples(st.integers(6, 11), st.integers(0, 5), st.integers(1, 9)), min_size=1, unique_by=lambda cell: cell[:2]
)


@settings(deadline=None)
@given(cells=cells, keep=st.integers(1, 4), part=st.sampled_from([-1, 0, 1]))
def test_links_into_a_part_are_the_heaviest_with_shares(
    cells: list[tuple[int, int, int]], keep: int, part: int
) -> None:
    of = np.array([-1] * 6 + [0] * 3 + [1] * 3)
    target, source, count = np.array(cells).T
    links = TokenLinks(of, sparse.csr_matrix((count.astype(float), (target, source)), shape=(12, 12)))
    tokens, weights = links.into(part, keep)
    for token in range(12):
        near = [(t if token == s else s, c) for t, s, c in cells if token in (t, s)]
        kept = sorted(((c, -o) for o, c in near if of[o] == part), reverse=True)[:keep]
        total = sum(c for c, _ in kept)
        found = {int(t): w for t, w in zip(tokens[token], weights[token], strict=True) if w > 0}
        assert found == {-o: pytest.approx(c / total) for c, o in kept}
        assert set(tokens[token]) == (set(found) or {-1})


# By words


def translate(translator: WordTranslator, ids: list[int] | np.ndarray, labels: Any = None, **shape: int) -> Any:
    block = np.asarray(ids).reshape(1, -1)
    own = block if labels is None else np.asarray(labels).reshape(1, -1)
    return translator.find(block, own, np.ones(block.shape, bool), np.full(block.shape, 0.5))


def test_words_of_a_clone_are_translated_to_their_twins_both_ways() -> None:
    tokenizer = tokenizers.byte_level_bpe()
    clone = clone_language(tokenizer)
    lexicon = clone.lexicon(["house", "river", "water", "Anna", "by"])
    part = np.where(np.arange(clone.vocab_size) >= len(tokenizer), 0, -1)
    translator = WordTranslator(tokenizer, lexicon, part, ("en-clone",))
    ids = np.array(text_ids(tokenizer, [tokenizers.EN])[0])
    starts = {w: encode_words(tokenizer, [w], "en")[0] for w in ("house", "river", "water", "Anna", "by")}
    expected = {
        place
        for place in range(1, len(ids))
        for word in starts.values()
        if (ids[place : place + len(word)] == word).all() and tokenizer.decode(ids[place + len(word)])[:1] in " .,;?'"
    }
    found = translate(translator, ids)
    assert expected <= set(found.place.tolist()) and len(expected) > 5
    assert (found.tokens[:, 0] == clone.twin[ids[found.place]]).all() and (found.part == 0).all()
    back = translate(translator, clone.twin[ids])
    assert back.place.tolist() == found.place.tolist()
    assert (back.tokens[:, 0] == ids[found.place]).all() and (back.part == -1).all()
    one_way = WordTranslator(tokenizer, lexicon, part, ("en-clone",), symmetric=False)
    assert len(translate(one_way, clone.twin[ids]).place) == 0


def test_words_that_are_left_out() -> None:
    tokenizer = tokenizers.byte_level_bpe()
    words = {"house": ("Haus",), "river": ("Fluß",), "in": ("in",), "bread": ("bread",), "water": ("Wasser",)}
    lexicon = Lexicon([Group(word, {"de": senses}) for word, senses in words.items()], source="en", targets=("de",))
    first = {w: int(encode_words(tokenizer, [w], "de")[0][0]) for w in ("Haus", "Fluß")}
    part = np.where(np.isin(np.arange(len(tokenizer)), [*first.values()]), 0, -1)
    translator = WordTranslator(tokenizer, lexicon, part, ("de",))
    ids = np.array(text_ids(tokenizer, ["a house in a river, bread and water in a house"])[0])
    starts = np.flatnonzero(ids == encode_words(tokenizer, ["house"], "en")[0][0])
    river = np.flatnonzero(ids == encode_words(tokenizer, ["river"], "en")[0][0])
    found = translate(translator, ids)
    # "in" is of both languages, "bread" and "Wasser" begin in no part of German, and the block cuts the last house.
    assert found.place.tolist() == [starts[0], river[0]]
    assert found.tokens[:, 0].tolist() == [first["Haus"], first["Fluß"]]
    labels = ids.copy()
    labels[starts[0]] = 5  # as code-switching leaves it
    assert translate(translator, ids, labels).place.tolist() == [river[0]]
    assert translate(translator, ids[starts[0] :]).place.tolist() == [river[0] - starts[0]], "predicted from nothing"


def test_it_runs_as_an_arm_and_beside_other_mechanisms(tmp_path: Path) -> None:
    made = toy_experiment.recipe(
        tmp_path / "text",
        arms=["joint", "joint_next_word", "words", "all"],
        variants={
            "words": {"extends": "joint_next_word", "set": {"next_word.level": "word", "next_word.share": 0.5}},
            "all": {
                "extends": "prealign_sustained_anchored",
                "set": {"next_word.schedule": [[0, 0], [1, 1]], "twin_mask.gamma": 0.0},
            },
        },
    )
    run_experiment(made, RunFolder(tmp_path / "run"), lambda _: None, command="test")
    results = read_json(tmp_path / "run" / "results.json")
    assert "WEAM" in results["arms"]["joint_next_word"]["citation"]
    steps = {row["arm"]: row["steps"] for row in results["budget"] if row["stage"] == "pretrain"}
    assert steps["joint_next_word"] == steps["words"] == steps["joint"], "no product of matrices more"
    points = {row["arm"]: row["points"] for row in results["history"] if row["stage"] == "pretrain"}
    losses = {arm: [p["next_word_loss"] for p in own if "next_word_loss" in p] for arm, own in points.items()}
    assert not losses["joint"] and losses["joint_next_word"] != losses["words"]
    for arm in ("joint_next_word", "words"):
        for point in points[arm]:
            assert point["loss"] == pytest.approx(point["lm_loss"] + 0.3 * point["next_word_loss"], rel=1e-3)
        assert all(0 < loss < math.log(700) for loss in losses[arm])
    first = points["all"][0]
    aligned = first["lm_loss"] + first["twin_mask_loss"] + 0.1 * first["align_loss"]
    assert first["loss"] == pytest.approx(aligned, rel=1e-3), "the schedule begins with 0"
    assert all(point["twin_mask_loss"] < 0 for point in points["all"])


def test_it_is_planned_without_data(tmp_path: Path) -> None:
    made = toy_experiment.recipe(tmp_path)
    model = model_shapes(made.model, vocab_size=500, context=24, eos_token_id=0)
    costs = [planned_phases(resolve_arm(made, arm))[-1].cost(model) for arm in ("joint", "joint_next_word")]
    assert costs[0] == costs[1]
    (term,) = planned_phases(resolve_arm(made, "joint_next_word"))[-1].terms
    assert term.objective.memory(model) > 4 * 24 * 4 * 500


def test_the_fingerprint_takes_what_changes_the_loss() -> None:
    described = [
        NextWord(NextWordSection(**section), toy.inputs(), anchor=AnchorSection(**anchor)).describe()
        for section, anchor in (
            ({}, {}),
            ({"level": "word"}, {}),
            ({"translations": 2}, {}),
            ({"symmetric": False}, {}),
            ({"share": 0.5}, {}),
            ({}, {"em_rounds": 1}),
            ({}, {"frequency_ratio": 2}),
        )
    ]
    assert all(one != other for one, other in pairwise(described))
    assert len({str(one) for one in described}) == len(described)
