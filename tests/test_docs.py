"""README and docs say what the committed results say."""

from __future__ import annotations

import contextlib
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from prealign.cli.main import app
from prealign.lexicon.formats import FORMATS
from prealign.recipe.arms import ARMS
from prealign.recipe.effects import ineffective
from prealign.recipe.file import load_recipe
from prealign.recipe.registry import METHODS, load_method
from prealign.recipe.sections import Recipe
from prealign.recipe.validate import fields_at
from prealign.report.formats import times
from prealign.report.page import write_markdown
from prealign.report.results import Results, language_label
from prealign.report.results_file import read_results
from prealign.report.tables.budget import standard_errors
from prealign.report.tables.language_modelling import language_modelling
from prealign.report.tables.table import to_markdown
from prealign.report.tables.tasks import transfer
from prealign.run.starter import RECOMMENDED

ROOT = Path(__file__).parent.parent
RESULTS = sorted(ROOT.glob("docs/results/*/results.json"))


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def part(text: str, name: str) -> list[str]:
    """The lines between the comments `<!-- name -->` and `<!-- /name -->` that are not empty."""
    inside = text.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    return [line for line in inside.splitlines() if line]


def rows_of(lines: list[str], arms: list[str]) -> list[str]:
    """The arm of each row of numbers."""
    return [next(arm for arm in arms if f"| {arm} |" in line) for line in lines if re.search(r"\| [^|:]*\d", line)]


def test_the_results_page_shows_the_demos_table() -> None:
    results, text = read_results(ROOT / "docs/results/demo/results.json"), page("docs/results/README.md")
    (table,) = language_modelling(Results(results))
    assert to_markdown(table) in text
    assert len({score["seed"] for score in results["scores"]}) >= 3
    assert results["command"] in text


def test_the_results_page_shows_rows_of_the_committed_claims() -> None:
    """Five of the arms stand on the page, with the numbers that they have among all."""
    results, text = read_results(ROOT / "docs/results/en-clone/results.json"), page("docs/results/README.md")
    shown = part(text, "claims")
    made = [
        line
        for table in (language_modelling, transfer)
        for line in to_markdown(table(Results(results))[0]).splitlines()
    ]
    assert set(shown) <= set(made)
    names = ("joint", "prealign", "prealign_sustained", "prealign_anchored", "merged_ids")
    arms = [Results(results).label(arm) for arm in names]
    assert rows_of(shown, arms) == 3 * arms
    commands = {one["command"] for one in results.get("parts", [results])}
    assert all(command.startswith("prealign run recipes/en-clone.yaml") for command in commands)
    assert "prealign run recipes/en-clone.yaml" in text


def test_the_results_page_lists_every_committed_result_with_its_seeds() -> None:
    lines = page("docs/results/README.md").splitlines()
    for path in RESULTS:
        name = path.parent.name
        if name == "performance":
            continue
        (line,) = [line for line in lines if line.startswith("| [") and f"]({name}/README.md)" in line.split(" | ")[0]]
        seeds = {score["seed"] for score in read_results(path)["scores"]}
        assert int(line.split(" | ")[2]) == len(seeds), name


def ratios(name: str) -> dict[tuple[str, str], str]:
    """Labels of arm and language to the ratio of its perplexity to joint training's, to two decimals."""
    results = Results(read_results(ROOT / f"docs/results/{name}/results.json"))
    rows = results.compared()["ratio"]
    return {(results.label(arm), language_label(tag)): times(ratio) for (tag, arm), ratio in rows.items()}


def test_the_readme_shows_rows_of_the_committed_results() -> None:
    """Six of the arms, what is lost in English included, and the ratios of the sentences above the table."""
    text, results = page("README.md"), read_results(ROOT / "docs/results/en-clone/results.json")
    shown = part(text, "readme table")
    assert set(shown) <= set(to_markdown(language_modelling(Results(results))[0]).splitlines())
    names = ("joint", "prealign", "prealign_sustained", "prealign_anchored", "merged_ids", "joint_vanilla_cs")
    arms = [Results(results).label(arm) for arm in names]
    assert rows_of(shown, arms) == 2 * arms
    assert "`prealign run recipes/en-clone.yaml` makes this table" in text
    sentences, clone = " ".join(text.split()), ratios("en-clone")
    prealign, sustained, anchored = arms[1:4]
    for said in (
        f"lowers the clone's perplexity to {clone[prealign, 'English-Clone']} of joint training's",
        f"*vanilla switching* ({clone[arms[5], 'English-Clone']})",
        f"*Sustained alignment* reaches {clone[sustained, 'English-Clone']}, with English at {clone[sustained, 'English']}",
        f"*anchored vocabulary* reaches {clone[anchored, 'English-Clone']}",
    ):
        assert said in sentences
    assert f"({ratios('en-clone-micro')[prealign, 'English-Clone']} in a larger model)" in sentences
    german, chinese = ratios("en-de"), ratios("en-zh")
    for arm, begin in (("Anchored vocabulary", "the anchored vocabulary reaches"), (sustained, "sustained alignment")):
        assert f"{begin} {german[arm, 'German']} and {chinese[arm, 'Chinese']}" in sentences


def test_the_readme_is_short() -> None:
    assert page("README.md").count("\n") <= 160


def test_the_page_of_arms_is_what_the_code_says() -> None:
    labels = Results(read_results(RESULTS[0]))
    rows = [line.strip("| ").split(" | ") for line in page("docs/arms.md").splitlines() if line.startswith("| `")]
    names = [row[0].strip("`") for row in rows]
    peers = [name for name in METHODS if name not in ARMS]
    assert names == [*ARMS, *peers]
    for name, row in zip(peers, rows[len(ARMS) :], strict=True):
        method = load_method(name)
        assert row[1:] == [method.label, method.description, method.citation], name
    for (name, label, *rest), arm in zip(rows[: len(ARMS)], ARMS.values(), strict=True):
        assert label == labels.label(arm.name), name
        settings = [item.split(": ", 1) for item in re.findall(r"`(.+?)`", rest[1])] if len(rest) > 1 else []
        assert {key: yaml.safe_load(value) for key, value in settings} == dict(arm.set), name


def verbs(group: Any = None) -> set[str]:
    """Every verb of the command line, and those of a group with its name: `lexicon build`."""
    commands = getattr(group or get_command(app), "commands", {})
    return {*commands, *(f"{name} {verb}" for name, command in commands.items() for verb in verbs(command))}


def test_the_page_of_the_command_line_lists_its_verbs() -> None:
    listed = re.findall(r"^\| `prealign ((?:(?:lexicon|probe) )?[a-z-]+)", page("docs/command-line.md"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == verbs() - {"lexicon", "probe"}


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


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")]
COMMENTS = sorted(ROOT.glob("recipes/*.yaml"))
WRITTEN_BY_THE_READER = ("src/prealign/methods/peers/pull.py", "prealign.methods.peers.pull:PullTogether")
"""What docs/extending.md has its reader write."""
FOLDERS = ("src", "tests", "docs", "recipes", "benchmarks", "examples")
FILES = [f"/{path.relative_to(ROOT).as_posix()}" for top in FOLDERS for path in (ROOT / top).rglob("*.*")]


def prose_and_code(path: Path) -> str:
    """A page without what it prints: blocks of `text`, such as terminal output and the tree of modules."""
    return re.sub(r"^ *```text\n.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*PAGES, *COMMENTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_modules_and_verbs_that_the_docs_name_exist(path: Path) -> None:
    """Links lead somewhere; a file is named by its path or the end of it; a dotted name can be imported."""
    text = prose_and_code(path)
    for name in WRITTEN_BY_THE_READER:
        text = text.replace(name, "")
    for link, anchor in re.findall(r"\]\(([^)#]+?)(?:#([^)]*))?\)", text):
        if "://" not in link:
            assert (path.parent / link).exists(), link
            assert not anchor or anchor in anchors(path.parent / link), f"{link}#{anchor}"
    for named in re.findall(r"`((?:src|tests|recipes|docs|benchmarks|examples)/[\w./-]+)`", text):
        assert (ROOT / named).exists(), named
    for named in re.findall(r"(?<![\w./-])[\w/-]+\.py\b", text):
        assert any(file.endswith(f"/{named}") for file in FILES), named
    for module, names in re.findall(r"^from (prealign[\w.]*) import (.+)$", text, re.MULTILINE):
        assert all(hasattr(import_module(module), name.strip()) for name in names.split(",")), module
    for dotted in re.findall(r"(?<![\w/.-])prealign(?:\.\w+)+", text):
        assert named_object(dotted), dotted
    commands = "\n".join([*re.findall(r"`(.+?)`", text), *re.findall(r"```bash\n(.*?)```", text, re.DOTALL)])
    for verb in re.findall(r"(?:^ *|&& |-m )prealign ((?:lexicon )?[a-z][a-z-]*)(?=\s|$)", commands, re.MULTILINE):
        assert verb in verbs(), verb


@pytest.mark.parametrize("path", [*PAGES, *COMMENTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_settings_that_the_docs_name_are_those_of_the_recipe(path: Path) -> None:
    for setting in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?:[:=] ?[^`]*)?`", prose_and_code(path)):
        steps = setting.split(".")
        if steps[0] in Recipe.model_fields and steps[0] not in ("trainer", "methods", "variants"):
            assert steps[-1] in fields_at(tuple(steps[:-1])) or steps[-1] in ("json", "yaml", "jsonl"), setting


def test_the_page_on_dictionaries_lists_every_format() -> None:
    table = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page("docs/dictionaries.md"), re.MULTILINE)
    names = [name.strip("`") for row in table for name in row.split(", ")]
    assert sorted(names) == sorted(("format", *FORMATS)), "the head of the table, and the formats"


def named_object(dotted: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    with contextlib.suppress(ImportError):
        import_module(dotted)
        return True
    module, _, name = dotted.rpartition(".")
    return bool(module) and named_object(module) and hasattr(import_module(module), name)


def own_language() -> str:
    return (ROOT / "docs/your-own-language.md").read_text(encoding="utf-8")


def test_your_own_language_is_four_commands_around_the_committed_recipe() -> None:
    page, path = own_language(), ROOT / "recipes/en-cs.yaml"
    assert f"```yaml\n{path.read_text(encoding='utf-8')}```" in page
    install, init, *ours = commands = re.findall(r"^ *```bash\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    assert [command.strip() for command in ours] == [
        f"prealign {verb} recipes/en-cs.yaml" for verb in ("lexicon build", "run")
    ]
    assert len(commands) == 4 and all(command.count("\n") == 1 for command in commands)
    recipe = load_recipe(path, ())
    assert not list(ineffective(recipe))
    options = dict(re.findall(r"--([a-z-]+) (\S+)", init))
    (dictionary,), (target,) = recipe.lexicon.files, recipe.targets
    assert options == {
        "target": target.language, "lexicon": dictionary.path,
        "text-source": recipe.source.text[0], "text-target": target.text[0],
    }  # fmt: skip
    assert install.split()[:3] == ["apt", "install", "--no-install-recommends"]
    packages = set(install.split()[3:])
    assert f"#   {install.strip()}" in path.read_text(encoding="utf-8").splitlines()
    assert Path(dictionary.path).parent == Path("/usr/share/dictd")
    wanted = {f"dict-{Path(dictionary.path).stem}"}
    for text in (*recipe.source.text, *target.text):
        language = Path(text).relative_to("/usr/share/libreoffice/help").parts[0]
        wanted.add(f"libreoffice-help-{language.lower()}")
    assert packages == wanted


def test_the_command_line_knows_what_your_own_language_types(tmp_path: Path) -> None:
    terminal = CliRunner()
    written = re.findall(r"```yaml\n(.*?)```", own_language(), re.DOTALL)[0]
    (tmp_path / "en-cs.yaml").write_text(written, encoding="utf-8")
    recipe = load_recipe(tmp_path / "en-cs.yaml", ())
    assert not ineffective(recipe) and recipe.arms == ["joint", *RECOMMENDED]
    for verb in (["lexicon", "build"], ["run"]):
        assert "RECIPE" in terminal.invoke(app, [*verb, "--help"]).output
    assert load_recipe(ROOT / "recipes/en-cs.yaml").name == "en-cs"


def test_your_own_language_shows_the_numbers_of_its_results() -> None:
    page, results = own_language(), read_results(ROOT / "docs/results/en-cs/results.json")
    assert results["command"] == "prealign run recipes/en-cs.yaml"
    ran, today = Recipe.model_validate(results["recipe"]), load_recipe(ROOT / "recipes/en-cs.yaml", ())
    assert ran.changes(without={"anchor"}) == today.changes(without={"anchor"})  # no arm of it is anchored
    lines = [line.split() for line in page.splitlines()]
    for table in language_modelling(Results(results)):
        for row in table.rows:
            assert [part for cell in row for part in cell.split()] in lines, row
    coverage, groups = results["lexicon"]["coverage"]["cs"], results["lexicon"]["groups"]
    assert f"coverage cs: {coverage:.1%} of the en words in the training text" in page
    assert f"{groups:,} translation groups → runs/en-cs/data/lexicon/lexicon.jsonl" in page
