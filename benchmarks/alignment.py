"""Alignment: word pairs per second of stage 1's L_align, forward and backward.

Measured is the way of the project: the forms of a batch of 256 translation pairs are packed into rows, nearly without
padding, and run through the body of the model alone. The reference is the plain way: both sides are padded to their longest
form and run through the whole model, vocabulary logits included, one forward a side. Model, batches, loss and precision are
the same; both losses are checked to agree in fp32. The models are the demo's, with its 4,000 rows of embeddings, and the
one of the recipes for real languages: micro, 8,000 rows. The larger the vocabulary, the more its logits cost the plain way.
Recipes with `jobs: 2` train two arms side by side, a core each, so both are measured. The target is 3 times the reference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.figures import ROUNDS, Target, alternate, figure, one_core, rates
from benchmarks.material import SEED, Material
from prealign.methods.alignment.loss import ExcludedPairs, WordAlignmentLoss
from prealign.methods.alignment.states import encoded_word_states
from prealign.methods.alignment.words import word_forms
from prealign.training.precision import bf16_available

OVERRIDES = ()
TARGET = Target("ratio", "≥", 3)

_BATCHES = 8

Batch = dict[str, Tensor]


def run(material: Material, quick: bool) -> list[dict[str, Any]]:
    """Measure; `material` is the demo's."""
    section = material.recipe.align
    lexicon, _ = material.prepared.training_lexicon(material.recipe, SEED)
    words = word_forms(lexicon, material.prepared.tokenizer)
    size = section.pairs_per_batch
    batches = [words.numbered_batch(number, size, SEED) for number in range(1 if quick else _BATCHES)]
    shapes = {"nano": material.prepared.vocab_size} if quick else {"nano": material.prepared.vocab_size, "micro": 8_000}
    figures = []
    for preset, rows in shapes.items():
        model, name = material.model(preset, rows).train(), f"{preset}, {rows:,} rows"
        figures.append(_measure(model, batches, section.temperature, name, quick))
        with one_core():
            figures.append(_measure(model, batches, section.temperature, f"{name}, one core", quick))
    return figures


def _measure(model: Any, batches: list[Batch], temperature: float, name: str, quick: bool) -> dict[str, Any]:
    loss = WordAlignmentLoss(temperature)
    with torch.no_grad():
        for batch in batches:
            torch.testing.assert_close(in_rows(model, loss, batch), side_by_side(model, loss, batch))

    def step(way: Any) -> None:
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16_available()):
                value = way(model, loss, batch)
            value.backward()
            model.zero_grad(set_to_none=True)

    taken = alternate([lambda: step(in_rows), lambda: step(side_by_side)], 2 if quick else ROUNDS)
    pairs = sum(len(batch["word_groups"]) for batch in batches) / 2
    ours, theirs = (rates(pairs, t) for t in taken)
    return figure(name, "pairs/s", ours, references=theirs, against="the plain way", target=TARGET)


def in_rows(model: Any, loss: WordAlignmentLoss, batch: Batch) -> Tensor:
    """Return L_align as stage 1 computes it."""
    states = encoded_word_states(model, batch["word_ids"], batch["word_lengths"])
    groups = batch["word_groups"]
    return loss(states, groups, ExcludedPairs(groups, batch["word_surfaces"]))


def side_by_side(model: Any, loss: WordAlignmentLoss, batch: Batch) -> Tensor:
    """Return L_align by one forward of the whole model a side; a clone's group is a source form and its twin."""
    sides = [{name: values[side::2] for name, values in batch.items()} for side in (0, 1)]
    assert torch.equal(sides[0]["word_groups"], sides[1]["word_groups"]), "every group must have two forms"
    states = torch.cat([_states(model, side["word_ids"], side["word_lengths"]) for side in sides], dim=1)
    groups, surfaces = (torch.cat([side[name] for side in sides]) for name in ("word_groups", "word_surfaces"))
    return loss(states, groups, ExcludedPairs(groups, surfaces))


def _states(model: Any, ids: Tensor, lengths: Tensor) -> Tensor:
    own = torch.arange(ids.shape[1]) < lengths[:, None]  # (W, n)
    output = model(input_ids=ids, attention_mask=own.long(), output_hidden_states=True)
    rows = F.embedding(ids, model.get_output_embeddings().weight)
    share = (own / lengths[:, None]).unsqueeze(-1)  # (W, n, 1)
    return torch.stack([(h * share).sum(1) for h in (*output.hidden_states, rows)])  # (L+2, W, D)
