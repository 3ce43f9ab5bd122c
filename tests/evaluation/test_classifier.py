"""The head on a causal LM: what transformers' own computes; what can be learned is learned, the seed decides all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from transformers import AutoModelForSequenceClassification, GraniteConfig, GraniteForCausalLM

import toys
from prealign.errors import PrealignError
from prealign.evaluation.transfer.classifier import classifier, collate, fine_tune, predict, reading_order
from prealign.evaluation.transfer.data import Example
from prealign.events import Progress
from prealign.recipe.measures import TransferTask
from prealign.training.loop import training_arguments
from prealign.training.models import load_weights

EOS = 3
TASK = TransferTask(name="marker", train="-", epochs=4, batch_size=16, learning_rate=1e-2, weight_decay=0.0)


def examples(number: int, seed: int) -> list[Example]:
    """Random ids of different lengths; the class is which of the ids 10 and 11 stands somewhere in them."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        ids, label = rng.integers(20, 60, rng.integers(3, 10)), int(rng.integers(2))
        ids[rng.integers(len(ids))] = 10 + label
        made.append(Example(ids, label))
    return made


def checkpoint(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    return folder


def loaded(folder: Path, seed: int = 0, classes: int = 2) -> Any:
    return classifier(load_weights(toys.recipe().model, str(folder)), classes=classes, seed=seed)


@pytest.mark.parametrize("architecture", [toys.llama, toys.gpt2, toys.neox, toys.qwen2])
def test_padded_logits_are_those_of_the_classifier_of_transformers_unpadded(
    architecture: Callable[[], Any], tmp_path: Path
) -> None:
    model = loaded(checkpoint(tmp_path, architecture()), classes=3).eval()
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3).eval()
    theirs.score.weight.data.copy_(model.score.weight)
    texts = [[5, 9, 12, 7, 8, 30], [40], [6, EOS, 17], [EOS, 8], [0, 9, EOS, EOS, 21, 0]]
    with torch.no_grad():
        ours = model(**collate([Example(np.array(ids), i % 3) for i, ids in enumerate(texts)]))
        alone = torch.cat([theirs(input_ids=torch.tensor([ids])).logits for ids in texts])
    torch.testing.assert_close(ours["logits"], alone, atol=1e-5, rtol=1e-4)
    picked = alone.double().softmax(-1)[range(5), [0, 1, 2, 0, 1]]
    assert float(ours["loss"]) == pytest.approx(float(-picked.log().mean()), rel=1e-4)


def test_architectures_without_a_classifier_of_their_own_have_one_here(tmp_path: Path) -> None:
    config = GraniteConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model = loaded(checkpoint(tmp_path, GraniteForCausalLM(config)))
    assert predict(model, examples(4, 0), batch_size=2).shape == (4,)


def test_the_checkpoint_is_what_is_fine_tuned_and_eos_learns(tmp_path: Path) -> None:
    source = toys.llama()
    model = loaded(checkpoint(tmp_path, source))
    for name, weight in source.model.state_dict().items():
        assert torch.equal(model.body.state_dict()[name], weight), name
    rows = [Example(np.array([6, EOS, 17]), 1), Example(np.array([8]), 0)]
    model(**collate(rows))["loss"].backward()
    assert model.body.get_input_embeddings().weight.grad[EOS].abs().sum() > 0


def test_what_can_be_learned_is_learned_and_the_seed_decides_all(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", toys.llama(initializer_range=0.1))
    train, test = examples(800, 0), examples(200, 1)
    weights, told = [], list[Progress]()
    for seed in (0, 0, 1):
        model = loaded(folder, seed)
        record = fine_tune(
            model,
            train,
            TASK,
            toys.recipe().trainer,
            seed=seed,
            folder=tmp_path / "trainer",
            on_progress=told.append,
        )
        weights.append(torch.cat([w.flatten() for w in model.state_dict().values()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    right = predict(model, test, batch_size=16) == [example.label for example in test]
    assert right.mean() > 0.9
    assert record["steps"] == 800 * 4 / 16 == told[-1].step
    assert record["tokens"] == 4 * sum(len(example.ids) for example in train)
    assert record["flops"] > 0 < record["seconds"]
    assert not any("validation" in point for point in record["history"])
    assert not list((tmp_path / "trainer").rglob("*.safetensors"))


def test_fine_tuning_is_not_compiled_not_even_after_a_compiled_training(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", toys.llama())
    recipe = toys.recipe(trainer={"bf16": False, "torch_compile": True})
    training_arguments(
        recipe.trainer, tmp_path, recipe.pretrain, steps=1, batch_size=1, seed=0
    )  # leaves it in the environment
    torch._dynamo.reset()
    counters.clear()
    fine_tune(
        loaded(folder, 0),
        examples(8, 0),
        TASK,
        recipe.trainer,
        seed=0,
        folder=tmp_path / "t",
        on_progress=lambda _: None,
    )
    assert not counters["frames"]


def test_predictions_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    model, test = loaded(checkpoint(tmp_path, toys.llama())), examples(50, 2)
    alone = predict(model, test, batch_size=1)
    assert 0 < alone.sum() < 50
    assert np.array_equal(alone, predict(model, test, batch_size=7))


@pytest.mark.parametrize(("number", "batch_size", "epochs"), [(1000, 8, 3), (37, 8, 2), (5, 8, 1), (1601, 4, 1)])
def test_reading_order_holds_every_example_once_an_epoch_with_little_padding(
    number: int, batch_size: int, epochs: int
) -> None:
    lengths = np.random.default_rng(0).integers(1, 100, number)
    order = reading_order(lengths.tolist(), batch_size=batch_size, epochs=epochs, seed=0)
    assert np.array_equal(np.bincount(order), [epochs] * number)
    assert np.array_equal(order, reading_order(lengths.tolist(), batch_size=batch_size, epochs=epochs, seed=0))
    read = lengths[order]
    if number == 1000:
        padded = sum(batch.max() * len(batch) for batch in np.split(read, range(batch_size, len(read), batch_size)))
        assert padded < 1.1 * read.sum()
        assert not np.array_equal(order, reading_order(lengths.tolist(), batch_size=batch_size, epochs=epochs, seed=1))


def test_a_diverged_classifier_is_an_error(tmp_path: Path) -> None:
    model = loaded(checkpoint(tmp_path, toys.llama()))
    model.score.weight.data.fill_(float("nan"))
    with pytest.raises(PrealignError, match=r"classifier is not finite: lower its learning_rate"):
        predict(model, examples(3, 0), batch_size=2)
