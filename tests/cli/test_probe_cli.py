"""`prealign probe` on a checkpoint from disk, without a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import tokenizers_in_memory
import toys
from prealign.cli.main import app
from prealign.text.clone import clone_language


def prealign(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with enough rows for a clone, one with too few, and sentences in two languages."""
    made, tokenizer = tmp_path_factory.mktemp("probe"), tokenizers_in_memory.load("byte_bpe")
    for name, rows in (("model", clone_language(tokenizer).vocab_size), ("small", 20)):
        toys.llama(rows).save_pretrained(made / name)
        tokenizer.save_pretrained(made / name)
    generator = np.random.default_rng(0)
    words = [f"w{number}" for number in range(200)]
    lines = [" ".join(generator.choice(words, generator.integers(3, 9))) for _ in range(60)]
    (made / "en.txt").write_text("\n".join(lines) + "\n")
    (made / "de.txt").write_text("\n".join(lines[1:] + lines[:1]) + "\n")
    return made


def layers(folder: Path, *arguments: str) -> list[dict[str, float]]:
    result = prealign("probe", "similarity", str(folder / "model"), *arguments, "--permutations", "20", "--json")
    assert result.exit_code == 0, result.stderr
    (found,) = json.loads(result.stdout)
    assert found["sentences"] == 60 and [layer["layer"] for layer in found["layers"]] == [0, 1, 2]
    measured: list[dict[str, float]] = found["layers"]
    return measured


def test_the_same_sentences_are_wholly_similar_and_others_are_not(folder: Path) -> None:
    source = ["--source", f"en={folder}/en.txt"]
    for layer in layers(folder, *source, "--target", f"en={folder}/en.txt"):
        assert layer["value"] == pytest.approx(1.0) and layer["p"] < 0.05
    for layer in layers(folder, *source, "--target", f"de={folder}/de.txt", "--kernel", "rbf"):
        assert abs(layer["value"]) < 0.4
    clone = layers(folder, *source, "--target", "en-clone")
    assert 0 < clone[0]["value"] < 1


def test_the_table_has_a_row_a_layer(folder: Path) -> None:
    found = prealign(
        "probe", "similarity", str(folder / "model"), "--source", f"en={folder}/en.txt", "--target", "en-clone"
    )
    assert "Null, 95th" in " ".join(found.output.split()) and "60 parallel sentences" in " ".join(found.output.split())


def test_wrong_input_gets_one_message(folder: Path) -> None:
    source = ("--source", f"en={folder}/en.txt")
    for arguments, message in (
        ((str(folder / "small"), *source, "--target", f"de={folder}/de.txt"), "embedding rows, and the model has 20"),
        ((str(folder / "model"), *source, "--target", "de"), "'de' is not of the form TAG=FILE"),
        ((str(folder / "model"), *source, "--target", f"de={folder}/de.txt", "--folds", "10"), "too few for 10 folds"),
        ((str(folder / "nothing"), *source, "--target", f"de={folder}/de.txt"), "nothing"),
    ):
        result = prealign("probe", "similarity", *arguments)
        told = " ".join(result.stderr.split())
        assert result.exit_code == 2 and message in told and told.count("error:") == 1, told
