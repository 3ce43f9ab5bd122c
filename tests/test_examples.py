"""The examples run as they stand, on a tiny model, and do what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.nn.utils import parametrize

import tokenizers_in_memory as memory
import toys

EXAMPLES = Path(__file__).parents[1] / "examples"
WORDS = {"house": "Haus", "the": "das", "river": "Fluss", "water": "Wasser", "market": "Markt", "nobody": "niemand"}


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str, str]:
    """A model with its tokenizer, a dictionary, its target, a text."""
    tokenizer = memory.load("byte_bpe")
    toys.llama(rows=len(tokenizer), initializer_range=0.02).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "en-de.tsv").write_text("".join(f"{en}\t{de}\n" for en, de in WORDS.items()), encoding="utf-8")
    (tmp_path / "en.txt").write_text("\n".join(line for line in memory.EN.splitlines() if line), encoding="utf-8")
    return str(tmp_path / "model"), str(tmp_path / "en-de.tsv"), "de", str(tmp_path / "en.txt")


def test_a_dataset_is_switched_input_only(files: tuple[str, str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    switched = example("switch_a_dataset").main(*files)
    text = capsys.readouterr().out
    assert "'labels': (2," in text
    ids, labels = (np.concatenate(switched[name]) for name in ("input_ids", "labels"))
    assert len(ids) == len(labels) and (labels == -100).any(), "some substitute has more than one token"
    tokenizer = memory.load("byte_bpe")
    assert any(word in tokenizer.decode(ids) for word in WORDS.values())
    assert not any(word in tokenizer.decode(labels[labels != -100]) for word in ("Haus", "Fluss", "Markt"))


def test_the_plain_loop_aligns(files: tuple[str, str, str, str]) -> None:
    losses = example("align_in_a_loop").main(*files, steps=30)
    assert losses[-1] < 0.5 * losses[0]


def test_the_trainer_leaves_a_plain_model(files: tuple[str, str, str, str]) -> None:
    model = example("align_in_a_trainer").main(*files, steps=3)
    assert not parametrize.is_parametrized(model.get_input_embeddings())
    fresh = toys.llama(rows=model.get_input_embeddings().weight.shape[0], initializer_range=0.02)
    assert model.state_dict().keys() == fresh.state_dict().keys()
