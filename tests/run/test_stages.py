"""Arms from text to scores, on a corpus and a model that take seconds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from safetensors.torch import load_file

import toy_experiment
from prealign.errors import DataError, RecipeError, RunFolderError
from prealign.files import read_json
from prealign.methods.alignment.objective import WordFormAlignment
from prealign.methods.flops import training_flops
from prealign.recipe.arms import resolve_arm, with_settings
from prealign.recipe.sections import Recipe
from prealign.run.results import collect_results
from prealign.run.stages import ArmRun
from prealign.text.clone import clone_language
from prealign.text.encode import encode_words
from prealign.training.models import load_weights
from toy_experiment import record

ARMS = (
    "joint",
    "prealign",
    "prealign_sustained",
    "prealign_anchored",
    "prealign_no_lm",
    "prealign_output",
    "prealign_embedding",
    "joint_vanilla_cs",
    "merged_ids",
    "target_only",
)
ALIGNED = tuple(name for name in ARMS if name.startswith("prealign"))


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ArmRun]:
    """Every arm, executed in one run folder."""
    folder = tmp_path_factory.mktemp("arms")
    recipe = toy_experiment.recipe(folder)
    data, run = toy_experiment.prepared(recipe, folder / "run")
    made = {name: ArmRun(name, 0, recipe, data, run, lambda _: None) for name in ARMS}
    for arm in made.values():
        arm.execute()
    return made


def scores(arm: ArmRun, **wanted: Any) -> list[dict[str, Any]]:
    return [s for s in record(arm, "evaluate")["scores"] if all(s[key] == value for key, value in wanted.items())]


def blocks(arm: ArmRun) -> tuple[np.ndarray, np.ndarray]:
    rows = Dataset.from_file(str(next(arm.folder("blocks").glob("*.arrow")))).with_format("numpy")
    return rows["input_ids"][:], rows["labels"][:]


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_an_arm_has_the_stages_it_needs(arms: dict[str, ArmRun]) -> None:
    for name, arm in arms.items():
        stages = ["blocks", *(["align"] if name in ALIGNED else []), "pretrain", "evaluate"]
        assert list(arm.marks()) == stages
        found = sorted(path.name for path in arm.folder("blocks").parent.iterdir())
        assert found == sorted(stages), "and nothing half-done is left"


def test_the_flops_of_all_arms_are_within_a_step_of_each_other(arms: dict[str, ArmRun]) -> None:
    spent = {
        name: sum(record(arm, stage)["flops"] for stage in ("align", "pretrain") if stage in arm.marks())
        for name, arm in arms.items()
    }
    for name, arm in arms.items():
        step = record(arm, "pretrain")["flops"] / record(arm, "pretrain")["steps"]
        assert spent["prealign"] - step < spent[name] <= spent["prealign"] * (1 + 1e-12), name
    assert record(arms["joint"], "pretrain")["steps"] > record(arms["prealign"], "pretrain")["steps"] == 4


def test_the_budget_is_that_of_the_papers_stages(arms: dict[str, ArmRun]) -> None:
    arm, recipe = arms["prealign"], arms["prealign"].recipe
    model = load_weights(recipe.model, str(arm.folder("pretrain")))
    text = [training_flops(model, size * 24, 24) for size in (2, 4)]
    words = WordFormAlignment(arm.words, groups=16).cost(model).flops
    assert record(arm, "align")["flops"] == 3 * (text[0] + words)
    assert record(arm, "pretrain")["flops"] == 4 * text[1]


@pytest.mark.parametrize("name", ARMS)
def test_training_reads_the_blocks_that_were_written(arms: dict[str, ArmRun], name: str) -> None:
    pretraining, written = record(arms[name], "pretrain"), record(arms[name], "blocks")
    assert written["blocks"] == len(blocks(arms[name])[0]) == pretraining["steps"] * 4
    assert [p["step"] for p in pretraining["history"]] == list(range(1, pretraining["steps"] + 1))
    assert pretraining["tokens"] >= pretraining["steps"] * 4 * 24


@pytest.mark.parametrize("name", ARMS)
def test_history_has_validation_perplexity_in_both_languages(arms: dict[str, ArmRun], name: str) -> None:
    for stage in ("align", "pretrain") if name in ALIGNED else ("pretrain",):
        points = [p["validation"] for p in record(arms[name], stage)["history"] if "validation" in p]
        assert points and all(set(point) == {"en", "en-clone"} for point in points), stage


def test_arms_with_equal_alignment_share_it(arms: dict[str, ArmRun]) -> None:
    files = {name: arms[name].folder("align") / "model.safetensors" for name in ALIGNED}
    sharing = {name for name, file in files.items() if name != "prealign" and file.samefile(files["prealign"])}
    assert sharing == {"prealign_sustained"}


@pytest.mark.parametrize("name", ARMS)
def test_a_checkpoint_is_an_ordinary_one(arms: dict[str, ArmRun], name: str) -> None:
    folder = arms[name].folder("pretrain")
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    model = load_weights(arms[name].recipe.model, str(folder))
    assert load_file(folder / "model.safetensors").keys() == model.state_dict().keys(), "plain names, none missing"
    assert model.get_input_embeddings().weight.shape[0] == arms[name].prepared.vocab_size


def test_every_arm_ends_with_other_weights(arms: dict[str, ArmRun]) -> None:
    assert len({weights(arm.folder("pretrain")) for arm in arms.values()}) == len(ARMS)


def test_merged_ids_read_clone_text_as_english(arms: dict[str, ArmRun]) -> None:
    arm = arms["merged_ids"]
    english, clone = (scores(arm, task="lm", language=language) for language in ("en", "en-clone"))
    whole = [s["value"] for s in clone if s["metric"] in ("perplexity", "bits_per_byte")]
    assert [s["value"] for s in english] == whole and len(english) == 2
    for point in record(arm, "pretrain")["history"]:
        assert len(set(point.get("validation", {}).values())) <= 1
    assert not scores(arm, task="retrieval"), "both sides would be the same tokens"
    assert blocks(arm)[0].max() < clone_language(arm.prepared.tokenizer).size


def test_target_only_reads_no_english(arms: dict[str, ArmRun]) -> None:
    arm = arms["target_only"]
    ids, size = blocks(arm)[0], clone_language(arm.prepared.tokenizer).size
    assert set(ids[ids < size].tolist()) == {arm.prepared.eos}


def test_only_switching_arms_have_labels_that_are_not_their_inputs(arms: dict[str, ArmRun]) -> None:
    for name, arm in arms.items():
        ids, labels = blocks(arm)
        assert (ids != labels).any() == (name in ALIGNED), name
    assert record(arms["joint_vanilla_cs"], "blocks")["switched_words"] > 0
    assert record(arms["joint"], "blocks")["coverage"] is None


def test_the_share_of_switched_words_is_the_expected_one(arms: dict[str, ArmRun]) -> None:
    found = record(arms["prealign"], "blocks")
    expected, words = found["ratio"] * found["coverage"], found["source_words"]
    assert 0.5 < found["coverage"] < 0.95, "words are held out"
    assert abs(found["switched_words"] / words - expected) < 4 * np.sqrt(expected * (1 - expected) / words)


def substituted_words(arm: ArmRun) -> set[str]:
    """The words that were replaced in the blocks of an input-only arm, lower-cased, read off inputs and labels alone."""
    clone, tokenizer, found = clone_language(arm.prepared.tokenizer), arm.prepared.tokenizer, set()
    for ids, labels in zip(*blocks(arm), strict=True):
        starts = np.flatnonzero((ids != labels) & (labels != -100))
        for start in starts:
            end = start + 1
            while end < len(ids) and labels[end] == -100:
                end += 1
            if end < len(ids):  # else the block's edge may have cut the word
                found.add(tokenizer.decode(clone.unmap(ids[start:end])).strip().lower())
    return found


@pytest.mark.parametrize("name", ["prealign", "prealign_sustained", "prealign_anchored"])
def test_held_out_words_are_never_switched(arms: dict[str, ArmRun], name: str) -> None:
    training, held_out = arms[name].lexicons
    switched = substituted_words(arms[name])
    known = {group.word.lower() for group in training}
    assert len(switched) > 10 and len(held_out) > 5
    assert switched <= known
    assert not switched & {group.word.lower() for group in held_out}


def test_held_out_words_are_in_no_alignment_batch(arms: dict[str, ArmRun]) -> None:
    arm = arms["prealign"]
    training, held_out = arm.lexicons
    words = [group.word for group in held_out]
    forms = {tuple(row.tolist()) for row in arm.words.ids}
    for language in ("en", "en-clone"):
        encoded = encode_words(arm.prepared.tokenizer, words, language)
        assert not forms & {tuple(row.tolist()) for row in encoded}
    assert len(forms) == 2 * len(training), "each word and its clone"


def test_retrieval_is_measured_per_layer_stage_and_split(arms: dict[str, ArmRun]) -> None:
    for name in ("prealign", "joint"):
        found = {(s["stage"], s["split"], s["layer"]) for s in scores(arms[name], metric="p_at_1")}
        stages = ("init", "align", "pretrain") if name == "prealign" else ("init", "pretrain")
        assert found == {(st, sp, layer) for st in stages for sp in ("seen", "held_out") for layer in range(4)}
    assert all(s["arm"] == "joint" and s["seed"] == 0 for s in scores(arms["joint"]))


def test_what_is_finished_is_not_run_again(arms: dict[str, ArmRun]) -> None:
    stamp = arms["joint"].folder("pretrain").stat().st_mtime_ns
    assert set(arms["joint"].execute().values()) == {False}
    assert arms["joint"].folder("pretrain").stat().st_mtime_ns == stamp


def test_the_seed_decides_all_and_nothing_else_does(arms: dict[str, ArmRun], tmp_path: Path) -> None:
    base = arms["prealign_anchored"].base
    again, other = (toy_experiment.arm(base, "prealign_anchored", tmp_path / "run", seed) for seed in (0, 1))
    for arm in (again, other):
        arm.execute()
    assert scores(again, task="lm") == scores(arms["prealign_anchored"], task="lm")
    for stage in ("align", "pretrain"):
        assert weights(again.folder(stage)) == weights(arms["prealign_anchored"].folder(stage))
        assert weights(again.folder(stage)) != weights(other.folder(stage))
    assert not np.array_equal(blocks(again)[0], blocks(other)[0][: len(blocks(again)[0])])
    assert [g.word for g in again.lexicons[1]] != [g.word for g in other.lexicons[1]]


def changed(recipe: Recipe, **settings: Any) -> Recipe:
    return with_settings(recipe, {key.replace("__", "."): value for key, value in settings.items()})


@pytest.mark.parametrize(
    ("settings", "rerun"),
    [
        ({"evaluate__stride": 5}, {"evaluate"}),
        ({"pretrain__learning_rate": 1e-4}, {"pretrain", "evaluate"}),
        ({"pretrain__steps": 5}, {"blocks", "pretrain", "evaluate"}),
        ({"switch__ratio": 0.1}, {"blocks", "pretrain", "evaluate"}),
        ({"align__temperature": 0.2}, {"align", "pretrain", "evaluate"}),
        ({"lexicon__held_out": 0.1}, {"blocks", "align", "pretrain", "evaluate"}),
        ({"evaluate__dynamics": 3}, {"align", "pretrain", "evaluate"}),
        ({"evaluate__dynamics_words": 5}, set()),  # of no account without dynamics
        ({"sustain__groups": 5}, set()),  # of no account to an arm that does not sustain
        ({"evaluate__retrieval_words": 10, "align__bos": True}, {"align", "pretrain", "evaluate"}),
    ],
)
def test_a_changed_setting_makes_stale_what_depends_on_it(
    arms: dict[str, ArmRun], settings: dict[str, Any], rerun: set[str]
) -> None:
    assert stale(arms["prealign"], **settings) == rerun


@pytest.mark.parametrize("name", ["prealign_anchored", "prealign_sustained"])
def test_measuring_dynamics_does_not_disturb_training(arms: dict[str, ArmRun], tmp_path: Path, name: str) -> None:
    recipe = changed(arms[name].base, evaluate__dynamics=4, evaluate__dynamics_words=20)
    measured = toy_experiment.arm(recipe, name, tmp_path / "run")
    measured.execute()
    for stage in ("align", "pretrain"):
        assert weights(measured.folder(stage)) == weights(arms[name].folder(stage))
        own, without = record(measured, stage), record(arms[name], stage)
        assert without["dynamics"] == [] and own["history"] == without["history"]
        (entry,) = own["dynamics"]
        assert [entry["language"], entry["points"][-1]["step"]] == ["en-clone", own["steps"]]
        for split in ("seen", "held_out"):
            # The last point is the finished stage, measured on the same words: 20 is also `retrieval_words`.
            final = [s["value"] for s in scores(measured, metric="p_at_1", stage=stage, split=split)]
            assert entry["points"][-1][split] == pytest.approx(final, abs=0.03)


def test_retrieval_is_of_the_true_translations(arms: dict[str, ArmRun], tmp_path: Path) -> None:
    recipe = changed(arms["prealign"].base, lexicon__wrong=0.5)
    wrong = toy_experiment.arm(recipe, "prealign", tmp_path / "run")
    wrong.execute()
    start = [scores(arm, task="retrieval", stage="init") for arm in (wrong, arms["prealign"])]
    assert [s["value"] for s in start[0]] == [s["value"] for s in start[1]]
    assert weights(wrong.folder("align")) != weights(arms["prealign"].folder("align"))


def stale(arm: ArmRun, **settings: Any) -> set[str]:
    after = ArmRun(arm.arm, arm.seed, changed(arm.base, **settings), arm.prepared, arm.run, lambda _: None)
    before = arm.marks()
    return {stage for stage, mark in after.marks().items() if mark != before[stage]}


def test_only_arms_that_align_depend_on_how_it_is_done(arms: dict[str, ArmRun]) -> None:
    assert stale(arms["joint"], align__temperature=0.2) == set()
    assert stale(arms["joint"], align__steps=6) == {"blocks", "pretrain", "evaluate"}, "the budget is another"
    assert stale(arms["prealign_sustained"], sustain__groups=5) >= {"pretrain", "evaluate"}


def test_settings_that_only_tell_or_load_make_nothing_stale(arms: dict[str, ArmRun]) -> None:
    telling = {"ddp_timeout": 60, "report_to": "none", "run_name": "x", "disable_tqdm": False, "logging_steps": 3}
    loading = {"dataloader_num_workers": 2, "dataloader_prefetch_factor": 4, "dataloader_pin_memory": False}
    assert stale(arms["prealign"], trainer={"bf16": False} | telling | loading) == set()
    deciding = {"max_grad_norm": 2.0, "dataloader_drop_last": True}
    for name, value in deciding.items():
        assert stale(arms["prealign"], trainer={"bf16": False, name: value}) == {"align", "pretrain", "evaluate"}


@pytest.mark.parametrize("name", ["deepspeed", "fsdp_config", "accelerator_config"])
def test_a_file_that_the_trainer_reads_counts_by_what_is_in_it(
    arms: dict[str, ArmRun], tmp_path: Path, name: str
) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text('{"a": 1}')
    arm = replace(arms["prealign"], base=changed(arms["prealign"].base, trainer={"bf16": False, name: str(one)}))
    other.write_text('{ "a": 1 }')
    assert stale(arm, trainer={"bf16": False, name: str(other)}) == set()
    other.write_text('{"a": 2}')
    assert stale(arm, trainer={"bf16": False, name: str(other)}) == {"align", "pretrain", "evaluate"}
    before = arm.marks()
    one.write_text('{"a": 2}')
    assert {stage for stage, mark in arm.marks().items() if mark != before[stage]} == {"align", "pretrain", "evaluate"}


def test_an_interrupted_stage_leaves_the_former_result(arms: dict[str, ArmRun], tmp_path: Path) -> None:
    arm = arms["joint"]
    shutil.copytree(arm.run.root, tmp_path / "run", symlinks=True)

    def interrupt(progress: Any) -> None:
        raise KeyboardInterrupt

    later = changed(arm.base, pretrain__learning_rate=1e-4)
    again = ArmRun("joint", 0, later, *toy_experiment.prepared(later, tmp_path / "run"), interrupt)
    with pytest.raises(KeyboardInterrupt):
        again.execute()
    assert weights(again.folder("pretrain")) == weights(arm.folder("pretrain"))
    assert record(again, "pretrain") == record(arm, "pretrain")
    finished = ArmRun("joint", 0, later, again.prepared, again.run, lambda _: None)
    assert finished.execute() == {"blocks": False, "pretrain": True, "evaluate": True}
    assert weights(finished.folder("pretrain")) != weights(arm.folder("pretrain"))
    assert not list(finished.folder("pretrain").parent.glob("*.partial"))


def test_a_variant_that_aligns_otherwise_stops_sharing(tmp_path: Path) -> None:
    shared = {"extends": "prealign", "set": {"switch.ratio": 0.1}}
    recipe = toy_experiment.recipe(tmp_path, variants={"other": shared}, arms=["prealign", "other"])
    for name in recipe.arms:
        toy_experiment.arm(recipe, name, tmp_path / "run").execute(last="align")
    first = toy_experiment.arm(recipe, "prealign", tmp_path / "run").folder("align")
    kept = weights(first)
    recipe = changed(recipe, variants={"other": {**shared, "set": {"align.temperature": 0.5}}})
    other = toy_experiment.arm(recipe, "other", tmp_path / "run")
    assert weights(other.folder("align")) == kept
    other.execute(last="align")
    assert weights(first) == kept != weights(other.folder("align"))


def test_a_pretrained_model_is_adapted(arms: dict[str, ArmRun], tmp_path: Path) -> None:
    arm = arms["joint"]
    settings = {"model.config": None, "model.pretrained": str(arm.folder("pretrain")), "model.attention": "eager"}
    recipe = with_settings(arm.base, settings)
    adapted = toy_experiment.arm(recipe, "prealign_anchored", tmp_path / "run")
    adapted.execute()
    assert record(adapted, "pretrain")["steps"] == 4
    start = [s["value"] for s in scores(adapted, stage="init")]
    assert start == [s["value"] for s in scores(arm, stage="pretrain", task="retrieval")]


def test_positions_too_few_are_an_error_before_anything_is_written(tmp_path: Path) -> None:
    recipe = toy_experiment.recipe(tmp_path, pretrain__context=65)
    arm = toy_experiment.arm(recipe, "prealign", tmp_path / "run")
    with pytest.raises(RecipeError, match="only 64 positions"):
        arm.execute()
    assert not arm.folder("blocks").parent.exists()


def test_resolved_arms_differ_only_by_their_settings(arms: dict[str, ArmRun]) -> None:
    assert all(arm.recipe == resolve_arm(arm.base, name) for name, arm in arms.items())


PARITY = {"classes": "(?P<odd>[13579]$)|(?P<even>[02468]$)", "tokens": 9, "train_examples": 12, "test_examples": 6}


def transfer_arm(tmp_path: Path, name: str) -> ArmRun:
    """An arm with a task on pairs in files and one on passages, each a few steps."""
    rows = "".join(f"kalo mi\ttu{'sol' * (i % 2)}\t{'ab'[i % 2]}\n" for i in range(8))
    (tmp_path / "rows.tsv").write_text(rows)
    (tmp_path / "test.tsv").write_text(rows.replace("kalo mi", "mi kalo"))
    files = {"train": str(tmp_path / "rows.tsv"), "tests": {"en": str(tmp_path / "test.tsv")}}
    pairs = {"name": "pairs", **files, "columns": ["p", "h", "label"]}
    tasks = [
        {**pairs, "text": "p", "pair": "h", "batch_size": 4},
        {"name": "parity", "passages": PARITY, "epochs": 1, "batch_size": 4},
    ]
    recipe = toy_experiment.recipe(tmp_path, transfer=tasks, split__test=12)
    return toy_experiment.arm(recipe, name, tmp_path / "run")


@pytest.mark.parametrize("name", ["prealign", "merged_ids"])
def test_transfer_is_a_stage_of_its_own(tmp_path: Path, name: str) -> None:
    arm = transfer_arm(tmp_path, name)
    assert arm.execute()["transfer"]
    found = record(arm, "transfer")
    assert sorted(path.name for path in arm.folder("transfer").iterdir()) == [
        "recipe.yaml",
        "stage.json",
        "transfer.json",
        "whole.json",
    ]
    keys = {(s["condition"], s["language"], s["metric"]) for s in found["scores"]}
    mixed = ("en>en-clone", "en-clone>en")
    assert keys == {(task, "en-clone", "transfer_gap") for task in ("pairs", "parity")} | {
        (task, language, "accuracy")
        for task, languages in {"pairs": ("en", "en-clone", *mixed), "parity": ("en", "en-clone")}.items()
        for language in languages
    }
    assert all(s["arm"] == name and s["task"] == "transfer" and s["stage"] == "pretrain" for s in found["scores"])
    items = read_json(arm.folder("transfer") / "transfer.json")
    for s in (s for s in found["scores"] if s["metric"] == "accuracy"):
        answers = items[s["condition"]][s["language"]]
        assert s["value"] == np.mean(answers["correct"])
        assert answers["correct"] == [int(a == b) for a, b in zip(answers["label"], answers["predicted"], strict=True)]
        assert len(answers["document"]) == len(answers["correct"])  # items of one document or premise count together
    assert found["tasks"]["pairs"]["steps"] == 4
    assert found["tasks"]["parity"]["steps"] == 3
    assert found["seconds"] > 0 < found["flops"]
    if name == "merged_ids":
        gaps = [(s["value"], s["low"], s["high"]) for s in found["scores"] if s["metric"] == "transfer_gap"]
        assert gaps == [(0, None, None), (0, 0, 0)]  # the pairs share one premise: nothing to resample
    results = collect_results(arm.base, arm.prepared, arm.run, {(name, 0): arm.marks()})
    assert results["transfer"] == [
        {"arm": name, "seed": 0, "task": "pairs", "train_examples": 8, "tested": 0, "truncated": cut}
        for cut in [found["tasks"]["pairs"]["truncated"]]
    ] + [
        {"arm": name, "seed": 0, "task": "parity", "train_examples": 12, "tested": 0, "truncated": cut}
        for cut in [found["tasks"]["parity"]["truncated"]]
    ]
    assert set(arm.execute().values()) == {False}
    assert stale(arm, transfer__0__epochs=1) == {"transfer"}
    before = arm.marks()
    with (tmp_path / "rows.tsv").open("a") as file:
        file.write("kalo\tmi\ta\n")
    assert {stage for stage, mark in arm.marks().items() if mark != before[stage]} == {"transfer"}


def test_transfer_depends_on_the_seed_alone(tmp_path: Path) -> None:
    one = transfer_arm(tmp_path, "joint")
    again = toy_experiment.arm(one.base, "joint", tmp_path / "again")
    for arm in (one, again):
        arm.execute()
    assert record(one, "transfer")["scores"] == record(again, "transfer")["scores"]
    histories = [[task["history"] for task in record(arm, "transfer")["tasks"].values()] for arm in (one, again)]
    assert histories[0] == histories[1]


def test_labels_that_are_missing_show_before_any_training(tmp_path: Path) -> None:
    arm = transfer_arm(tmp_path, "joint")
    with (tmp_path / "rows.tsv").open("a") as file:
        file.write("kalo\tmi\t\n")
    with pytest.raises(DataError, match=r"rows\.tsv:9: 'label' is empty"):
        arm.execute()
    assert not arm.folder("blocks").parent.exists()
    assert arm.execute(last="blocks") == {"blocks": True}, "what does not need the labels does not read them"


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("change", [{"split__test": 7}, {"lexicon__minimum_count": 3}], ids=str)
def test_a_stage_on_data_that_another_command_replaced_is_not_recorded(
    tmp_path: Path, change: dict[str, Any], when: str
) -> None:
    arm = toy_experiment.arm(toy_experiment.recipe(tmp_path), "joint", tmp_path / "run")
    arm.marks()  # reads what an arm reads before its stages

    def replaced(*_: Any) -> dict[str, Any]:
        toy_experiment.prepared(toy_experiment.recipe(tmp_path, **change), tmp_path / "run")
        return {}

    if when == "before":
        replaced()
    else:
        object.__setattr__(arm, "_blocks", replaced)
    with pytest.raises(RunFolderError, match="run/data: another command has replaced the data"):
        arm.execute(last="blocks")
    assert not arm.folder("blocks").exists()
