"""What moves and rewrites must not change: the stages and fingerprints of three recipes' arms, and what a small run counts.

`python tests/run/test_golden.py` writes golden.json anew; a commit that changes it says why.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

import toy_experiment
from prealign.recipe.arms import with_settings
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.stages import ArmRun

GOLDEN = Path(__file__).resolve().with_name("golden.json")
_NAME = ("task", "language", "metric", "layer", "stage", "condition")
RECIPES = ("demo", "en-clone", "en-de")
_SMALL: dict[str, Any] = {
    # what keeps a recipe's arms and gives it small text, whose files a fingerprint does not name
    "tokenizer": {"vocab_size": 320},
    "split": {"validation": 4, "test": 6},
    "model": {"preset": "nano", "attention": "sdpa"},
    "trainer": {"bf16": False},
    "transfer": [],
}


def small(name: str, folder: Path) -> Recipe:
    """The recipe `name` with its arms, on toy text and a toy dictionary; steps and sizes are a tenth."""
    own = yaml.safe_load((Path(__file__).resolve().parents[2] / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    toy = toy_experiment.recipe(folder)
    words = (folder / "en.txt").read_text(encoding="utf-8").lower().replace(".", "").split()
    (folder / "de.txt").write_text(
        "\n".join(f"{word[::-1]} {word[::-1]}" for word in words[:200]) + "\n", encoding="utf-8"
    )
    (folder / "en-de.txt").write_text(
        "\n".join(f"{word}\t{word[::-1]}" for word in sorted(set(words))) + "\n", encoding="utf-8"
    )
    own |= {"source": toy.source.model_dump(exclude_unset=True), **_SMALL}
    for target in own["targets"]:
        if not target["language"].endswith("-clone"):
            target |= {"text": [str(folder / "de.txt")], "documents": "line"}
    own["lexicon"] |= {"minimum_count": 2} | (
        {"files": [{"path": str(folder / "en-de.txt"), "target": "de", "format": "tsv"}]}
        if "files" in own["lexicon"]
        else {}
    )
    own["evaluate"] = {k: v for k, v in own.get("evaluate", {}).items() if k not in ("dictionaries", "sentences")}
    recipe = Recipe.model_validate(own)
    smaller = {"align.steps": 20, "pretrain.steps": 40, "align.pairs_per_batch": 16}
    return with_settings(recipe, smaller)


def marks() -> dict[str, dict[str, dict[str, str]]]:
    """The stages of every arm of each recipe with their fingerprints, on data whose own fingerprint is fixed.

    Works in the current folder, as fingerprints take the paths of dictionaries.
    """
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name in RECIPES:
        recipe = small(name, Path(name))
        prepared, run = toy_experiment.prepared(recipe, Path(name) / "run")
        data = Prepared(prepared.folder, prepared.record | {"fingerprint": "golden"})
        arms = (ArmRun(arm, 0, recipe, data, run, lambda _: None) for arm in recipe.arms)
        found[name] = {arm.arm: arm.marks() for arm in arms}
    return found


def counted(folder: Path) -> dict[str, Any]:
    """What a toy run of two arms counts and measures, but for times."""
    recipe = toy_experiment.recipe(folder)
    results: dict[str, Any] = {}
    for name in ("joint", "prealign_sustained_anchored"):
        arm = toy_experiment.arm(recipe, name, folder / "run")
        arm.execute()
        record = {stage: toy_experiment.record(arm, stage) for stage in arm.marks()}
        results[name] = {
            "steps": {stage: record[stage]["steps"] for stage in ("align", "pretrain") if stage in record},
            "tokens": {stage: record[stage]["tokens"] for stage in ("align", "pretrain") if stage in record},
            "flops": {stage: record[stage]["flops"] for stage in ("align", "pretrain") if stage in record},
            "blocks": {key: record["blocks"][key] for key in ("documents", "blocks", "source_words", "switched_words")},
            "scores": {
                "/".join(
                    str(score[key]) for key in ("task", "language", "metric", "layer", "stage", "condition")
                ): score["value"]
                for score in record["evaluate"]["scores"]
            },
        }
    return results


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return read


def test_stages_and_fingerprints_of_every_arm_are_those_of_before(
    golden: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert marks() == golden["marks"]


def test_a_toy_run_counts_and_measures_what_it_did_before(golden: dict[str, Any], tmp_path: Path) -> None:
    found = counted(tmp_path)
    for arm, expected in golden["run"].items():
        scores = found[arm].pop("scores")
        assert scores == pytest.approx(
            expected.pop("scores"), rel=1e-3, abs=0.051
        )  # a retrieved word more or less: 1/20
        assert found[arm] == expected


if __name__ == "__main__":
    import sys
    import tempfile

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        written = {"marks": marks(), "run": counted(Path("toy"))}
    GOLDEN.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
