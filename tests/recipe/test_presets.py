"""Presets carry their settings: a recipe that leaves them out trains like one that writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prealign.recipe.arms import resolve_arm
from prealign.recipe.effects import ineffective
from prealign.recipe.file import dump_recipe, load_recipe
from prealign.recipe.presets import PRESET_SETTINGS, settings_taken
from prealign.recipe.sections import Recipe


def recipe(**sections: Any) -> Recipe:
    base = {"name": "a", "source": {"text": ["en.txt"]}, "targets": [{"language": "en-clone"}]}
    return Recipe.model_validate({**base, **sections})


def test_settings_left_out_are_those_of_the_preset() -> None:
    small = recipe()
    assert (small.pretrain.learning_rate, small.pretrain.batch_size, small.model.attention) == (2e-3, 4, "eager")
    assert settings_taken(small)["pretrain.learning_rate"] == 2e-3
    large = recipe(model={"preset": "70m"})
    assert (large.pretrain.learning_rate, large.pretrain.batch_size, large.model.attention) == (3e-4, 16, "sdpa")
    assert not settings_taken(large)


def test_settings_written_are_kept_also_at_the_default_of_their_section() -> None:
    written = recipe(pretrain={"learning_rate": 3e-4}, model={"preset": "micro", "attention": "sdpa"})
    assert (written.pretrain.learning_rate, written.pretrain.batch_size) == (3e-4, 4)
    assert written.model.attention == "sdpa"
    assert set(settings_taken(written)) == {"pretrain.batch_size", "align.learning_rate", "anchor.em_rounds"}


def test_taken_and_written_settings_train_alike(tmp_path: Path) -> None:
    """Fingerprints are of `changes()`; arms, variants and files keep what was taken."""
    written = recipe(**{name: dict(values) for name, values in PRESET_SETTINGS["nano"].items()})
    for name in PRESET_SETTINGS["nano"]:
        assert getattr(recipe(), name).changes() == getattr(written, name).changes()
    variants = {"wide": {"extends": "anchored", "set": {"anchor.residual_rate": 0.5}}}
    varied = recipe(arms=["joint", "wide"], variants=variants)
    assert resolve_arm(varied, "wide").anchor.em_rounds == 10
    path = tmp_path / "a.yaml"
    path.write_text(dump_recipe(varied), encoding="utf-8")
    assert load_recipe(path) == varied


def test_a_setting_that_was_taken_is_not_warned_of_and_one_far_off_is() -> None:
    assert not ineffective(recipe())
    far = ineffective(recipe(pretrain={"learning_rate": 2e-4, "batch_size": 40}))
    assert far == [
        "pretrain.learning_rate: 0.0002 is far from 0.002, which was found for the preset nano",
        "pretrain.batch_size: 40 is far from 4, which was found for the preset nano",
    ]
    assert not ineffective(recipe(pretrain={"learning_rate": 3e-4, "batch_size": 16}))
    assert ineffective(recipe(model={"preset": "1b"}, pretrain={"learning_rate": 3e-3}))


@pytest.mark.parametrize("model", [{"config": "folder"}, {"pretrained": "folder"}])
def test_another_model_needs_no_word_on_the_preset(model: dict[str, str]) -> None:
    other = recipe(model=model, tokenizer={"path": "folder"})
    assert other.model.preset is None
    assert (other.pretrain.learning_rate, other.model.attention) == (3e-4, "sdpa")
    assert (
        other.model.changes() == recipe(model={**model, "preset": None}, tokenizer={"path": "folder"}).model.changes()
    )
