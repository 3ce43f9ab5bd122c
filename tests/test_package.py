"""Wheel and sdist are built, installed in an empty environment without a network, and used there."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import prealign
import toy_experiment

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, folder: Path) -> str:
    """Standard output of a command, without this checkout on its path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(map(str, command), cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, out: Path, kind: str) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", out, folder=source)
    (made,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment that has the wheel; its dependencies are those of the environment of the tests."""
    home = tmp_path_factory.mktemp("home") / "env"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    place = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", folder=home).strip())
    dependencies = dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    extra = [path for path in sys.path if path.endswith("site-packages") and path not in dependencies]
    (place / "dependencies.pth").write_text("\n".join([*dependencies, *extra]) + "\n", encoding="utf-8")
    install = (
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--no-warn-script-location",
        wheel,
    )
    run(sys.executable, *install, folder=home)
    return home / "bin"


def files_of(package: Path) -> set[str]:
    found = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(package).as_posix() for path in found}


def test_the_wheel_has_every_file_of_the_package_and_the_recipes(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {f"prealign/{name}" for name in files_of(ROOT / "src" / "prealign")}
    recipes = {f"prealign/recipes/{path.name}" for path in ROOT.glob("recipes/*.yaml")}
    about = {name for name in names if name.startswith(f"prealign-{prealign.__version__}.dist-info/")}
    assert names - about == package | recipes
    assert any(name.endswith("licenses/LICENSE") for name in about)
    assert any(name.endswith("entry_points.txt") for name in about)


def test_the_sdist_makes_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    again = build(folder, tmp_path / "wheel", "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in other.infolist()}
    assert sdist.stat().st_size < 5e6


def test_the_wheel_runs_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """A dictionary is inspected, a toy experiment trained and reported, by the installed script."""
    place = run(installed / "python", "-c", "import prealign; print(prealign.__file__)", folder=tmp_path)
    assert Path(place.strip()).is_relative_to(installed.parent)
    script = installed / "prealign"
    assert prealign.__version__ in run(script, "--version", folder=tmp_path)
    assert "demo" in run(script, "recipes", folder=tmp_path)
    (tmp_path / "en-de.txt").write_text("house Haus\nwater Wasser\n", encoding="utf-8")
    assert "Haus" in run(script, "lexicon", "inspect", "en-de.txt", "--target", "de", folder=tmp_path)
    toy = toy_experiment.recipe(tmp_path / "toy", arms=["prealign"], pretrain__steps=2)
    recipe = yaml.safe_dump(toy.model_dump(mode="json", exclude_unset=True))
    (tmp_path / "toy.yaml").write_text(recipe, encoding="utf-8")
    run(script, "run", "toy.yaml", folder=tmp_path)
    assert {"results.json", "report.html", "data", "arms"} <= {path.name for path in (tmp_path / "runs/toy").iterdir()}
