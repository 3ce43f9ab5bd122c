"""Experiments: what runs, what is skipped, and what results.json says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import toy_experiment
from prealign import workers as processes
from prealign.errors import RecipeError, RunFolderError
from prealign.evaluation.comparisons import compare
from prealign.events import Event
from prealign.files import write_json
from prealign.recipe.arms import with_settings
from prealign.recipe.sections import Recipe
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.run.results import design_of, over_items

ARMS = ["joint", "prealign", "merged_ids"]
MEASURED = ("task", "language", "metric", "condition", "layer", "split")

Results = dict[str, Any]


class Log(list[Event]):
    """Collects events; `ran` says which stages of which arm were run."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def ran(self) -> dict[str, set[str]]:
        return {e.arm: {name for name, now in e.stages.items() if now} for e in self if e.stages is not None}


def run(recipe: Recipe, folder: Path, log: Callable[[Event], Any] | None = None, *, force: bool = False) -> Results:
    on_event = Log() if log is None else log
    return run_experiment(recipe, RunFolder(folder), on_event, command="prealign run toy.yaml", force=force)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return toy_experiment.recipe(tmp_path, arms=["joint", "prealign"])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path, Log, Results]:
    folder = tmp_path_factory.mktemp("experiment")
    recipe, log = toy_experiment.recipe(folder, arms=ARMS), Log()
    return recipe, folder / "run", log, run(recipe, folder / "run", log)


def numbers(results: Results) -> Results:
    """Results without what differs from run to run."""
    kept = {k: v for k, v in results.items() if k not in ("created", "recipe", "environment", "budget")}
    budget = [{k: v for k, v in entry.items() if k != "seconds"} for entry in results["budget"]]
    # Through text: a ratio to 0 is no number, and so not equal to itself.
    return {name: json.dumps(part) for name, part in (kept | {"budget": budget}).items()}


def test_results_have_the_keys_of_the_contract(done: Any) -> None:
    recipe, _, _, results = done
    assert results.keys() == {
        "schema", "arms", "name", "version", "created", "command", "recipe", "environment", "scores", "budget",
        "families", "comparisons", "history", "dynamics", "alignment", "switching", "mixture", "lexicon", "corpus",
        "tokenizer",
    }  # fmt: skip
    assert (results["schema"], results["name"], results["command"]) == (2, "toy", "prealign run toy.yaml")
    assert Recipe.model_validate(results["recipe"]) == recipe
    assert results["environment"].keys() >= {"python", "torch", "transformers", "platform", "cpu", "cores", "precision"}
    assert results["environment"]["precision"] == "fp32"
    assert results["environment"]["devices"] == 1
    keys = {
        "scores": {
            "arm", "seed", "task", "language", "metric", "layer", "value", "low", "high", "n", "chance", "signature",
            "stage", "split", "condition",
        },
        "budget": {"arm", "seed", "stage", "tokens", "lm_tokens", "flops", "seconds", "steps"},
        "comparisons": {
            "arm", "baseline", "task", "language", "metric", "difference", "low", "high", "p", "p_holm",
            "primary", "unit", "scale", "ratio", "stage", "split", "layer", "condition",
        },
        "history": {"arm", "seed", "stage", "points"},
        "alignment": {"arm", "seed", "stage", "language", "value", "n", "layers", "until", "most"},
        "switching": {
            "arm", "seed", "ratio", "mode", "coverage", "expected", "realised", "realised_tokens", "source_words",
            "independent", "switched_words", "source_tokens", "switched_tokens", "switched",
        },
    }  # fmt: skip
    for name, expected in keys.items():
        assert results[name] and all(entry.keys() == expected for entry in results[name]), name
    points = [point for entry in results["history"] for point in entry["points"]]
    allowed = {"step", "tokens", "loss", "lm_loss", "align_loss", "learning_rate", "validation"}
    assert all({"step", "tokens"} <= point.keys() <= allowed for point in points)


def test_results_have_alignment_over_the_course_of_each_stage(done: Any, recipe: Recipe, tmp_path: Path) -> None:
    assert done[3]["dynamics"] == []
    results = run(with_settings(recipe, {"evaluate.dynamics": 3}), tmp_path / "run")
    assert all(e.keys() == {"arm", "seed", "stage", "language", "points"} for e in results["dynamics"])
    steps = {(e["arm"], e["stage"]): e["steps"] for e in results["budget"]}
    assert {(e["arm"], e["stage"]) for e in results["dynamics"]} == steps.keys()
    for entry in results["dynamics"]:
        first, *_, last = entry["points"]
        total = steps[entry["arm"], entry["stage"]]
        assert (first["step"], last["step"], entry["language"]) == (1, total, "en-clone")
        tokens = [b["tokens"] for b in results["budget"] if (b["arm"], b["stage"]) == (entry["arm"], entry["stage"])]
        assert [last["tokens"]] == tokens
        for point in entry["points"]:
            assert point.keys() == {"step", "tokens", "seen", "held_out"}
            assert len(point["seen"]) == len(point["held_out"]) == 4


def test_results_are_standard_json(done: Any) -> None:
    _, folder, _, results = done

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    written = {key: part for key, part in results.items() if part or key != "unfinished"}
    assert json.loads((folder / "results.json").read_text(), parse_constant=refuse) == json.loads(json.dumps(written))


def test_results_hold_every_arm_and_stage(done: Any) -> None:
    _, _, _, results = done
    stages = [(e["arm"], e["stage"]) for e in results["budget"]]
    assert stages == [
        ("joint", "pretrain"),
        ("prealign", "align"),
        ("prealign", "pretrain"),
        ("merged_ids", "pretrain"),
    ]
    assert [(e["arm"], e["stage"]) for e in results["history"]] == stages
    assert [e["arm"] for e in results["switching"]] == ["prealign"]
    measured = {(s["arm"], s["language"], s["metric"]) for s in results["scores"] if s["task"] == "lm"}
    whole, words = ("perplexity", "bits_per_byte"), ("perplexity_inside", "perplexity_outside")
    metrics = {"en": whole, "en-clone": whole + words}
    assert measured == {(a, language, metric) for a in ARMS for language in metrics for metric in metrics[language]}


def test_lexicon_and_corpus_are_counted(done: Any) -> None:
    _, _, _, results = done
    lexicon, corpus = results["lexicon"], results["corpus"]
    assert 0 < lexicon["held_out"] < 0.4 * lexicon["groups"]
    assert 0.5 < lexicon["coverage"]["en-clone"] <= 1
    documents = {la: {name: part["documents"] for name, part in splits.items()} for la, splits in corpus.items()}
    assert documents == {
        "en": {"train": 35, "validation": 4, "test": 6},
        "en-clone": {"train": 15, "validation": 4, "test": 6},
    }
    assert corpus["en"]["test"] == corpus["en-clone"]["test"]


def test_a_perplexity_is_that_of_its_documents(done: Any) -> None:
    _, folder, _, results = done
    for score in (s for s in results["scores"] if s["metric"] == "perplexity"):
        items = json.loads((folder / "arms" / score["arm"] / "seed-0" / "evaluate" / "lm.json").read_text())
        part = items[score["language"]]
        assert score["value"] == pytest.approx(np.exp(sum(part["nats"]) / sum(part["tokens"])), rel=1e-9)
        assert score["n"] == len(part["nats"]) == 6


def test_inside_outside_and_signs_make_up_the_whole(done: Any) -> None:
    _, folder, _, results = done
    tokens = {}
    for score in (s for s in results["scores"] if s["metric"] in ("perplexity_inside", "perplexity_outside")):
        items = json.loads((folder / "arms" / score["arm"] / "seed-0" / "evaluate" / "lm.json").read_text())
        assert "inside" not in items["en"]
        whole, kind = items["en-clone"], score["metric"].removeprefix("perplexity_")
        part = whole[kind]
        assert score["value"] == pytest.approx(np.exp(sum(part["nats"]) / sum(part["tokens"])), rel=1e-9)
        assert score["low"] < score["value"] < score["high"]
        tokens[score["arm"], kind] = part["tokens"]
        both = np.array(whole["inside"]["tokens"]) + np.array(whole["outside"]["tokens"])
        assert 0.5 < both.sum() / sum(whole["tokens"]) < 1, "the rest are signs"
    for kind in ("inside", "outside"):
        assert sum(tokens["joint", kind]) > 0
        assert tokens["merged_ids", kind] == tokens["joint", kind] == tokens["prealign", kind], "the same words"


def test_perplexities_of_other_words_are_not_compared(recipe: Recipe, tmp_path: Path) -> None:
    variants = {"half": {"extends": "prealign", "set": {"lexicon.coverage": 0.5}}}
    results = run(
        with_settings(recipe, {"variants": variants, "arms": ["joint", "prealign", "half"]}), tmp_path / "run"
    )
    compared = {c["arm"] for c in results["comparisons"] if c["metric"] == "perplexity_inside"}
    assert compared == {"prealign"}
    assert {c["arm"] for c in results["comparisons"] if c["metric"] == "perplexity"} == {"prealign", "half"}


def test_comparisons_are_with_the_baseline(done: Any) -> None:
    _, _, _, results = done
    value = {(s["arm"], *(s[k] for k in MEASURED)): s["value"] for s in results["scores"] if s["stage"] == "pretrain"}
    assert {c["arm"] for c in results["comparisons"]} == {"prealign", "merged_ids"}
    for c in results["comparisons"]:
        key = tuple(c[k] for k in MEASURED)
        own, base = (value[entry] for entry in ((c["arm"], *key), ("joint", *key)))
        log = c["metric"].startswith("perplexity")
        assert c["scale"] == ("log" if log else "linear")
        assert c["difference"] == pytest.approx(np.log(own / base) if log else own - base, abs=1e-9)
        assert base == 0 or c["ratio"] == pytest.approx(own / base)
        assert c["p"] is None and c["p_holm"] is None, "one seed tests nothing"
        if c["task"] == "lm":
            assert c["unit"] == "documents" and c["low"] <= c["difference"] <= c["high"]
    primary = [(c["arm"], c["language"], c["metric"]) for c in results["comparisons"] if c["primary"]]
    assert primary == [("prealign", "en-clone", "perplexity")] and results["families"] == [list(ARMS)]
    compared = sorted(str((c["arm"], *(c[k] for k in MEASURED))) for c in results["comparisons"])
    assert compared == sorted(str(key) for key in value if key[0] != "joint"), "each number once"


def test_events_tell_what_runs(done: Any) -> None:
    _, _, log, _ = done
    assert log.ran() == {
        "all arms": {"tokens", "lexicon"},
        "joint": {"blocks", "pretrain", "evaluate"},
        "prealign": {"blocks", "align", "pretrain", "evaluate"},
        "merged_ids": {"blocks", "pretrain", "evaluate"},
    }
    shown = [(e.arm, e.progress.stage) for e in log if e.progress is not None]
    assert {
        ("all arms", "text"),
        ("all arms", "tokens"),
        ("all arms", "lexicon"),
        ("joint", "pretrain"),
        ("prealign", "align"),
    } <= set(shown)


def test_a_second_run_skips_everything(done: Any) -> None:
    recipe, folder, _, results = done
    found = [path for name in ("data", "arms") for path in (folder / name).rglob("*") if path.suffix != ".lock"]
    files = {path: path.stat().st_mtime_ns for path in found}
    log = Log()
    again = run(recipe, folder, log)
    assert log.ran() == {arm: set() for arm in ("all arms", *ARMS)}
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert numbers(again) == numbers(results) and again["budget"] == results["budget"]


def test_other_steps_pretrain_anew_on_the_same_data(recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run")
    log = Log()
    longer = run(with_settings(recipe, {"pretrain.steps": 6}), tmp_path / "run", log)
    again = {"blocks", "pretrain", "evaluate"}
    assert log.ran() == {"all arms": set(), "joint": again, "prealign": again}
    assert [e["steps"] for e in longer["budget"] if e["arm"] == "prealign"] == [3, 6]
    log = Log()
    forced = run(with_settings(recipe, {"pretrain.steps": 6}), tmp_path / "run", log, force=True)
    assert log.ran()["prealign"] == {"blocks", "align", "pretrain", "evaluate"}
    assert numbers(forced) == numbers(longer)


def test_two_jobs_give_what_one_gives(done: Any, tmp_path: Path) -> None:
    recipe, folder, _, results = done
    log = Log()
    again = run(with_settings(recipe, {"jobs": 2}), tmp_path / "run", log)
    assert numbers(again) == numbers(results)
    checkpoints = sorted(path.relative_to(folder) for path in folder.rglob("model.safetensors"))
    assert len(checkpoints) == 4
    for path in checkpoints:
        assert (folder / path).read_bytes() == (tmp_path / "run" / path).read_bytes(), path
    assert log.ran() == done[2].ran()
    assert {"pretrain", "align"} <= {e.progress.stage for e in log if e.progress is not None}


def test_over_seeds_arms_are_compared_in_pairs(recipe: Recipe, tmp_path: Path) -> None:
    results = run(with_settings(recipe, {"seeds": [0, 1]}), tmp_path / "run")
    wanted = {"task": "lm", "language": "en-clone", "metric": "perplexity"}
    values = {(s["arm"], s["seed"]): s["value"] for s in results["scores"] if wanted.items() <= s.items()}
    own, base = ([values[arm, seed] for seed in (0, 1)] for arm in ("prealign", "joint"))
    (found,) = [c for c in results["comparisons"] if wanted.items() <= c.items()]
    assert found["unit"] == "seeds"
    assert found["p"] == pytest.approx(stats.ttest_rel(np.log(own), np.log(base)).pvalue)
    assert found["difference"] == pytest.approx(np.mean(np.log(own)) - np.mean(np.log(base)))
    assert found["primary"] and found["p_holm"] is None


def compared(recipe: Recipe, folder: RunFolder, scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return compare(design_of(recipe, [recipe.arms]), recipe.seeds, scores, over_items(folder, recipe.baseline))


def transfer_score(arm: str, seed: int, value: float, language: str = "de") -> dict[str, Any]:
    return {
        "arm": arm, "seed": seed, "task": "transfer", "language": language, "metric": "accuracy", "condition": "xnli",
        "layer": None, "stage": "pretrain", "split": "test", "value": value,
        "signature": "items:8",
    }  # fmt: skip


def test_numbers_measured_otherwise_are_not_compared(recipe: Recipe, tmp_path: Path) -> None:
    scores = [transfer_score(arm, 0, 0.5) for arm in ("joint", "prealign")]
    assert len(compared(recipe, RunFolder(tmp_path), scores)) == 1
    assert not compared(recipe, RunFolder(tmp_path), [scores[0], scores[1] | {"signature": "items:9"}])


def test_one_seed_compares_over_the_items_it_kept(recipe: Recipe, tmp_path: Path) -> None:
    recipe = with_settings(recipe, {"seeds": [0], "arms": ["joint", "prealign", "anchored"]})
    folder = RunFolder(tmp_path / "run")
    kept = {"joint": [1, 0, 0, 0, 1, 1, 0, 0], "prealign": [0, 1, 1, 1, 1, 1, 0, 0]}
    for arm, correct in kept.items():
        items = {
            "xnli": {"de": {"correct": correct, "document": None}, "fr": {"correct": correct, "document": [0] * 8}}
        }
        write_json(folder.stage(arm, 0, "transfer") / "transfer.json", items)
    accuracy = {"joint": 3 / 8, "prealign": 5 / 8, "anchored": 0.5}
    scores = [transfer_score(arm, 0, value, tag) for arm, value in accuracy.items() for tag in ("de", "fr", "it")]
    found = {(c["arm"], c["language"]): c for c in compared(recipe, folder, scores)}
    assert found["prealign", "de"]["difference"] == 0.25
    assert found["prealign", "de"]["p"] is None, "one seed tests nothing"
    assert found["prealign", "de"]["unit"] == "items"
    assert found["prealign", "de"]["low"] < 0.25 < found["prealign", "de"]["high"]
    assert found["prealign", "fr"]["unit"] == "documents", "a single document has no interval"
    for absent in (("anchored", "de"), ("prealign", "it"), ("prealign", "fr")):
        assert [found[absent][key] for key in ("low", "high", "p", "p_holm")] == [None] * 4


def test_holm_corrects_among_the_arms_of_one_number(recipe: Recipe, tmp_path: Path) -> None:
    arms = ["joint", "prealign", "anchored", "merged_ids"]
    recipe = with_settings(recipe, {"seeds": [0, 1, 2], "arms": arms})
    gains = {"joint": (0, 0, 0), "prealign": (1, 2, 4), "anchored": (1, 1.1, 1.2), "merged_ids": (0.5, -0.5, 0.2)}
    scores = [
        transfer_score(arm, seed, 10 + seed + gain, language)
        for language in ("de", "fr")
        for arm, by_seed in gains.items()
        for seed, gain in enumerate(by_seed)
        if (language, arm) != ("fr", "merged_ids")
    ]
    rows = compared(recipe, RunFolder(tmp_path / "run"), scores)
    p = {arm: stats.ttest_1samp(gains[arm], 0).pvalue for arm in arms[1:]}
    assert p["anchored"] < p["prealign"] < p["merged_ids"]
    three = {"anchored": 3 * p["anchored"], "prealign": 2 * p["prealign"], "merged_ids": p["merged_ids"]}
    assert {r["arm"]: r["p_holm"] for r in rows if r["language"] == "de"} == pytest.approx(three)
    two = {"anchored": 2 * p["anchored"], "prealign": p["prealign"]}
    assert {r["arm"]: r["p_holm"] for r in rows if r["language"] == "fr"} == pytest.approx(two)


class Interrupted(Exception):
    """Stands for a crash."""


def test_arms_of_a_later_command_do_not_change_the_families_of_earlier_ones(recipe: Recipe, tmp_path: Path) -> None:
    """Else each new arm would raise Holm's p of the arms that were tested before."""

    def families(*arms: str) -> list[list[str]]:
        return run(with_settings(recipe, {"arms": list(arms), "family": []}), tmp_path / "run")["families"]

    assert families("joint", "joint_input_cs") == [["joint", "joint_input_cs"]]
    assert families("joint_vanilla_cs") == [["joint_vanilla_cs"], ["joint", "joint_input_cs"]]
    assert families("target_only") == [["target_only"], ["joint", "joint_input_cs"], ["joint_vanilla_cs"]]


def interrupt_at(arm: str, stage: str) -> Callable[[Event], None]:
    def on_event(event: Event) -> None:
        if event.arm == arm and event.progress is not None and event.progress.stage == stage:
            raise Interrupted

    return on_event


def test_an_interrupted_first_run_keeps_what_it_has(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(recipe, tmp_path / "run", interrupt_at("prealign", "align"))
    held = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {s["arm"] for s in held["scores"]} == {"joint"}
    log = Log()
    run(recipe, tmp_path / "run", log)
    assert log.ran() == {"all arms": set(), "joint": set(), "prealign": {"align", "pretrain", "evaluate"}}


def test_an_interrupted_rerun_leaves_former_results_and_never_mixes_them(recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run")
    path = tmp_path / "run" / "results.json"
    former, later = path.read_bytes(), with_settings(recipe, {"pretrain.learning_rate": 1e-4})
    with pytest.raises(Interrupted):
        run(later, tmp_path / "run", interrupt_at("joint", "pretrain"))
    assert path.read_bytes() == former
    with pytest.raises(Interrupted):
        run(later, tmp_path / "run", interrupt_at("prealign", "pretrain"))
    assert {s["arm"] for s in json.loads(path.read_text())["scores"]} == {"joint"}, "prealign's are of the old recipe"
    back = Log()
    run(recipe, tmp_path / "run", back)
    assert back.ran() == {"all arms": set(), "joint": {"pretrain", "evaluate"}, "prealign": set()}


def test_the_folder_of_another_recipe_is_refused(done: Any) -> None:
    recipe, folder, _, _ = done
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(RunFolderError, match="of another recipe"):
        run(with_settings(recipe, {"name": "other"}), folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_what_is_wrong_with_the_last_arm_shows_before_the_first_is_trained(recipe: Recipe, tmp_path: Path) -> None:
    variants = {"long": {"extends": "prealign", "set": {"pretrain.context": 65}}}
    recipe = with_settings(recipe, {"variants": variants, "arms": ["joint", "long"]})
    with pytest.raises(RecipeError, match="only 64 positions"):
        run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "arms").exists()


def test_a_worker_ends_when_its_parent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([7, 7, 1])
    monkeypatch.setattr("os.getppid", lambda: next(parents))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("os._exit", sys.exit)
    with pytest.raises(SystemExit):
        processes._end_without(7)
    assert list(parents) == []
