"""Every architecture that is promised, tied and untied, with more rows than the tokenizer has ids: what a step of each stage
reaches, and how rows of new tokens and a frozen body take part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

import toys
from prealign.methods.alignment.objective import WordFormAlignment
from prealign.methods.alignment.states import tied as is_tied
from prealign.methods.phase import Term
from prealign.methods.vocabulary.new_rows import new_rows
from prealign.recipe.sections import ModelSection
from prealign.training.models import build_model, freeze_body, frozen_share, load_weights
from prealign.training.phase import train

IDS, ROWS, CONTEXT, BATCH = 50, 64, 12, 16
EVERY = [(name, tied) for name in toys.ARCHITECTURES for tied in (False, True)]
WORDS = toys.forms(*([[g, g + 1], [g + 20]] for g in range(1, 25)))


@pytest.fixture(params=EVERY, ids=lambda p: f"{p[0]} {'tied' if p[1] else 'untied'}")
def model(request: pytest.FixtureRequest) -> Any:
    name, tied = request.param
    made = toys.ARCHITECTURES[name](ROWS, tied=tied)
    assert is_tied(made) == tied
    return made


def copies(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def one_step(model: Any, stage: str, folder: Path, **settings: Any) -> dict[str, Any]:
    """Train one step of a stage in place, without weight decay; all ids of the vocabulary occur, none of the padding's."""
    shape: dict[str, Any] = {"learning_rate": 0.01, "weight_decay": 0.0, "batch_size": BATCH, "context": CONTEXT}
    terms = [Term(WordFormAlignment(WORDS, groups=24))] if stage == "align" else []
    phase = toys.phase(*terms, **shape | {"name": stage} | settings)
    ids = (np.arange(BATCH * CONTEXT) % IDS).reshape(BATCH, CONTEXT).tolist()
    text = Dataset.from_dict({"input_ids": ids, "labels": ids})
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return train(phase, model, text, {}, seed=0, folder=folder, on_progress=lambda _: None, trainer={"bf16": False})


@pytest.mark.parametrize("stage", ["align", "pretrain"])
def test_a_step_reaches_every_parameter_and_no_row_of_the_padding(model: Any, stage: str, tmp_path: Path) -> None:
    before = copies(model)
    one_step(model, stage, tmp_path)
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for name, parameter in model.named_parameters():
        changed = parameter.detach() != before[name]
        assert changed.any(), f"{name} has not moved"
        if parameter is embedding or parameter is head:
            assert changed[:IDS].any(1).all(), name
        # A row that no text has is pushed down by the softmax of the output, and by nothing at the input.
        if parameter is embedding and not is_tied(model):
            assert not changed[IDS:].any()


@pytest.mark.parametrize("stage", ["align", "pretrain"])
def test_with_a_frozen_body_the_embeddings_alone_move(model: Any, stage: str, tmp_path: Path) -> None:
    before = copies(model)
    record = one_step(model, stage, tmp_path, freeze_body=True)
    heads = {id(m.weight) for m in (model.get_input_embeddings(), model.get_output_embeddings())}
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {name for name, parameter in model.named_parameters() if id(parameter) in heads}
    body = sum(parameter.numel() for name, parameter in before.items() if name not in moved) if moved else 0
    assert record["frozen"] == pytest.approx(body / sum(p.numel() for p in before.values()))
    assert all(parameter.requires_grad == (name in moved) for name, parameter in model.named_parameters())


def test_the_saved_checkpoint_is_the_model_that_was_trained(model: Any, tmp_path: Path) -> None:
    one_step(model, "pretrain", tmp_path / "scratch", freeze_body=True)
    model.save_pretrained(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    ids = torch.arange(CONTEXT)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_ids=ids).logits, model.eval()(input_ids=ids).logits)


@pytest.mark.parametrize("added", [8, 30])
def test_new_tokens_take_padding_rows_first_and_other_rows_stay(model: Any, added: int, tmp_path: Path) -> None:
    """The row of a translated token is that of its translation, of another one the mean of its pieces; against a loop."""
    model.save_pretrained(tmp_path)
    needs = {"vocab_size": IDS + added, "context": CONTEXT, "eos_token_id": 0}
    section = ModelSection(preset=None, pretrained=str(tmp_path))
    start = build_model(section, seed=0, **needs)
    assert start.get_input_embeddings().weight.shape[0] == max(ROWS, IDS + added)
    before = [m.weight.detach().clone() for m in (start.get_input_embeddings(), start.get_output_embeddings())]
    pieces = [[i % IDS, (3 * i) % IDS, 7] for i in range(added)]
    pairs = [(np.array([4]), np.array([IDS]), 1.0), (np.array([5, 6]), np.array([2, IDS + 1]), 2.0)]
    rows = new_rows(pairs, pieces, IDS)
    rows.write(start)
    assert rows.as_dict() == {"translations": 2, "pieces": added - 2}
    assert is_tied(start) == is_tied(model)
    for module, old in zip((start.get_input_embeddings(), start.get_output_embeddings()), before, strict=True):
        new = module.weight.detach()
        assert torch.equal(new[:IDS], old[:IDS]) and torch.equal(new[IDS + added :], old[IDS + added :])
        torch.testing.assert_close(new[IDS], old[4])
        torch.testing.assert_close(new[IDS + 1], (old[5] + old[6]) / 2)
        for i in range(2, added):
            torch.testing.assert_close(new[IDS + i], sum(old[piece] for piece in pieces[i]) / 3)


def test_a_padding_token_that_is_also_eos_learns(model: Any, tmp_path: Path) -> None:
    model.config.pad_token_id = 0
    model.save_pretrained(tmp_path / "model")
    loaded = load_weights(ModelSection(preset=None, pretrained=str(tmp_path / "model")), str(tmp_path / "model"))
    ids = torch.arange(CONTEXT)[None]
    loaded.base_model(input_ids=ids).last_hidden_state.square().sum().backward()
    assert loaded.get_input_embeddings().weight.grad[0].any()


def test_the_frozen_share_counts_a_tied_matrix_once() -> None:
    shares = []
    for tied in (False, True):
        made = toys.llama(ROWS, tied=tied)
        total = sum(parameter.numel() for parameter in made.parameters())
        freeze_body(made)
        shares.append(frozen_share(made) * total)
    assert shares[0] == pytest.approx(shares[1])
