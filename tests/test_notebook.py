"""examples/demo.ipynb runs cell by cell, on a toy experiment in place of the demo's."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import toy_experiment

NOTEBOOK = Path(__file__).parents[1] / "examples" / "demo.ipynb"


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def run(source: str, names: dict[str, Any]) -> Any:
    """Execute a cell as a notebook does; return the value of its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    return (
        eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names) if isinstance(last, ast.Expr) else None
    )


def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "notebook"}
    shown = []
    for cell in cells():
        shown.append(run("".join(cell["source"]), names))
        if "parameters" in cell["metadata"].get("tags", []):
            assert names["recipe"].name == "demo"
            names |= {"recipe": toy_experiment.recipe(tmp_path / "toy"), "folder": tmp_path / "run"}
    tables, switched, nearest = (one for one in shown if one is not None and one is not shown[-1])
    assert {"Joint training", "PreAlign"} <= set(tables["Arm"])
    assert list(switched.index) == ["input_ids", "labels"]
    assert nearest and all(word != other for word, other in nearest.items())
    assert (tmp_path / "run" / "report.html").exists()


def test_the_notebook_is_committed_without_outputs() -> None:
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells())
