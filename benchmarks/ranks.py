"""Two processes: tokens per second of stage 2 on two cores against one.

`torchrun` starts two processes with one thread each, which train a micro model (4 blocks of width 256) data-parallel over
gloo, 16 blocks of 128 tokens a process and step. The reference is one process with one thread and the same step. Processes
start anew in every round, and the two take turns; starting and warming up are off the clock. The target is 1.6 times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.figures import ROUNDS, Target, figure
from benchmarks.material import ROOT, Material
from benchmarks.steps import RoundClock, train
from prealign.text.arrow import load_arrow
from prealign.training import launch, ranks

OVERRIDES = ("model.preset=micro",)
TARGET = Target("ratio", "≥", 1.6)

_STEPS = 4  # of a stretch; the first of _STRETCHES warms up
_STRETCHES = 4
_BLOCKS = "ranks-blocks"


def run(material: Material, quick: bool) -> list[dict[str, Any]]:
    """Measure; `material` has OVERRIDES."""
    material.blocks(_BLOCKS, 2 * _STEPS * _STRETCHES, switched=True)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(1 if quick else ROUNDS):
        for processes in ((1, 2), (2, 1))[number % 2]:
            rates[processes].append(_tokens_per_second(material, processes))
    return [
        figure("two processes", "tokens/s", rates[2], references=rates[1], against="one process", target=TARGET),
    ]


def _tokens_per_second(material: Material, processes: int) -> float:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *torchrun, "-m", "benchmarks.ranks", str(material.folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    section = material.recipe.pretrain
    return processes * section.batch_size * section.context / float(json.loads(told.splitlines()[-1]))


def seconds_per_step(material: Material) -> float:
    """Train as one of the processes that were started; return the median seconds of a step."""
    torch.set_num_threads(1)
    ranks.join(cpu=True, timeout=600)
    size = launch.count() * _STEPS * _STRETCHES * material.recipe.pretrain.batch_size
    blocks, clock = load_arrow(material.folder / _BLOCKS).select(range(size)), RoundClock(_STEPS)
    scratch = material.folder / f"ranks-{launch.rank()}"
    train(material, material.model(), blocks, material.recipe, scratch, clock)
    ranks.leave()
    return median(clock.seconds)


if __name__ == "__main__":
    taken = seconds_per_step(Material(Path(sys.argv[1]), OVERRIDES))
    if launch.is_first():
        print(taken)
