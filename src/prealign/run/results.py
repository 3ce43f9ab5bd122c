"""Collection of results.json from the finished stages of all arms and seeds in a run folder.

1. Take the records of each arm and seed whose stages are all fresh and undamaged.
2. Gather their origins (`prealign.run.provenance`). With several, each is an entry of `parts`, as in merged results.
3. Gather their scores, budgets, histories, and rates of switching and mixture.
4. Compare each arm with the baseline: over seeds, or over items if they have one common seed (`over_items`). What is tested
   how is fixed by the recipe (`design_of`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from prealign import __version__
from prealign.evaluation.comparisons import Design, OneSeed, compare
from prealign.evaluation.lm.coverage import KINDS
from prealign.evaluation.score import SCHEMA, Unit
from prealign.evaluation.statistics import Interval, paired_bootstrap, paired_items
from prealign.files import read_json
from prealign.lexicon.forms import INFLECTED, RESPELLED
from prealign.recipe.arms import arm_card, resolve_arm
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.folder import RunFolder, finished
from prealign.run.planned import planned_phases
from prealign.run.provenance import ORIGIN, common_facts, origins

Marks = dict[tuple[str, int], dict[str, str]]
"""(arm, seed) -> fingerprint of each stage."""


def collect_results(
    recipe: Recipe,
    prepared: Prepared,
    run: RunFolder,
    marks: Marks,
    unfinished: Sequence[dict[str, Any]] = (),
    families: Iterable[Sequence[str]] = (),
) -> dict[str, Any]:
    """Return the content of results.json (examples: docs/results), from arms and seeds whose stages are all fresh.

    unfinished: arm, seed and reason of the runs that ended early. families: of the commands that made the arms, after that
    of the recipe (`Recipe.family`); arms in none of them are one more.
    """
    records = list(fresh_records(run, marks))
    of_phases, read = _of_phases(records), _of_text(records)
    parts = origins((pair, record[ORIGIN]) for pair, stages in records for record in stages.values())
    scores = [score for _, stages in records for record in stages.values() for score in record.get("scores", [])]
    design = design_of(recipe, disjoint([recipe.family, *families, recipe.arms]))
    held_out = len(prepared.true_lexicon(recipe, recipe.seeds[0])[1])
    return {
        "schema": SCHEMA,
        "name": recipe.name,
        "version": __version__,
        **{key: parts[-1][key] if parts else "" for key in ("created", "command")},
        "recipe": recipe.model_dump(),
        "arms": {arm: arm_card(recipe, arm) | {"phases": _phases(recipe, arm)} for arm in recipe.arms},
        "environment": common_facts([part["environment"] for part in parts]),
        **({"parts": parts} if len(parts) > 1 else {}),
        "scores": scores,
        "budget": of_phases["budget"],
        "families": design.families,
        "comparisons": compare(design, recipe.seeds, scores, over_items(run, recipe.baseline)),
        **{key: of_phases[key] for key in ("history", "dynamics", "alignment")},
        **{key: read[key] for key in ("switching", "mixture")},
        "lexicon": prepared.record["lexicon"] | {"held_out": held_out},
        "corpus": prepared.record["corpus"],
        **{key: prepared.record[key] for key in ("tokenizer", "knowledge", "tests") if key in prepared.record},
        **({"transfer": _of_transfer(records)} if recipe.transfer else {}),
        **({"new_rows": read["new_rows"]} if read["new_rows"] else {}),
        **({"unfinished": list(unfinished)} if unfinished else {}),
        **({"initialisations": of_phases["initialisations"]} if of_phases["initialisations"] else {}),
        **({"bitext": read["bitext"]} if read["bitext"] else {}),
    }


_Records = Sequence[tuple[tuple[str, int], dict[str, Any]]]
"""(arm, seed) and the record of each of its stages."""
_Section = list[dict[str, Any]]


def _of_phases(records: _Records) -> dict[str, _Section]:
    """Return the sections with rows of each phase that was trained."""
    sections: dict[str, _Section] = {
        key: [] for key in ("budget", "history", "dynamics", "alignment", "initialisations")
    }
    amounts = ("tokens", "lm_tokens", "flops", "seconds", "steps", "frozen")
    for (arm, seed), stages in records:
        for stage, record in stages.items():
            if "history" not in record:  # no phase
                continue
            name = {"arm": arm, "seed": seed, "stage": stage}
            sections["budget"].append(name | {key: record[key] for key in amounts if key in record})
            sections["history"].append(name | {"points": record["history"]})
            sections["dynamics"] += [name | entry for entry in record["dynamics"]]
            for key in ("alignment", "initialisations"):
                sections[key] += [name | entry for entry in record.get(key, [])]
    return sections


def _of_text(records: _Records) -> dict[str, _Section]:
    """Return the sections on what each run read: its switching, mixture, parallel text, and rows of new tokens."""
    sections: dict[str, _Section] = {key: [] for key in ("switching", "mixture", "bitext", "new_rows")}
    for (arm, seed), stages in records:
        name, blocks = {"arm": arm, "seed": seed}, stages["blocks"]
        if blocks["coverage"] is not None:
            sections["switching"].append(name | _switching(blocks))
        for key, languages in (
            ("mixture", blocks.get("languages")),
            ("bitext", blocks.get("bitext", {}).get("languages")),
        ):
            sections[key] += [name | {"language": language} | read for language, read in (languages or {}).items()]
        if "new_rows" in stages["pretrain"]:
            sections["new_rows"].append(name | stages["pretrain"]["new_rows"])
    return sections


def _of_transfer(records: _Records) -> _Section:
    """Return the numbers of examples of each fine-tuning."""
    sizes = ("train_examples", "tested", "truncated")
    return [
        {"arm": arm, "seed": seed, "task": task} | {key: tuned[key] for key in sizes if key in tuned}
        for (arm, seed), stages in records
        for task, tuned in stages.get("transfer", {}).get("tasks", {}).items()
    ]


def design_of(recipe: Recipe, families: list[list[str]]) -> Design:
    """Return what the recipe fixes before the run. families: lists of arms that are corrected together."""
    section = recipe.primary
    language = section.language or recipe.targets[0].language
    known = any(section.arm in family for family in families) and section.arm != recipe.baseline
    return Design(recipe.baseline, families, (section.arm, language) if known else None)


def disjoint(families: Iterable[Sequence[str]]) -> list[list[str]]:
    """Return the families with each arm once, in the first that has it; none is empty."""
    found: list[list[str]] = []
    for family in families:
        known = {arm for other in found for arm in other}
        if new := [arm for arm in family if arm not in known]:
            found.append(new)
    return found


def fresh_records(run: RunFolder, marks: Marks) -> Iterator[tuple[tuple[str, int], dict[str, dict[str, Any]]]]:
    """Yield (arm, seed) and the records of its stages if all are fresh: results of other settings must not mix in.

    A damaged stage is not fresh. The contents of files are compared where items of them are read.
    """
    for pair, expected in marks.items():
        records = {}
        for stage, mark in expected.items():
            items = None if stage in _ITEMS.values() else ()
            records[stage] = finished(run.stage(*pair, stage), mark, read=items)
        fresh = {stage: record for stage, record in records.items() if record is not None}
        if len(fresh) == len(expected):
            yield pair, fresh


def _phases(recipe: Recipe, arm: str) -> list[dict[str, Any]]:
    return [phase.describe() for phase in planned_phases(resolve_arm(recipe, arm))]


def _switching(blocks: dict[str, Any]) -> dict[str, Any]:
    kept = (
        "ratio",
        "mode",
        "coverage",
        "independent",
        "source_words",
        "switched_words",
        "source_tokens",
        "switched_tokens",
    )
    optional = tuple(name for name in (INFLECTED, RESPELLED, "switched") if name in blocks)
    return {k: blocks[k] for k in kept + optional} | {
        "expected": blocks["ratio"] * blocks["coverage"],
        "realised": blocks["switched_words"] / max(1, blocks["source_words"]),
        "realised_tokens": blocks["switched_tokens"] / max(1, blocks["source_tokens"]),
    }


_PARTS = {f"perplexity_{kind}": kind for kind in (*KINDS, "within")}
"""Perplexities of a part of the tokens, which has its own nats in lm.json."""


_ITEMS = {"lm": "evaluate", "transfer": "transfer", "knowledge": "knowledge"}
"""Task -> stage that keeps the measurements of each item in TASK.json."""


def over_items(run: RunFolder, baseline: str) -> OneSeed:
    """Return a function that compares an arm with the baseline for one seed, on items that both kept.

    It takes (arm, seed, score) and returns the difference and its unit, or None if there are no items for the score.
    """
    read = cache(read_json)  # one file of items serves many scores

    def compared(arm: str, seed: int, number: dict[str, Any]) -> tuple[Interval, Unit] | None:
        task, metric = number["task"], number["metric"]
        paths = [run.stage(name, seed, _ITEMS.get(task, "")) / f"{task}.json" for name in (arm, baseline)]
        if task not in _ITEMS or not all(path.exists() for path in paths):
            return None
        ours, theirs = (read(path) for path in paths)
        if task == "lm":
            sides = [side.get(number["language"]) for side in (ours, theirs)]
            if metric in _PARTS:
                sides = [side and side.get(_PARTS[metric]) for side in sides]
            elif metric not in ("perplexity", "bits_per_byte"):
                return None
            per_byte = metric == "bits_per_byte"
            return (_over_documents(*sides, per_byte=per_byte), "documents") if all(sides) else None
        ours, theirs = (side.get(number["condition"], {}).get(number["language"], {}) for side in (ours, theirs))
        correct, base = (side.get("correct") or [] for side in (ours, theirs))
        if metric != "accuracy" or not correct or len(correct) != len(base):
            return None
        documents = ours.get("document")
        return paired_items(correct, base, documents), "documents" if documents else "items"

    return compared


def _over_documents(ours: dict[str, Any], theirs: dict[str, Any], *, per_byte: bool) -> Interval:
    """Return the difference of log perplexities in nats, or of bits per byte."""
    sizes = np.array(ours["bytes" if per_byte else "tokens"], dtype=np.float64) * (np.log(2) if per_byte else 1)
    scored = np.array(ours["tokens"]) > 0
    nats, baseline_nats = (np.array(side["nats"])[scored] for side in (ours, theirs))
    return paired_bootstrap(nats, baseline_nats, sizes[scored])
