"""All arms and seeds of a recipe, and the results they add up to.

1. Prepare the shared data (`prealign.preparation`).
2. Run each (seed, arm) that is not fresh, `jobs` of them side by side, each on its share of the cores.
3. After each, write results.json anew from the finished folders: so an interrupted experiment has the results it has.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch

from prealign import __version__
from prealign.evaluation.coverage import KINDS
from prealign.evaluation.score import Comparison, Unit
from prealign.evaluation.statistics import Difference, holm, paired_bootstrap, paired_items, paired_seeds
from prealign.lexicon.forms import INFLECTED, RESPELLED
from prealign.preparation import Prepared, prepare
from prealign.recipe import Recipe
from prealign.recipe_file import dump_recipe
from prealign.runfolder import RunFolder, finished, read_json, write_json
from prealign.stages import ArmRun
from prealign.training import Progress, precision

# A list of the environment that changes numbers or speed
_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy")


@dataclass(frozen=True)
class Event:
    """Something the command line may show. `stages` (stage -> was it run now) comes once, when an arm is done."""

    arm: str
    seed: int
    progress: Progress | None = None
    stages: dict[str, bool] | None = None


OnEvent = Callable[[Event], None]
Marks = dict[tuple[str, int], dict[str, str]]
"""The fingerprint of every stage of every arm and seed."""


def run_experiment(
    recipe: Recipe, run: RunFolder, on_event: OnEvent, *, command: str, force: bool = False
) -> dict[str, Any]:
    """Run everything that is not fresh; return what results.json holds.

    Raises PrealignError for what the user can mend, before any training where it can be known before.
    """
    run.claim(recipe.name, dump_recipe(recipe))
    write_json(run.provenance, provenance(recipe, command))
    prepared, made = prepare(recipe, run, lambda p: on_event(Event("all arms", 0, p)))
    on_event(Event("all arms", 0, stages={"prepare": made}))
    pairs = [(arm, seed) for seed in recipe.seeds for arm in recipe.arms]
    # Fingerprints of all arms first: what is wrong with the last arm's settings shows before the first is trained.
    marks = {pair: ArmRun(*pair, recipe, prepared, run, lambda _: None).marks() for pair in pairs}
    results = collect_results(recipe, prepared, run, marks)
    for arm, seed, stages in _execute(recipe, prepared, run, pairs, on_event, force):
        on_event(Event(arm, seed, stages=stages))
        results = collect_results(recipe, prepared, run, marks)
        write_json(run.results, results)
    return results


def _execute(
    recipe: Recipe,
    prepared: Prepared,
    run: RunFolder,
    pairs: list[tuple[str, int]],
    on_event: OnEvent,
    force: bool,
) -> Iterator[tuple[str, int, dict[str, bool]]]:
    if recipe.jobs == 1 or len(pairs) == 1:
        for arm, seed in pairs:
            yield arm, seed, _run_arm(recipe, prepared, run, arm, seed, on_event, force)
        return
    context = get_context("spawn")
    queue: Queue[Event] = context.Queue()
    cores = max(1, (os.cpu_count() or 1) // recipe.jobs)
    with ProcessPoolExecutor(recipe.jobs, context, _start_worker, (queue, cores, os.getpid())) as pool:
        futures = {pool.submit(_work, recipe, prepared, run, *pair, force): pair for pair in pairs}
        workers = dict(pool._processes)
        try:
            for future in _as_completed(set(futures), queue, on_event):
                yield *futures[future], future.result()
        except BaseException:
            # Arms take hours: one that failed, or an interrupt, ends the others at once. Finished stages stay.
            for future in futures:
                future.cancel()
            for worker in workers.values():
                worker.terminate()
            raise


def _as_completed(
    pending: set[Future[dict[str, bool]]], queue: Queue[Event], on_event: OnEvent
) -> Iterator[Future[dict[str, bool]]]:
    while pending:
        done, pending = wait(pending, timeout=0.2)
        while True:
            try:
                on_event(queue.get_nowait())
            except Empty:
                break
        yield from done


_tell: OnEvent | None = None


def _start_worker(queue: Queue[Event], threads: int, parent: int) -> None:
    global _tell

    def tell(event: Event) -> None:
        if os.getppid() != parent:
            os._exit(1)  # the experiment was killed: nobody waits for this arm
        queue.put(event)

    _tell = tell
    # The parent hears the interrupt and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def _work(recipe: Recipe, prepared: Prepared, run: RunFolder, arm: str, seed: int, force: bool) -> dict[str, bool]:
    assert _tell is not None, "the pool was started without its initialiser"
    return _run_arm(recipe, prepared, run, arm, seed, _tell, force)


def _run_arm(
    recipe: Recipe, prepared: Prepared, run: RunFolder, arm: str, seed: int, on_event: OnEvent, force: bool
) -> dict[str, bool]:
    return ArmRun(arm, seed, recipe, prepared, run, lambda p: on_event(Event(arm, seed, p))).execute(force=force)


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
            "precision": precision(recipe),
        },
    }


def collect_results(recipe: Recipe, prepared: Prepared, run: RunFolder, marks: Marks) -> dict[str, Any]:
    """Return results.json (format: DESIGN and docs/results) from the arms and seeds whose stages are all fresh."""
    origin = read_json(run.provenance)
    budget, history, dynamics, switching, mixture, scores = [], [], [], [], [], []
    for (arm, seed), stages in _fresh_records(run, marks):
        scores += [score for record in stages.values() for score in record.get("scores", [])]
        for stage in ("align", "pretrain"):
            if stage in stages:
                name = {"arm": arm, "seed": seed, "stage": stage}
                budget.append(name | {k: stages[stage][k] for k in ("tokens", "flops", "seconds", "steps")})
                history.append(name | {"points": stages[stage]["history"]})
                dynamics += [name | entry for entry in stages[stage]["dynamics"]]
        if stages["blocks"]["coverage"] is not None:
            switching.append({"arm": arm, "seed": seed} | _switching(stages["blocks"]))
        for language, read in stages["blocks"].get("languages", {}).items():
            mixture.append({"arm": arm, "seed": seed, "language": language} | read)
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
        "comparisons": compare(recipe, run, scores),
        "history": history,
        "dynamics": dynamics,
        "switching": switching,
        "mixture": mixture,
        "lexicon": prepared.record["lexicon"] | {"held_out": held_out},
        "corpus": prepared.record["corpus"],
        **{key: prepared.record[key] for key in ("knowledge", "tests") if key in prepared.record},
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
_COMPARED = ("task", "language", "metric", "condition", "layer", "stage", "split")


def compare(recipe: Recipe, run: RunFolder, scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare every arm's final numbers with the baseline's: paired over seeds, or over what one seed was measured on."""
    values: dict[tuple[Any, ...], dict[tuple[str, int], dict[str, Any]]] = {}
    for score in scores:
        if score["stage"] == "pretrain":
            key = tuple(score[k] for k in _COMPARED)
            values.setdefault(key, {})[score["arm"], score["seed"]] = score
    comparisons: list[dict[str, Any]] = []
    read = cache(read_json)  # one file of items serves many numbers
    for key, by_arm in values.items():
        named, family = dict(zip(_COMPARED, key, strict=True)), []
        for arm in recipe.arms:
            seeds = [s for s in recipe.seeds if _compare(by_arm.get((arm, s)), by_arm.get((recipe.baseline, s)))]
            if arm == recipe.baseline or not seeds:
                continue
            own, base = ([by_arm[name, s]["value"] for s in seeds] for name in (arm, recipe.baseline))
            single = _one_seed(run, arm, recipe.baseline, seeds[0], named, read) if len(seeds) == 1 else None
            found, unit = single or (paired_seeds(own, base), "seeds")
            ratio = float(np.mean(own) / np.mean(base)) if np.mean(base) else None
            family.append(
                Comparison(arm=arm, baseline=recipe.baseline, **named, **found._asdict(), unit=unit, ratio=ratio)
            )
        comparisons += [comparison.as_dict() for comparison in _corrected(family)]
    return comparisons


def _compare(own: dict[str, Any] | None, base: dict[str, Any] | None) -> bool:
    """Whether two scores compare: both are there, and measured on the same things in the same way."""
    return own is not None and base is not None and own["signature"] == base["signature"]


def _corrected(family: list[Comparison]) -> list[Comparison]:
    """The arms that meet the baseline on one number, with Holm's p among them."""
    adjusted = iter(holm([comparison.p for comparison in family if comparison.p is not None]))
    return [comparison if comparison.p is None else replace(comparison, p_holm=next(adjusted)) for comparison in family]


_ITEMS = {"lm": "evaluate", "transfer": "transfer", "knowledge": "knowledge"}
"""Tasks whose stage keeps what it measured item by item, in TASK.json."""


def _one_seed(
    run: RunFolder, arm: str, baseline: str, seed: int, named: dict[str, Any], read: Callable[[Path], Any]
) -> tuple[Difference, Unit] | None:
    """Compare two arms of one seed on the items that both kept; None where there are none for this number."""
    task, metric = named["task"], named["metric"]
    paths = [run.stage(name, seed, _ITEMS.get(task, "")) / f"{task}.json" for name in (arm, baseline)]
    if task not in _ITEMS or not all(path.exists() for path in paths):
        return None
    ours, theirs = (read(path) for path in paths)
    if task == "lm":
        sides = [side.get(named["language"]) for side in (ours, theirs)]
        if kind := _OF_WORDS.get(metric):
            sides = [side and side.get(kind) for side in sides]
        perplexity = metric != "bits_per_byte"
        return (_over_documents(*sides, perplexity=perplexity), "documents") if all(sides) else None
    ours, theirs = (side.get(named["condition"], {}).get(named["language"], {}) for side in (ours, theirs))
    own, base = (side.get("correct") or [] for side in (ours, theirs))
    if metric != "accuracy" or not own or len(own) != len(base):
        return None
    documents = ours.get("document")
    return paired_items(own, base, documents), "documents" if documents else "items"


def _over_documents(ours: dict[str, Any], theirs: dict[str, Any], *, perplexity: bool) -> Difference:
    sizes = np.array(ours["tokens" if perplexity else "bytes"], dtype=np.float64)
    transform = np.exp if perplexity else (lambda nats_per_byte: nats_per_byte / np.log(2))
    scored = np.array(ours["tokens"]) > 0
    nats, baseline_nats = (np.array(side["nats"])[scored] for side in (ours, theirs))
    return paired_bootstrap(nats, baseline_nats, sizes[scored], transform)
