"""Big alignment batches: the peak memory of stage 1 with 16,384 translation pairs a batch.

Two steps of stage 1 as `prealign run` takes them (L_align over all layers, L_LM on 16 blocks of 128 tokens, AdamW, bf16
autocast where the processor has it) train a micro model, 4 blocks of width 256, in a process of its own; words are encoded
in micro-batches of 256 pairs (`align.micro_pairs`). Measured is the most memory that the whole process held resident while
it trained, Python and libraries included. The words are the clone's of every word of the demo's corpus. The target is 3 GB.

For comparison: one (W, W) float32 matrix of similarities of such a batch is 4.3 GB, and the plain loss keeps one a layer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import Target, figure
from benchmarks.material import ROOT, SEED, Material
from prealign.methods.alignment.words import word_forms
from prealign.recipe.arms import resolve_arm
from prealign.run.planned import planned_phases
from prealign.training.phase import train

OVERRIDES = ("lexicon.minimum_count=1", "lexicon.held_out=0", "model.preset=micro", "align.micro_pairs=256")
TARGET = Target("value", "≤", 3)

_PAIRS = {False: 16_384, True: 1024}  # by `quick`
_STEPS = 2


def run(material: Material, quick: bool) -> list[dict[str, Any]]:
    """Measure; `material` has OVERRIDES."""
    pairs = _PAIRS[quick]
    assert material.prepared.training_lexicon(material.recipe, SEED)[0].groups[pairs:], "too few words for a batch"
    command = [sys.executable, "-m", "benchmarks.batches", str(material.folder), str(pairs)]
    told = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    peak = json.loads(told.splitlines()[-1]) / 1e9
    return [figure(f"{pairs:,} pairs a batch, peak memory", "GB", [peak], target=None if quick else TARGET)]


def peak_of_stage_1(material: Material, pairs: int, steps: int = _STEPS) -> int:
    """Train a few steps in this process and return its peak memory in bytes (Linux)."""
    recipe = material.recipe
    section = recipe.align.model_copy(update={"pairs_per_batch": pairs, "steps": steps})
    recipe = recipe.model_copy(update={"align": section})
    words = word_forms(material.prepared.training_lexicon(recipe, SEED)[0], material.prepared.tokenizer)
    blocks = material.blocks("batches", steps, switched=False)
    validation = {"en": blocks.select(range(1))}
    phase = planned_phases(resolve_arm(recipe, "prealign"), words)[0]
    # What preparing took is no part of the peak.
    Path("/proc/self/clear_refs").write_text("5")
    train(
        phase,
        material.model(),
        blocks,
        validation,
        seed=SEED,
        folder=material.folder / "batches-run",
        on_progress=lambda _: None,
        trainer=recipe.trainer,
        validations=recipe.pretrain.validations,
    )
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    print(peak_of_stage_1(Material(Path(sys.argv[1]), OVERRIDES), int(sys.argv[2])))
