"""README and docs say what the committed results say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from prealign.cli.main import app
from prealign.recipe.effects import ineffective
from prealign.recipe.file import load_recipe
from prealign.recipe.sections import Recipe
from prealign.report.page import write_markdown
from prealign.report.results import Results
from prealign.report.results_file import read_results
from prealign.report.tables.budget import standard_errors
from prealign.report.tables.language_modelling import language_modelling
from prealign.report.tables.table import to_markdown
from prealign.report.tables.tasks import transfer

ROOT = Path(__file__).parent.parent
RESULTS = sorted(ROOT.glob("docs/results/*/results.json"))


def test_the_readme_shows_the_demos_table() -> None:
    results, readme = read_results(ROOT / "docs/results/demo/results.json"), (ROOT / "README.md").read_text("utf-8")
    (table,) = language_modelling(Results(results))
    assert to_markdown(table) in readme
    assert len({score["seed"] for score in results["scores"]}) >= 3
    assert results["command"] in readme


def test_the_readme_shows_rows_of_the_committed_claims() -> None:
    """Five of the arms stand in the README, with the numbers that they have among all."""
    results, readme = read_results(ROOT / "docs/results/en-clone/results.json"), (ROOT / "README.md").read_text("utf-8")
    block = readme.partition("<!-- claims -->")[2].partition("<!-- /claims -->")[0].strip()
    shown = [line for line in block.splitlines() if line]
    made = [
        line for part in (language_modelling, transfer) for line in to_markdown(part(Results(results))[0]).splitlines()
    ]
    assert set(shown) <= set(made)
    arms = [
        Results(results).label(arm)
        for arm in ("joint", "prealign", "prealign_sustained", "prealign_anchored", "merged_ids")
    ]
    assert [
        next(arm for arm in arms if f"| {arm} |" in line) for line in shown if re.search(r"\| [^|:]*\d", line)
    ] == 3 * arms
    commands = {part["command"] for part in results.get("parts", [results])}
    assert all(command.startswith("prealign run recipes/en-clone.yaml") for command in commands)
    assert "prealign run recipes/en-clone.yaml" in readme


@pytest.mark.parametrize(
    "path", [path for path in RESULTS if path.parent.name != "performance"], ids=lambda p: p.parent.name
)
def test_each_results_page_is_made_of_its_results(path: Path, tmp_path: Path) -> None:
    write_markdown(Results(read_results(path)), tmp_path / "README.md", tmp_path)
    for made in tmp_path.iterdir():
        assert (path.parent / made.name).read_bytes() == made.read_bytes(), made.name


def _retrieval(results: dict[str, Any], arm: str, task: str, metric: str, layer: int, stage: str) -> float:
    key = {"arm": arm, "task": task, "metric": metric, "layer": layer, "stage": stage}
    rows = [row for row in results["scores"] if key.items() <= row.items()]
    values = [row["value"] for row in rows if row["condition"] in ("dictionary", "flores200")]
    assert len(values) == 3, "a value a seed"
    return sum(values) / 3


@pytest.mark.parametrize(("language", "name"), [("de", "German"), ("zh", "Chinese")])
def test_the_page_of_real_languages_says_what_the_results_say(language: str, name: str) -> None:
    page = (ROOT / "docs/results/real-languages.md").read_text(encoding="utf-8")
    results = read_results(ROOT / f"docs/results/en-{language}/results.json")
    assert set(to_markdown(language_modelling(Results(results))[0]).splitlines()[2:8]) <= set(page.splitlines())
    tasks = {"words": "retrieval", "sentences": "sentence_retrieval"}
    metrics = {"P@1": "p_at_1", "CSLS P@1": "csls_p_at_1", "MEXA": "mexa"}
    shown = [line.split(" | ") for line in page.splitlines() if re.match(rf"\| {name} \| (words|sentences)", line)]
    assert len(shown) == 9
    for _, what, layer, untrained, joint, sustained, difference, p, anchored in shown:
        task, metric = tasks[what.split(", ")[0]], metrics[what.split(", ")[1]]
        own = (task, metric, 0 if layer == "emb" else int(layer))
        key = {"arm": "prealign_sustained", "task": task, "metric": metric, "layer": own[2]}
        (row,) = [
            row for row in results["comparisons"]
            if key.items() <= row.items() and row["condition"] in ("dictionary", "flores200")
        ]  # fmt: skip
        numbers = [float(number) for number in re.findall(r"[-+]?[0-9.]+", difference.replace("−", "-"))]
        assert numbers == pytest.approx([row["difference"], row["low"], row["high"]], abs=6e-4)
        assert p == ("<0.001" if row["p"] < 0.001 else f"{row['p']:.3f}")
        assert float(untrained) == pytest.approx(_retrieval(results, "joint", *own, "init"), abs=6e-4)
        for number, arm in ((joint, "joint"), (sustained, "prealign_sustained"), (anchored.strip(" |"), "anchored")):
            assert float(number) == pytest.approx(_retrieval(results, arm, *own, "pretrain"), abs=6e-4)


def test_realised_rates_are_those_expected_within_sampling_error() -> None:
    """Of all committed results, by arm, and by language where text was switched into several."""
    rates = []
    for path in RESULTS:
        for row in read_results(path).get("switching", []) if path.parent.name != "performance" else ():
            by_language = [rate for found in row.get("switched", {}).values() for rate in found.values()]
            rates += [standard_errors([rate]) for rate in (row, *by_language)]
    known = [rate for rate in rates if rate is not None]
    assert len(known) > 50
    assert max(map(abs, known)) < 4
    assert abs(sum(known)) < 4 * len(known) ** 0.5, "no lean to one side"


def test_the_recipe_excerpts_of_real_languages_can_be_added_to_a_recipe() -> None:
    text = (ROOT / "docs/real-languages.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        sections = yaml.safe_load(block)
        recipe = load_recipe(ROOT / "recipes/en-de.yaml", [f"{key}={json.dumps(own)}" for key, own in sections.items()])
        assert not [warning for warning in ineffective(recipe) if warning.split(":")[0].split(".")[0] in sections]


def test_the_files_and_links_that_the_docs_name_exist() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#]+?)\)", text):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
        for named in re.findall(r"`((?:src|tests|recipes)/[\w./-]+)`", text):
            assert (ROOT / named).exists(), f"{page.name}: {named}"


def own_language() -> str:
    return (ROOT / "docs/your-own-language.md").read_text(encoding="utf-8")


def test_your_own_language_is_three_commands_around_the_committed_recipe() -> None:
    page, path = own_language(), ROOT / "recipes/en-cs.yaml"
    assert f"```yaml\n{path.read_text(encoding='utf-8')}```" in page
    install, *ours = commands = re.findall(r"^ *```bash\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    assert [command.strip() for command in ours] == [
        f"prealign {verb} recipes/en-cs.yaml" for verb in ("lexicon build", "run")
    ]
    assert len(commands) == 3 and all(command.count("\n") == 1 for command in commands)
    recipe = load_recipe(path, ())
    assert not list(ineffective(recipe))
    assert install.split()[:3] == ["apt", "install", "--no-install-recommends"]
    packages = set(install.split()[3:])
    assert f"#   {install.strip()}" in path.read_text(encoding="utf-8").splitlines()
    (dictionary,), (target,) = recipe.lexicon.files, recipe.targets
    assert Path(dictionary.path).parent == Path("/usr/share/dictd")
    wanted = {f"dict-{Path(dictionary.path).stem}"}
    for text in (*recipe.source.text, *target.text):
        language = Path(text).relative_to("/usr/share/libreoffice/help").parts[0]
        wanted.add(f"libreoffice-help-{language.lower()}")
    assert packages == wanted


def test_the_command_line_knows_what_your_own_language_types() -> None:
    terminal = CliRunner()
    for verb in (["lexicon", "build"], ["run"]):
        assert "RECIPE" in terminal.invoke(app, [*verb, "--help"]).output
    assert terminal.invoke(app, ["validate", str(ROOT / "recipes/en-cs.yaml")]).exit_code == 0


def test_your_own_language_shows_the_numbers_of_its_results() -> None:
    page, results = own_language(), read_results(ROOT / "docs/results/en-cs/results.json")
    assert results["command"] == "prealign run recipes/en-cs.yaml"
    assert Recipe.model_validate(results["recipe"]).changes() == load_recipe(ROOT / "recipes/en-cs.yaml", ()).changes()
    lines = [line.split() for line in page.splitlines()]
    for table in language_modelling(Results(results)):
        for row in table.rows:
            assert [part for cell in row for part in cell.split()] in lines, row
    coverage, groups = results["lexicon"]["coverage"]["cs"], results["lexicon"]["groups"]
    assert f"coverage cs: {coverage:.1%} of the en words in the training text" in page
    assert f"{groups:,} translation groups → runs/en-cs/data/lexicon/lexicon.jsonl" in page
