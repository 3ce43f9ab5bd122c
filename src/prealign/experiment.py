"""All arms and seeds of a recipe, and the results they add up to.

1. Prepare the shared data (`prealign.preparation`).
2. Run each (seed, arm) that is not fresh (`prealign.execution`).
3. After each, write results.json anew from the finished folders: so an interrupted experiment has the results it has.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from transformers.utils import is_liger_kernel_available

from prealign import __version__, launch, ranks
from prealign.arms import resolve_arm
from prealign.errors import RecipeError
from prealign.evaluation.comparisons import OneSeed, compare
from prealign.evaluation.coverage import KINDS
from prealign.evaluation.score import Unit
from prealign.evaluation.statistics import Difference, paired_bootstrap, paired_items
from prealign.execution import Event, OnEvent, run_arms, silent
from prealign.forward import fused_loss
from prealign.lexicon.forms import INFLECTED, RESPELLED
from prealign.preparation import Prepared, prepare
from prealign.recipe import Recipe
from prealign.recipe_file import dump_recipe
from prealign.runfolder import STAGE_FILE, RunFolder, finished, read_json, write_json
from prealign.stages import ArmRun
from prealign.training import device, precision, settings_in

# A list of the environment that changes numbers or speed
_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy")

ALL_ARMS = "all arms"
TIMEOUT = 1800
"""Seconds that a collective of training may take, as in `TrainingArguments`."""


Marks = dict[tuple[str, int], dict[str, str]]
"""The fingerprint of every stage of every arm and seed."""


def run_experiment(
    recipe: Recipe, run: RunFolder, on_event: OnEvent, *, command: str, force: bool = False
) -> dict[str, Any]:
    """Run everything that is not fresh; return what results.json holds (under a launcher in the first process only).

    Raises PrealignError for what the user can mend, before any training where it can be known before.
    """
    prepared = open_run(recipe, run, on_event, command)
    pairs = [(arm, seed) for seed in recipe.seeds for arm in recipe.arms]
    arms = [ArmRun(*pair, recipe, prepared, run, silent, devices=launch.count()) for pair in pairs]
    marks: Marks = {}
    results: dict[str, Any] = {}

    def collect() -> None:
        # Fingerprints of all arms first: what is wrong with the last arm's settings shows before the first is trained.
        marks.update(marks or {(arm.arm, arm.seed): arm.marks() for arm in arms})
        results.update(collect_results(recipe, prepared, run, marks))

    def save() -> None:
        collect()
        write_json(run.results, results)

    ranks.by_first(collect)
    for arm, stages in run_arms(arms, recipe.jobs, on_event, force=force):
        on_event(Event(arm.arm, arm.seed, stages=stages))
        ranks.by_first(save)
    return results


def check_launch(recipe: Recipe) -> None:
    """RecipeError for what a run on several devices cannot do."""
    if launch.count() == 1 and (devices := torch.cuda.device_count()) > 1:
        raise RecipeError(
            f"here are {devices} devices, and this is one process. Start one for each: `torchrun --nproc-per-node {devices} "
            "-m prealign run RECIPE`, or show it one device: CUDA_VISIBLE_DEVICES=0."
        )
    if fused_loss(recipe) and not (is_liger_kernel_available() and torch.cuda.is_available()):
        raise RecipeError(
            "trainer.use_liger_kernel needs a GPU and a package: `pip install 'prealign[liger]'`, or leave it out."
        )
    _check_sharding(recipe)
    if launch.count() > 1 and recipe.jobs > 1:
        raise RecipeError(
            f"jobs is {recipe.jobs}, and {launch.count()} processes were launched: under a launcher all train one arm after "
            "the other. Add jobs=1, or run without a launcher."
        )
    if launch.shards_weights() or recipe.trainer.get("fsdp"):
        anchored = [arm for arm in recipe.arms if resolve_arm(recipe, arm).anchor.enabled]
        if anchored:
            raise RecipeError(
                f"the arm {anchored[0]!r} anchors the vocabulary, which FSDP cannot spread over devices. Leave it out, or "
                "launch with torchrun or the configuration ddp."
            )
        if recipe.evaluate.dynamics:
            raise RecipeError(
                "evaluate.dynamics measures on whole weights, and FSDP spreads them over devices. Set evaluate.dynamics=0, "
                "or launch with torchrun or the configuration ddp."
            )


def _check_sharding(recipe: Recipe) -> None:
    """RecipeError for weights in shards that cannot be put together again (`ranks.gather_weights`): they would be lost."""
    in_recipe = recipe.trainer.get("fsdp")
    if launch.shards_weights() or in_recipe:
        config = settings_in(recipe.trainer.get("fsdp_config")) if in_recipe else {}
        version = config.get("version", config.get("fsdp_version", 2)) if in_recipe else launch.fsdp_version()
        if int(version) != 2:
            raise RecipeError(
                f"FSDP of version {version} saves shards as if they were whole. Launch with `prealign accelerate-config "
                "fsdp2`, or set fsdp_version (in a recipe: trainer.fsdp_config.version) to 2."
            )
    own = settings_in(recipe.trainer.get("deepspeed"))
    stages = [_zero_stage(own), _zero_stage(settings_in(launch.deepspeed_config())), launch.zero_stage()]
    if 3 in stages:
        raise RecipeError(
            "DeepSpeed of stage 3 spreads weights over devices, and their shards would be saved as if they were whole. "
            "Launch with `prealign accelerate-config fsdp2`, or with stage 2: `prealign accelerate-config deepspeed_zero2`."
        )


def _zero_stage(config: dict[str, Any]) -> int:
    return int(config.get("zero_optimization", {}).get("stage", 0))


def open_run(recipe: Recipe, run: RunFolder, on_event: OnEvent, command: str | None = None) -> Prepared:
    """Claim the folder, meet the other processes of a launch, and prepare the data.

    command: the one that will make results, for their provenance.
    """
    check_launch(recipe)
    ranks.join(
        cpu=device().type == "cpu",
        timeout=recipe.trainer.get("ddp_timeout", TIMEOUT),
    )

    def begin() -> None:
        run.claim(recipe.name, dump_recipe(recipe))
        if command is not None:
            write_json(run.provenance, provenance(recipe, command))
        made = prepare(recipe, run, lambda p: on_event(Event(ALL_ARMS, 0, p)))[1]
        on_event(Event(ALL_ARMS, 0, stages={"prepare": made}))

    ranks.by_first(begin)
    return Prepared(run.data, read_json(run.data / STAGE_FILE))


def provenance(recipe: Recipe, command: str) -> dict[str, Any]:
    """Return what a number depends on besides the recipe: versions, machine, precision, time."""
    return {
        "prealign": __version__,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "environment": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in _PACKAGES},
            "platform": platform.platform(),
            "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
            "cores": os.cpu_count(),
            "accelerators": torch.accelerator.device_count() if torch.accelerator.is_available() else 0,
            "devices": launch.count(),
            "precision": precision(recipe),
        },
    }


def collect_results(recipe: Recipe, prepared: Prepared, run: RunFolder, marks: Marks) -> dict[str, Any]:
    """Return results.json (format: DESIGN and docs/results) from the arms and seeds whose stages are all fresh."""
    origin = read_json(run.provenance)
    budget, history, dynamics, switching, mixture, transfer, rows, scores = [], [], [], [], [], [], [], []
    for (arm, seed), stages in _fresh_records(run, marks):
        scores += [score for record in stages.values() for score in record.get("scores", [])]
        for stage in ("align", "pretrain"):
            if stage in stages:
                name = {"arm": arm, "seed": seed, "stage": stage}
                kept = ("tokens", "flops", "seconds", "steps", "frozen")
                budget.append(name | {k: stages[stage][k] for k in kept if k in stages[stage]})
                history.append(name | {"points": stages[stage]["history"]})
                dynamics += [name | entry for entry in stages[stage]["dynamics"]]
        if stages["blocks"]["coverage"] is not None:
            switching.append({"arm": arm, "seed": seed} | _switching(stages["blocks"]))
        if "new_rows" in stages["pretrain"]:
            rows.append({"arm": arm, "seed": seed} | stages["pretrain"]["new_rows"])
        for language, read in stages["blocks"].get("languages", {}).items():
            mixture.append({"arm": arm, "seed": seed, "language": language} | read)
        for task, made in stages.get("transfer", {}).get("tasks", {}).items():
            examples = {key: made[key] for key in ("train_examples", "tested", "truncated") if key in made}
            transfer.append({"arm": arm, "seed": seed, "task": task} | examples)
    held_out = len(prepared.true_lexicon(recipe, recipe.seeds[0])[1])
    return {
        "schema": 1,
        "name": recipe.name,
        "version": __version__,
        "created": origin["created"],
        "command": origin["command"],
        "recipe": recipe.model_dump(),
        "environment": origin["environment"],
        "scores": scores,
        "budget": budget,
        "comparisons": compare(recipe.arms, recipe.seeds, recipe.baseline, scores, over_items(run, recipe.baseline)),
        "history": history,
        "dynamics": dynamics,
        "switching": switching,
        "mixture": mixture,
        "lexicon": prepared.record["lexicon"] | {"held_out": held_out},
        "corpus": prepared.record["corpus"],
        **{key: prepared.record[key] for key in ("tokenizer", "knowledge", "tests") if key in prepared.record},
        **({"transfer": transfer} if recipe.transfer else {}),
        **({"new_rows": rows} if rows else {}),
    }


def _fresh_records(run: RunFolder, marks: Marks) -> Iterator[tuple[tuple[str, int], dict[str, dict[str, Any]]]]:
    """Yield the stages' records: numbers of a former recipe, at another budget, must not stand beside this one's."""
    for pair, expected in marks.items():
        found = {stage: finished(run.stage(*pair, stage), mark) for stage, mark in expected.items()}
        fresh = {stage: record for stage, record in found.items() if record is not None}
        if len(fresh) == len(expected):
            yield pair, fresh


def _switching(blocks: dict[str, Any]) -> dict[str, Any]:
    kept = ("ratio", "mode", "coverage", "source_words", "switched_words", "source_tokens", "switched_tokens")
    optional = tuple(name for name in (INFLECTED, RESPELLED, "switched") if name in blocks)
    return {k: blocks[k] for k in kept + optional} | {
        "expected": blocks["ratio"] * blocks["coverage"],
        "realised": blocks["switched_words"] / max(1, blocks["source_words"]),
        "realised_tokens": blocks["switched_tokens"] / max(1, blocks["source_tokens"]),
    }


_OF_WORDS = {f"perplexity_{kind}": kind for kind in KINDS}
_ITEMS = {"lm": "evaluate", "transfer": "transfer", "knowledge": "knowledge"}
"""Tasks whose stage keeps what it measured item by item, in TASK.json."""


def over_items(run: RunFolder, baseline: str) -> OneSeed:
    """How two arms of one seed compare: on the items that both kept; None where there are none for a number."""
    read = cache(read_json)  # one file of items serves many numbers

    def compared(arm: str, seed: int, number: dict[str, Any]) -> tuple[Difference, Unit] | None:
        task, metric = number["task"], number["metric"]
        paths = [run.stage(name, seed, _ITEMS.get(task, "")) / f"{task}.json" for name in (arm, baseline)]
        if task not in _ITEMS or not all(path.exists() for path in paths):
            return None
        ours, theirs = (read(path) for path in paths)
        if task == "lm":
            sides = [side.get(number["language"]) for side in (ours, theirs)]
            if kind := _OF_WORDS.get(metric):
                sides = [side and side.get(kind) for side in sides]
            perplexity = metric != "bits_per_byte"
            return (_over_documents(*sides, perplexity=perplexity), "documents") if all(sides) else None
        ours, theirs = (side.get(number["condition"], {}).get(number["language"], {}) for side in (ours, theirs))
        own, base = (side.get("correct") or [] for side in (ours, theirs))
        if metric != "accuracy" or not own or len(own) != len(base):
            return None
        documents = ours.get("document")
        return paired_items(own, base, documents), "documents" if documents else "items"

    return compared


def _over_documents(ours: dict[str, Any], theirs: dict[str, Any], *, perplexity: bool) -> Difference:
    sizes = np.array(ours["tokens" if perplexity else "bytes"], dtype=np.float64)
    transform = np.exp if perplexity else (lambda nats_per_byte: nats_per_byte / np.log(2))
    scored = np.array(ours["tokens"]) > 0
    nats, baseline_nats = (np.array(side["nats"])[scored] for side in (ours, theirs))
    return paired_bootstrap(nats, baseline_nats, sizes[scored], transform)
