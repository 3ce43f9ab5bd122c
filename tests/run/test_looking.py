"""Text and nearest words of trained models: against the stock `generate`, and a loop over words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import toy_experiment
from prealign.cli.main import app
from prealign.errors import RecipeError, RunFolderError
from prealign.methods.alignment.states import word_states
from prealign.run.folder import RunFolder
from prealign.run.looking import Trained, neighbours, open_trained, sample
from prealign.text.clone import clone_language

RUN = "run"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one trained arm, whose target is the clone."""
    folder = tmp_path_factory.mktemp("looking")
    toy_experiment.arm(toy_experiment.recipe(folder), "joint", folder / RUN).execute(last="pretrain")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Trained:
    return open_trained(RunFolder(folder / RUN), "joint", None)


def prealign(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_greedy_text_is_that_of_an_argmax_loop(trained: Trained) -> None:
    (text,) = sample(trained, "kalo", "en", tokens=6, temperature=0, number=1)
    ids = [trained.before, *trained.tokenizer.encode("kalo", add_special_tokens=False)]
    for _ in range(6):
        ids.append(int(trained.model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == trained.tokenizer.eos_token_id:
            break
    twins = clone_language(trained.tokenizer)
    assert text == trained.tokenizer.decode(twins.unmap(ids[1:]).tolist(), skip_special_tokens=True)


def test_a_prompt_of_the_clone_is_in_twin_ids(trained: Trained) -> None:
    assert trained.languages == ("en", "en-clone")
    texts = [sample(trained, "kalo", tag, tokens=8, temperature=0, number=1)[0] for tag in trained.languages]
    assert all(text.startswith("kalo") for text in texts)
    drawn = sample(trained, "kalo", "en", tokens=8, temperature=1.0, number=4)
    assert len(set(drawn)) > 1
    assert drawn == sample(trained, "kalo", "en", tokens=8, temperature=1.0, number=4), "draws are repeatable"


def test_too_long_or_foreign_prompts_are_refused(trained: Trained) -> None:
    with pytest.raises(RecipeError, match="positions: give a shorter one"):
        sample(trained, "kalo " * 500, "en", tokens=1, temperature=0, number=1)
    with pytest.raises(RecipeError, match="'de' is not of this run"):
        sample(trained, "a", "de", tokens=1, temperature=0, number=1)


def test_neighbours_are_those_of_a_loop(trained: Trained) -> None:
    words = [group.word for group in trained.lexicon]
    word = words[3]
    found = neighbours(trained, word, None, 1, 5)
    query = word_states(trained.model, trained.tokenizer, [word])[1, 0].double().numpy()
    for tag, near in found.items():
        cosines = {}
        for other in words:
            state = word_states(trained.model, trained.tokenizer, [other], language=tag)[1, 0].double().numpy()
            cosines[other] = float(state @ query / np.linalg.norm(state) / np.linalg.norm(query))
        if tag == "en":
            del cosines[word]
        best = sorted(cosines.values(), reverse=True)[:5]
        assert [one.cosine for one in near] == pytest.approx(best, abs=1e-5)
        assert all(cosines[one.word] == pytest.approx(one.cosine, abs=1e-5) for one in near)
        assert all(one.translation == (tag == "en-clone" and one.word == word) for one in near)
    with pytest.raises(RecipeError, match=r"--layer 9: the layers are 0 \(input embedding\) to 3 \(output\)"):
        neighbours(trained, word, None, 9, 5)


def test_what_is_not_trained_is_named(folder: Path) -> None:
    run = RunFolder(folder / RUN)
    with pytest.raises(RunFolderError, match="no trained arm 'jont'; did you mean 'joint'"):
        open_trained(run, "jont", None)
    with pytest.raises(RunFolderError, match="joint has no seed 4; trained are 0"):
        open_trained(run, "joint", 4)


def test_the_verbs_print_text_and_words(folder: Path, trained: Trained) -> None:
    run = str(folder / RUN)
    written = prealign("generate", run, "kalo", "--arm", "joint", "--samples", "2", "--json")
    assert len(json.loads(written.stdout)) == 2
    assert "kalo" in prealign("generate", run, "kalo", "--arm", "joint", "--language", "en-clone").stdout
    word = trained.lexicon.groups[0].word
    near = prealign("neighbours", run, word, "--arm", "joint", "--layer", "0", "--number", "60")
    assert near.exit_code == 0, near.output
    assert near.stdout.startswith("English\n") and near.stdout.count(" *") == 1
    assert prealign("neighbours", run, word, "--arm", "joint", "--language", "fr").exit_code == 2


@pytest.mark.parametrize(
    "name", ["arms/joint/seed-0/pretrain/model.safetensors", "data/tokens/tokenizer/tokenizer.json"]
)
def test_a_damaged_file_is_named(folder: Path, name: str) -> None:
    path = folder / RUN / name
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(RunFolderError, match=rf"damaged: .*{path.name}. Run `prealign run` again"):
        open_trained(RunFolder(folder / RUN), "joint", None)
    path.write_bytes(before)
