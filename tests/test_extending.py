"""docs/extending.md: the method on that page runs as an arm, with its cost in the budget and its name in the results."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import toy_experiment
import toys
from prealign.errors import RecipeError
from prealign.files import read_json
from prealign.recipe import registry
from prealign.recipe.arms import with_settings
from prealign.recipe.checks import contradictions
from prealign.recipe.sections import Recipe
from prealign.report.page import write_report
from prealign.report.results import Results
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")


def block(kind: str, number: int = 0) -> str:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[number]


@pytest.fixture(scope="module")
def method(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page's file, under the page's name in the table of methods."""
    folder = tmp_path_factory.mktemp("method")
    (folder / "pull_of_the_page.py").write_text(block("python"), encoding="utf-8")
    sys.path.insert(0, str(folder))
    name, place = re.findall(r'"(\w+)": "(.+?)"', block("python", 1))[0]
    registry.METHODS[name] = "pull_of_the_page:" + place.partition(":")[2]
    yield sys.modules.get("pull_of_the_page") or __import__("pull_of_the_page")
    del registry.METHODS[name], sys.modules["pull_of_the_page"]
    sys.path.remove(str(folder))


def recipe(folder: Path) -> Recipe:
    made = toy_experiment.recipe(folder)
    return Recipe.model_validate(made.model_dump(exclude_unset=True) | yaml.safe_load(block("yaml")))


def test_the_loss_is_that_of_a_naive_loop(method: Any) -> None:
    words = toys.forms([[1], [2, 3]], [[4], [5], [6, 7]])
    objective, model = method.Pull(words, 2, 0), toys.llama().double()
    batch = objective.batch(0)
    rows = model.get_input_embeddings().weight.detach()
    total, number = 0.0, 0
    for group in ([[1], [2, 3]], [[4], [5], [6, 7]]):
        means = [rows[form].mean(0) for form in group]
        center = torch.stack(means).mean(0)
        total += sum(float(((mean - center) ** 2).sum()) for mean in means)
        number += len(group)
    found = objective.loss(objective.encode(model, batch), batch)["pull"]
    assert float(found.detach()) == pytest.approx(total / number, rel=1e-12)


def test_the_method_runs_as_an_arm(method: Any, tmp_path: Path) -> None:
    made = recipe(tmp_path / "text")
    run_experiment(made, RunFolder(tmp_path / "run"), lambda _: None, command="test")
    results = read_json(tmp_path / "run" / "results.json")
    assert results["arms"]["pull"]["label"] == "Pull together"
    assert results["arms"]["pull"]["phases"][0]["objectives"][0]["weight"] == 0.3
    spent = {arm: sum(row["flops"] for row in results["budget"] if row["arm"] == arm) for arm in made.arms}
    steps = {row["arm"]: row["steps"] for row in results["budget"] if row["stage"] == "pretrain"}
    assert steps["pull"] <= steps["joint"]
    for arm in ("pull", "pull_more"):
        assert abs(spent["joint"] - spent[arm]) < spent["joint"] / steps["joint"] + 1, "to a step"
        (history,) = [row["points"] for row in results["history"] if row["arm"] == arm]
        first = history[0]
        assert first["loss"] == pytest.approx(first["lm_loss"] + 0.3 * first["pull_loss"], rel=1e-3)
    assert {row["arm"] for row in results["comparisons"]} == {"pull", "pull_more"}
    write_report(Results(results), tmp_path / "report.html")
    assert "Pull together" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_text_is_masked_and_labels_are_not(method: Any) -> None:
    ids = np.arange(1000) + 5
    done = method.MaskTokens(0.2, 0, seed=1).rewrite(ids, epoch=1, document=2)
    assert (done.labels == ids).all() and 120 < (done.input_ids == 0).sum() < 280


def test_wrong_settings_are_told_with_their_place(method: Any, tmp_path: Path) -> None:
    made = recipe(tmp_path)
    wrong = with_settings(made, {"methods": {"pull": {"wieght": 1.0, "mask": 2}, "pul": {}}})
    told = {".".join(map(str, key)): text for key, text in contradictions(wrong)}
    assert "did you mean 'weight'" in told["methods.pull.wieght"]
    assert "in 0..1" in told["methods.pull.mask"]
    assert "did you mean 'pull'" in told["methods.pul"]
    with pytest.raises(RecipeError, match="unknown arm 'nothing'"):
        toy_experiment.arm(
            with_settings(made, {"variants": {}, "arms": ["joint"]}), "nothing", tmp_path / "run"
        ).marks()


def test_the_smallest_method_stands_on_the_page_line_by_line() -> None:
    section = PAGE.partition("## The smallest method, line by line")[2].partition("\n## ")[0]
    path = re.findall(r"`(src/prealign/methods/peers/\w+\.py)`", section)[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    code = (Path(__file__).parents[1] / path).read_text(encoding="utf-8")
    assert [line for line in "".join(blocks).splitlines() if line] == [line for line in code.splitlines() if line]
    methods = Path(__file__).parents[1] / "src" / "prealign" / "methods" / "peers"
    of_methods = [own for own in methods.glob("*.py") if "(Method):" in own.read_text(encoding="utf-8")]
    assert min(of_methods, key=lambda own: len(own.read_text(encoding="utf-8").splitlines())).name == Path(path).name
