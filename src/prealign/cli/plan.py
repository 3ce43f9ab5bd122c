"""The tables of `prealign plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from prealign.methods.memory import Memory
from prealign.methods.phase import MAIN
from prealign.report.formats import NONE, duration, percent, quantity
from prealign.report.tables.table import Table
from prealign.run.plan import GIB, Devices, Plan


def plan_tables(plans: Sequence[Plan], devices: Devices, notes: Sequence[str]) -> list[Table]:
    """Return tables: the cost of each arm over all devices, what it reads of each language, and its memory on one device."""
    title = f"Plan: {devices.number} × {devices.name} at {devices.utilisation:.0%} utilisation"
    counts = ("tokens", "flops", "seconds", "disk")
    rows = [(plan.arm, _steps(plan), *_amounts(*(getattr(plan, what) for what in counts))) for plan in plans]
    seeds = plans[0].seeds
    total = _amounts(*(seeds * sum(getattr(plan, what) for plan in plans) for what in counts))
    rows.append((f"all, {seeds} seed{'s' if seeds > 1 else ''}", NONE, *total))
    if any(plan.early for plan in plans):
        notes = [*notes, "≤: the phase ends when it reaches its goal (align.until); pretrain gets what it saves (≥)"]
    columns = ("Arm", "Steps", "Tokens", "FLOPs", "Time", "Disk")
    cost = Table(title, columns, tuple(rows), "\n".join(notes))
    return [cost, *_reading_table(plans), _memory_table(plans, devices)]


def _reading_table(plans: Sequence[Plan]) -> list[Table]:
    """Return what stage 2 of each arm reads; no table if that is not known without the data."""
    rows = [
        (
            plan.arm,
            language,
            quantity(own.tokens),
            percent(own.share),
            NONE if own.passes is None else f"{own.passes:.2f}",
        )
        for plan in plans
        for language, own in plan.reading.items()
    ]
    columns = ("Arm", "Language", "Tokens", "Share", "Passes over its text")
    return [Table("What stage 2 reads", columns, tuple(rows), labels=2)] if rows else []


def _steps(plan: Plan) -> str:
    bounds = dict.fromkeys(plan.early, "≤ ") | ({MAIN: "≥ "} if plan.early else {})
    return ", ".join(f"{name} {bounds.get(name, '')}{steps:,}" for name, steps in plan.steps.items())


def _amounts(tokens: float, flops: float, seconds: float, disk: float) -> tuple[str, ...]:
    return quantity(tokens), quantity(flops), duration(seconds), _size(disk)


def _memory_table(plans: Sequence[Plan], devices: Devices) -> Table:
    rows, limit = [], devices.device.memory
    misfits: dict[str, list[str]] = {}
    for p in plans:
        stage, memory = p.peak
        fits = memory.total <= limit
        rows.append((p.arm, stage, *map(_size, astuple(memory)), _size(memory.total), "yes" if fits else "no"))
        if not fits:
            misfits.setdefault(_misfit(stage, memory, limit), []).append(p.arm)
    columns = (
        "Arm",
        "Stage",
        "Weights",
        "Gradients",
        "Optimiser",
        "Activations",
        "Logits",
        "Objectives",
        "Total",
        "Fits",
    )
    lines = [f"{', '.join(arms)}: {problem}" for problem, arms in misfits.items()]
    note = "The stage that takes most. An upper bound without the CUDA context and fragmentation (about 1 GiB)."
    return Table("Memory of a device", columns, tuple(rows), "\n".join([*lines, note]), 2)


def _misfit(stage: str, memory: Memory, limit: float) -> str:
    state = memory.weights + memory.gradients + memory.optimiser
    batch = "align.lm_batch_size or align.micro_pairs (unset: all pairs)" if stage == "align" else "pretrain.batch_size"
    sharded = "use more devices with fsdp (trainer.fsdp: full_shard)"
    smaller = f"use a smaller {batch}, or trainer.gradient_checkpointing"
    advice = f"{sharded}, or {smaller}" if state > memory.total - limit else smaller
    return f"does not fit: {_size(memory.total)} of {_size(limit)}; {advice}."


def _size(size: float) -> str:
    """`96 MiB`, `5.3 GiB`, `96 GiB`."""
    unit = "GiB" if size >= GIB else "MiB"
    value = size / (GIB if size >= GIB else 2**20)
    return f"{value:,.{0 if value >= 10 or not value else 1}f} {unit}"
