"""A whole experiment in seconds: a made-up corpus, a model of width 8, a few steps a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

import toys
from prealign.evaluation.retrieval.dynamics import Dynamics
from prealign.files import read_json
from prealign.recipe.arms import with_settings
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.folder import STAGE_FILE, RunFolder
from prealign.run.preparation.prepare import prepare
from prealign.run.stages import ArmRun

TEMPLATES = """\
neutral:
  en: ["see {subject}.", "oh {subject}."]
relations:
  born:
    subject: person
    object: city
    teach: {en: ["{subject} of {object}.", "{subject} at {object}."]}
    ask: {en: "the {subject} is {object}"}
"""
"""One relation of made-up facts."""

_SYLLABLES = ("ka", "lo", "mi", "ren", "tu", "sol", "be", "nar")


def _corpus(documents: int, words: int) -> str:
    """A document a line: words of two syllables, some more frequent than others, some capitalised, with signs between."""
    generator = np.random.default_rng(0)
    vocabulary = [one + other for one in _SYLLABLES for other in _SYLLABLES]
    share = 1 / np.arange(1, len(vocabulary) + 1)
    lines = []
    for _ in range(documents):
        chosen = generator.choice(vocabulary, words, p=share / share.sum())
        sentences = [" ".join(part).capitalize() for part in np.array_split(chosen, words // 10)]
        lines.append(". ".join(sentences) + ".")
    return "\n".join(lines) + "\n"


def recipe(folder: Path, **settings: Any) -> Recipe:
    """A recipe of prealign and joint on files that this writes to `folder`; settings are dotted keys with __ for dots."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "en.txt").write_text(_corpus(60, 30))
    shape: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 12, "initializer_range": 0.02}
    toys.llama(rows=10, **shape).config.save_pretrained(folder / "model")
    made = Recipe.model_validate(
        {
            "name": "toy",
            "source": {"text": [str(folder / "en.txt")], "documents": "line"},
            "targets": [{"language": "en-clone", "share": 0.3}],
            "split": {"validation": 4, "test": 6},
            "tokenizer": {"vocab_size": 320},
            "lexicon": {"minimum_count": 2, "held_out": 0.2},
            "model": {"preset": None, "config": str(folder / "model")},
            "align": {"steps": 3, "pairs_per_batch": 16, "lm_batch_size": 2, "learning_rate": 1e-2},
            "switch": {"ratio": 0.3},
            "sustain": {"groups": 4, "every": 2},
            "pretrain": {"steps": 4, "batch_size": 4, "context": 24, "validations": 2, "validation_blocks": 4},
            "evaluate": {"retrieval_words": 20},
            "trainer": {"bf16": False},
        }
    )
    return with_settings(made, {key.replace("__", "."): value for key, value in settings.items()})


def prepared(recipe: Recipe, folder: Path) -> tuple[Prepared, RunFolder]:
    """The data folder of a run in `folder`."""
    run = RunFolder(folder)
    return prepare(recipe, run, lambda _: None)[0], run


def arm(recipe: Recipe, name: str, folder: Path, seed: int = 0) -> ArmRun:
    """One arm of a run in `folder`, not yet executed."""
    return ArmRun(name, seed, recipe, *prepared(recipe, folder), lambda _: None)


def record(arm: ArmRun, stage: str) -> dict[str, Any]:
    """What a finished stage of an arm recorded."""
    found: dict[str, Any] = read_json(arm.folder(stage) / STAGE_FILE)
    return found


class _Stop(TrainerCallback):
    """Ends the process's work after step 3, as a kill would."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 3:
            raise KeyboardInterrupt

    def record(self, tokens_per_step: float) -> list[dict[str, Any]]:
        return []


class Interrupted(ArmRun):
    """An arm whose stages end after step 3 with KeyboardInterrupt."""

    def dynamics(self) -> list[Dynamics]:
        return [_Stop()]  # type: ignore[list-item]
