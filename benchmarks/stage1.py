"""`python -m benchmarks.stage1 RECIPE [KEY=VALUE …] --try "KEY=VALUE …" --try … [--out DIR]`: stage 1 over FLOPs.

For each `--try`, stage 1 of the arm `prealign` is trained with the settings of the recipe, of the command line and of the
try. P@1 of seen and held-out words (mean over the blocks, both directions, at most 500 words of each kind) is printed at
log-spaced steps with the FLOPs so far, then the FLOPs at which seen words first reached 0.8 and 0.9. The curves are kept in
DIR/stage1.json. All tries share the data of the run folder DIR, so they may not change its text, tokenizer or dictionary.

    python -m benchmarks.stage1 recipes/en-de.yaml model.preset=nano align.steps=500 align.lm_batch_size=1 \\
        --try align.senses=all --try align.senses=one --try "align.senses=one align.start=translations" --out runs/stage1
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from prealign.errors import PrealignError
from prealign.files import read_json, write_json
from prealign.recipe.file import load_recipe
from prealign.run.folder import STAGE_FILE, RunFolder
from prealign.run.preparation.prepare import prepare
from prealign.run.stages import ArmRun

WORDS = 500
THRESHOLDS = (0.8, 0.9)


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stage1", description=__doc__.partition("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of all tries")
    parser.add_argument("--try", dest="tries", action="append", metavar="SETTINGS", help="settings of one curve")
    parser.add_argument("--out", type=Path, default=Path("runs/stage1"), help="run folder of the tries")
    parser.add_argument("--points", type=int, default=12, help="measurements of a curve")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_intermixed_args(arguments)
    curves = []
    try:
        for number, settings in enumerate(options.tries or [""], start=1):
            print(f"{number}: {settings or 'the recipe'}", flush=True)
            curves.append(curve(options, shlex.split(settings)))
            tell(curves[-1])
            write_json(options.out / "stage1.json", curves)
    except PrealignError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def curve(options: argparse.Namespace, settings: list[str]) -> dict[str, Any]:
    """Train stage 1 with these settings. Returns them, the seconds, and points by language."""
    measured = [f"evaluate.dynamics={options.points}", f"evaluate.dynamics_words={WORDS}"]
    recipe = load_recipe(options.recipe, (*options.settings, *settings, *measured))
    run = RunFolder(options.out)
    prepared, _ = prepare(recipe, run, lambda _: None)
    arm = ArmRun("prealign", options.seed, recipe, prepared, run, lambda p: print(f"   {p.note}") if p.note else None)
    began = time.monotonic()
    arm.execute(only=("align",))
    record = read_json(arm.folder("align") / STAGE_FILE)
    per_step = record["flops"] / record["steps"]
    layers = slice(1, arm.model_before(arm.phase("align"), None).config.num_hidden_layers + 1)
    points = {
        entry["language"]: [
            {"step": point["step"], "flops": point["step"] * per_step}
            | {split: _mean(point[split][layers]) for split in ("seen", "held_out")}
            for point in entry["points"]
        ]
        for entry in record["dynamics"]
    }
    return {"settings": settings, "seconds": time.monotonic() - began, "languages": points}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def tell(made: dict[str, Any]) -> None:
    """Print a curve."""
    for language, points in made["languages"].items():
        print(f"   {language:>9} {'step':>7} {'TFLOP':>9} {'seen':>6} {'held-out':>9}")
        for point in points:
            numbers = "".join(
                "        –" if point[key] is None else f"{point[key]:9.3f}" for key in ("seen", "held_out")
            )
            print(f"   {'':>9} {point['step']:7,} {point['flops'] / 1e12:9.3f}{numbers}")
        for threshold in THRESHOLDS:
            reached = next((p for p in points if p["seen"] is not None and p["seen"] >= threshold), None)
            told = f"at step {reached['step']:,}, {reached['flops'] / 1e12:.3f} TFLOP" if reached else "not reached"
            print(f"   {language:>9} {threshold} of seen words: {told}")
    print(f"   {made['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
