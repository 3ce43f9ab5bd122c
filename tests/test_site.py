"""The documentation site: generated pages and drawings are those of the code, and it builds without warnings."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import create_model

import prealign
from prealign.recipe.section import Section

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def script(name: str) -> Any:
    """A script under docs/ as a module."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, DOCS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["reference/recipe_keys", "reference/command_line", "reference/arms_measured"])
def test_a_generated_page_is_that_of_today(name: str) -> None:
    made = script(name)
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), "run `make pages`"


@pytest.mark.parametrize("name", ["figures/architecture", "figures/labels"])
def test_a_drawing_is_that_of_today(name: str) -> None:
    drawing = script(name)
    picture = DOCS / f"{name}.svg"
    assert picture.read_text(encoding="utf-8") == drawing.picture(), "run `make pages`"


def test_the_page_of_the_architecture_has_the_tree_of_today() -> None:
    tree = script("figures/architecture").tree()
    assert f"```text\n{tree}\n```" in (DOCS / "architecture.md").read_text(encoding="utf-8"), "run `make pages`"


def test_the_drawing_of_the_labels_has_those_of_the_label_contract() -> None:
    """Worked by hand: two tokens become three, so the first has the source's label and two have none."""
    inputs, labels = script("figures/labels").switched()
    assert inputs == ["she", "is", "trau", "ri", "g", "today"]
    assert labels == ["she", "is", "un", "-100", "-100", "today"]


def test_every_key_of_a_recipe_has_a_meaning_and_a_valid_example() -> None:
    reference = script("reference/recipe_keys")
    recipes, count, unused = reference.values_set(), 0, set(reference.EXAMPLES)
    for section, model in (*reference.sections(), *reference.settings_of_methods()):
        assert model.__doc__, section
        for key, field, meaning in reference.keys(section, model):
            assert meaning.endswith((".", "…).")), f"{key}: write a docstring below the field"
            value = reference.example(key, field, recipes)
            shown = yaml.safe_load(reference.as_yaml(key, value))
            for step in key.split(".")[:-1]:
                shown = shown[0] if step == "N" else shown[step.lower() if step == "NAME" else step]
            name = key.rpartition(".")[2]
            assert shown == {name: value}, key
            create_model("One", __base__=Section, **{name: (field.annotation, field)})(**shown)
            unused -= {key} if value == reference.EXAMPLES.get(key) else set()
            count += 1
    assert count > 150
    assert not unused, "a recipe or a page sets these keys: remove them from EXAMPLES"


def test_types_in_words() -> None:
    reference = script("reference/recipe_keys")
    from prealign.recipe.sections import Recipe

    fields = {key: field for key, field, _ in reference.keys("", Recipe)}
    assert reference.in_words(fields["seeds"].annotation) == "list of: whole number, at least 0, below 4,294,967,296"
    kinds = {
        key: reference.in_words(field.annotation, field.metadata)
        for section, model in reference.sections()
        for key, field, _ in reference.keys(section, model)
    }
    assert kinds["switch.ratio"] == "number, at least 0, at most 1"
    assert kinds["split.train"] == "whole number, at least 2 or null"
    assert kinds["switch.mode"] == "one of `input_only`, `vanilla`"
    assert kinds["mixture.weights"] == "mapping of names to: number, above 0"


def test_the_tutorial_goes_through_the_whole_demo() -> None:
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    quoted = "".join(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    recipe = (ROOT / "recipes/demo.yaml").read_text(encoding="utf-8")
    lines = [line for line in recipe.splitlines() if line and not line.startswith("#")]
    assert quoted.splitlines() == lines


@pytest.mark.parametrize(
    ("question", "links"),
    [
        ("How are input-only labels made?", ["method.md#the-label-contract"]),
        ("How do I add a dictionary format?", ["extending.md#add-a-dictionary-format"]),
        ("What does a run cost?", ["performance.md"]),
        ("Will it help my language?", ["which-method.md", "results/README.md"]),
    ],
)
def test_the_home_page_answers_and_leads_on(question: str, links: list[str]) -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    (answer,) = re.findall(rf"\*\*{re.escape(question)}\*\*(.*?)\n\n", text, re.DOTALL)
    assert all(f"({link})" in answer for link in links)


def test_the_python_reference_has_every_public_name() -> None:
    text = (DOCS / "reference/python.md").read_text(encoding="utf-8")
    named = {place.rpartition(".")[2]: place for place in re.findall(r"^::: (\S+)", text, re.MULTILINE)}
    for name in prealign.__all__:
        assert name in named or f"`{name}`" in text, name
    for name, place in named.items():
        public = getattr(prealign, name)
        assert place == f"{public.__module__}.{public.__qualname__}"


def test_the_site_builds_without_warnings_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Strict: every page is in the navigation, every link and anchor leads somewhere."""
    pytest.importorskip("mkdocs", reason="needs the extra `docs`")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<script[^>]+src=\"?(https?:)?//", text), page
        assert not re.search(r"<link[^>]+rel=\"?(stylesheet|preconnect)[^>]+href=\"?(https?:)?//", text), page
    assert (tmp_path / "files/recipes/en-cs.yaml").read_bytes() == (ROOT / "recipes/en-cs.yaml").read_bytes()
    home = (tmp_path / "CHANGELOG.html").read_text(encoding="utf-8")
    assert 'href="extending.html"' in home, "links of a page from outside docs/ lead into the site"
