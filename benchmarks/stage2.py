"""Stage 2: what code-switching costs a training step.

One run of the stock Trainer (the demo's nano model, 16 blocks of 128 tokens) reads switched and unswitched blocks in turn,
in stretches of equal length; measured is a step on switched blocks, the reference is a step on unswitched ones. The target
is at most 1.02 times the reference.

Blocks are written before training, so the second row adds to each step its share of writing them, with and without
switching. The target is the same.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from datasets import concatenate_datasets

from benchmarks.figures import Target, alternate, figure
from benchmarks.material import Material
from benchmarks.steps import RoundClock, train

OVERRIDES = ()
TARGET = Target("ratio", "≤", 1.02)

_ROUNDS = 9  # more than elsewhere: two per cent must be told from noise
_STEPS = 20


def run(material: Material, quick: bool) -> list[dict[str, Any]]:
    """Measure; `material` is the demo's."""
    rounds, each = (2, 3) if quick else (_ROUNDS, _STEPS)
    # A warm-up of one stretch, then pairs of stretches; every other pair is turned round.
    order = [False, *(kind for number in range(rounds) for kind in ((True, False), (False, True))[number % 2])]
    kinds = {kind: material.blocks(f"stage2-{kind}", each * len(order), switched=kind) for kind in (True, False)}
    size = each * material.recipe.pretrain.batch_size
    stretches = [kinds[kind].select(range(i * size, (i + 1) * size)) for i, kind in enumerate(order)]
    clock = RoundClock(each)
    blocks = concatenate_datasets(stretches)
    train(material, material.model(), blocks, material.recipe, material.folder / "stage2", clock)
    steps: dict[bool, list[float]] = {True: [], False: []}
    for kind, taken in zip(order[1:], clock.seconds, strict=True):
        steps[kind].append(1e3 * taken)
    writing = [partial(material.blocks, "writing", each * rounds, switched=kind) for kind in (True, False)]
    whole = {
        kind: [step + 1e3 * t / (each * rounds) for step, t in zip(steps[kind], taken, strict=True)]
        for kind, taken in zip((True, False), alternate(writing, rounds), strict=True)
    }
    against = "unswitched blocks"
    return [
        figure("a step", "ms", steps[True], references=steps[False], against=against, target=TARGET),
        figure(
            "a step and the writing of its blocks",
            "ms",
            whole[True],
            references=whole[False],
            against=against,
            target=TARGET,
        ),
    ]
