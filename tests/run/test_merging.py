"""Results joined from parts: what one command would have written, and refusals of what does not belong together."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import synthetic_results as synthetic
import toy_experiment
from prealign.cli.main import app
from prealign.errors import ResultsError
from prealign.events import silent
from prealign.files import write_json
from prealign.recipe.arms import with_settings
from prealign.report.page import write_markdown
from prealign.report.results import Results
from prealign.report.results_file import Content, read_results
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.run.merging import merge_results
from prealign.run.results import collect_results
from prealign.run.stages import ArmRun

Collect = Callable[..., tuple[Path, Content]]


@pytest.fixture(scope="module")
def collect(tmp_path_factory: pytest.TempPathFactory) -> Collect:
    """Results of some arms and seeds of one run folder, which is trained once."""
    folder = tmp_path_factory.mktemp("merging")
    whole: dict[str, Any] = {"arms": ["joint", "prealign", "merged_ids"], "seeds": [0, 1]}
    whole["family"] = whole["arms"]
    recipe = toy_experiment.recipe(folder, **whole)

    run_experiment(recipe, RunFolder(folder / "run"), lambda _: None, command="prealign run toy.yaml")

    def results(**settings: Any) -> tuple[Path, Content]:
        chosen = with_settings(recipe, whole | settings)
        prepared, run = toy_experiment.prepared(chosen, folder / "run")
        arms = [ArmRun(arm, seed, chosen, prepared, run, silent) for seed in chosen.seeds for arm in chosen.arms]
        content = collect_results(chosen, prepared, run, {(arm.arm, arm.seed): arm.marks() for arm in arms})
        path = folder / f"{len(list(folder.iterdir()))}.json"
        write_json(path, content | {"command": f"prealign run toy.yaml {settings}"})
        return path, read_results(path)

    return results


def without_origin(results: Content) -> Content:
    origin = ("created", "command", "environment", "parts")
    return {key: part for key, part in results.items() if key not in origin}


@pytest.mark.parametrize(
    "parts",
    [
        [{"seeds": [1]}, {"seeds": [0]}],
        [{"arms": ["joint", "prealign"]}, {"arms": ["merged_ids"]}],
        [{"arms": ["joint"], "seeds": [0]}, {"arms": ["joint", "prealign"], "seeds": [1]}, {"seeds": [0]},
         {"arms": ["merged_ids"], "seeds": [1]}],
        [{}, {"arms": ["joint"]}],
        [{}],
    ],
    ids=["seeds", "arms", "both, some twice", "a part of another", "alone"],
)  # fmt: skip
def test_parts_add_up_to_what_one_command_would_have_written(collect: Collect, parts: list[dict[str, Any]]) -> None:
    made = [collect(**part) for part in parts]
    merged = merge_results(made, "prealign merge")
    assert without_origin(merged) == without_origin(collect()[1])
    assert [part["command"] for part in merged["parts"]] == [results["command"] for _, results in made]
    assert merged["environment"] == made[0][1]["environment"]


def test_one_common_seed_keeps_its_interval_over_documents(collect: Collect) -> None:
    def perplexities(results: Content) -> list[dict[str, Any]]:
        return synthetic.matching(results["comparisons"], metric="perplexity", language="en-clone")

    parts = [collect(arms=["joint", arm], seeds=[0]) for arm in ("prealign", "merged_ids")]
    merged, (_, whole) = merge_results(parts, ""), collect(seeds=[0])
    assert without_origin(merged) == without_origin(whole)
    assert {row["unit"] for row in perplexities(merged)} == {"documents"}
    assert len(perplexities(merged)) == 2
    lonely = merge_results([collect(arms=["joint"], seeds=[0]), collect(arms=["prealign"], seeds=[0])], "")
    (row,) = perplexities(lonely)
    assert (row["low"], row["high"], row["p"]) == (None, None, None), "no file has the items of both arms"
    assert row["difference"] == perplexities(whole)[0]["difference"]


def test_an_arm_that_is_merged_later_leaves_the_p_of_the_others(collect: Collect) -> None:
    """Without `family`, the arms of a part are corrected together, and those that another part adds apart."""
    pair, more = collect(arms=["joint", "prealign"], family=[]), collect(arms=["joint", "merged_ids"], family=[])
    merged = merge_results([pair, more], "")
    assert merged["families"] == [["joint", "prealign"], ["merged_ids"]]
    before = [row for row in pair[1]["comparisons"] if row["arm"] == "prealign"]
    assert [row for row in merged["comparisons"] if row["arm"] == "prealign"] == before
    (own,) = synthetic.matching(
        merged["comparisons"], arm="merged_ids", metric="bits_per_byte", language="en-clone", condition=None
    )
    assert own["p"] == own["p_holm"]


def test_merged_results_merge_again_and_their_page_names_every_command(collect: Collect, tmp_path: Path) -> None:
    first, second, third = (collect(arms=[arm]) for arm in ("joint", "prealign", "merged_ids"))
    third[1]["environment"]["cpu"] = "another"
    pair = merge_results([first, second], "one")
    write_json(tmp_path / "pair.json", pair)
    merged = merge_results([(tmp_path / "pair.json", read_results(tmp_path / "pair.json")), third], "two")
    assert without_origin(merged) == without_origin(merge_results([first, second, third], "three"))
    assert [part["command"] for part in merged["parts"]] == [part["command"] for _, part in (first, second, third)]
    assert "cpu" not in merged["environment"]
    write_markdown(Results(merged), tmp_path / "README.md", tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert all(part["command"] in page for part in merged["parts"])
    assert "another" in page and "| Part 3 |" in page.replace("  ", " ")


def test_what_was_planned_and_is_not_finished_stays_planned(collect: Collect) -> None:
    one, other = collect(arms=["joint"]), copy.deepcopy(collect(arms=["prealign"]))
    other[1]["recipe"] |= {"seeds": [1, 2], "arms": ["prealign", "anchored"]}
    merged = merge_results([one, other], "")
    assert (merged["recipe"]["seeds"], merged["recipe"]["arms"]) == ([0, 1, 2], ["joint", "prealign", "anchored"])
    assert ("anchored", 2) in Results(merged).unfinished_runs


def test_diverged_runs_merge_and_are_no_part_of_the_family(collect: Collect) -> None:
    (path, own), other = copy.deepcopy(collect(arms=["joint", "merged_ids"])), collect(arms=["joint", "prealign"])
    for row in synthetic.matching(own["scores"], arm="merged_ids"):
        row["value"] = None
    merged = merge_results([(path, own), other, (path, own)], "")
    rows = synthetic.matching(merged["comparisons"], metric="perplexity", language="en-clone")
    whole = synthetic.matching(other[1]["comparisons"], metric="perplexity", language="en-clone")
    assert {row["arm"]: row["p"] for row in rows if row["arm"] == "prealign"} == {"prealign": whole[0]["p"]}
    assert {row["arm"]: row["p_holm"] for row in rows} == {"prealign": None, "merged_ids": None}, (
        "primary, and diverged"
    )


def test_variants_and_settings_that_decide_nothing_may_differ(collect: Collect) -> None:
    one, other = collect(arms=["joint"]), copy.deepcopy(collect(arms=["prealign"]))
    other[1]["recipe"]["variants"] = {"longer": {"extends": "prealign", "set": {"align.steps": 9}}}
    other[1]["recipe"]["checkpoint"]["every"] = 7
    other[1]["recipe"]["trainer"]["dataloader_num_workers"] = 2
    assert merge_results([one, other], "")["recipe"]["variants"].keys() == {"longer"}
    third = copy.deepcopy(other)
    third[1]["recipe"]["variants"]["longer"]["set"]["align.steps"] = 8
    with pytest.raises(ResultsError, match="its variant 'longer' is not that of"):
        merge_results([one, other, third], "")


def test_words_held_out_are_those_of_the_first_seed(collect: Collect) -> None:
    whole, later = collect()[1], copy.deepcopy(collect(seeds=[1]))
    later[1]["lexicon"]["held_out"] = 99
    assert merge_results([later, collect(seeds=[0])], "")["lexicon"] == whole["lexicon"]
    later[1]["recipe"]["seeds"] = [2, 1]
    assert "held_out" not in merge_results([later], "")["lexicon"]


def test_a_folder_is_where_its_results_are_and_go(collect: Collect, tmp_path: Path) -> None:
    for name in ("joint", "prealign"):
        write_json(tmp_path / name / "results.json", collect(arms=[name])[1])
    (tmp_path / "out").mkdir()
    paths = [str(tmp_path / name) for name in ("joint", "prealign", "out")]
    result = CliRunner().invoke(app, ["merge", *paths[:2], "--out", paths[2]])
    assert result.exit_code == 0, result.output
    assert "4 runs of an arm and seed" in result.output
    assert len(read_results(tmp_path / "out" / "results.json")["parts"]) == 2


def test_older_results_without_a_section_or_a_setting_merge(collect: Collect) -> None:
    old = collect(arms=["joint"])
    del old[1]["tokenizer"], old[1]["recipe"]["processes"], old[1]["recipe"]["evaluate"]["dynamics"]
    for key in ("environment", "created", "command", "version", "lexicon"):
        old[1].pop(key)
    merged = merge_results([old, collect(arms=["prealign"])], "")
    assert "tokenizer" in merged and "lexicon" in merged


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["recipe"]["pretrain"].update(steps=9), "`recipe: pretrain` differ"),
        (lambda r: r["recipe"].update(name="other"), "`recipe: name` differ"),
        (lambda r: r["recipe"]["trainer"].update(optim="sgd"), "`recipe: trainer` differ"),
        (lambda r: r["environment"].update(devices=8), "`devices` differ"),
        (lambda r: r["environment"].update(precision="bf16 autocast"), "`precision` differ"),
        (lambda r: r.update(version="0.0.1"), "`version` differ"),
        (lambda r: r["lexicon"].update(groups=7), "`lexicon` differ"),
        (lambda r: r["scores"][0].pop("condition"), r"scores\[0\]: `condition` is missing"),
        (lambda r: r["recipe"].update(made_up=1), "of another version"),
        (lambda r: r["corpus"]["en"]["train"].update(tokens=1), "they read other text"),
        (lambda r: r["scores"][0].update(value=0.5), "its scores of joint with seed 0 are not those of"),
    ],
)
def test_what_does_not_belong_together_is_refused(collect: Collect, change: Callable[..., Any], said: str) -> None:
    one, (path, other) = collect(arms=["joint"], seeds=[0]), copy.deepcopy(collect(arms=["joint"]))
    change(other)
    with pytest.raises(ResultsError, match=said) as raised:
        merge_results([one, (path, other)], "")
    assert str(path) in str(raised.value)


def test_parts_without_a_score_are_refused(collect: Collect) -> None:
    path, empty = copy.deepcopy(collect(arms=["joint"]))
    empty["scores"] = []
    with pytest.raises(ResultsError, match="there is nothing to merge"):
        merge_results([(path, empty)], "")
