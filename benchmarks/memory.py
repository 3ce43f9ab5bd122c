"""Text larger than memory: what it takes to tokenise, count, switch and pack it.

Measured is all that `prealign switch` does, from a file of text to blocks, with the demo's tokenizer and a clone of every
frequent word: each time in a process of its own, whose tokenizer has one thread, with one process or two (`processes`). The
text is of documents of 4,000 characters, paragraphs of the demo's text drawn with replacement, in files of four sizes.

Memory is what the system cannot take back (anonymous pages, of all processes together), at its highest of 20 samples a
second. Pages of files that are mapped come on top of it in a row of their own: they stay as long as nobody needs the room.
The exponent is that of time over size, fitted to the four; 1 is linear. Fixed times (the lexicon in tokens, processes that
start) lower it, and the gain of a second process, which is measured on the largest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.figures import Target, figure
from benchmarks.material import DEMO, ROOT, SEED, Material
from prealign.methods.phase import MAIN
from prealign.recipe.arms import resolve_arm
from prealign.recipe.file import load_recipe
from prealign.run.folder import RunFolder
from prealign.run.inputs import ArmInputs
from prealign.run.mixture import rewritten_mixture
from prealign.run.preparation.prepare import prepare
from prealign.text.blocks import write_blocks
from prealign.text.corpus import read_documents
from prealign.workers import Pool

OVERRIDES = ()

_SIZES = (128, 256, 512, 1024)  # MB
_ROUNDS = 2
_QUICK_SIZES = (1, 2, 3, 4)
_DOCUMENT = 4000
_MB, _GB = 1e6, 1e9


def run(material: Material, quick: bool) -> list[dict[str, object]]:
    """Measure; `material` is the demo's."""
    sizes = _QUICK_SIZES if quick else _SIZES
    most = max(sizes)
    runs = [_measured(material, size, 1) for size in sizes]
    two = [_measured(material, most, 2) for _ in range(_ROUNDS)]
    one = [runs[-1], *(_measured(material, most, 1) for _ in range(_ROUNDS - 1))]
    seconds = [own["seconds"] for own in runs]
    exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    speed = {size: [size / own["seconds"]] for size, own in zip(sizes, runs, strict=True)}
    doubled, single = ([most / own["seconds"] for own in measured] for measured in (two, one))
    return [
        figure(f"memory, {most:,} MB", "GB", [own["anonymous"] / _GB for own in one], target=Target("value", "≤", 1)),
        figure(f"memory with pages of mapped files, {most:,} MB", "GB", [own["resident"] / _GB for own in one]),
        figure(f"memory of two processes, {most:,} MB", "GB", [own["anonymous"] / _GB for own in two]),
        figure(f"exponent of time over {len(sizes)} sizes", "", [exponent], target=Target("value", "≤", 1.1)),
        *(figure(f"one process, {size:,} MB", "MB/s", own) for size, own in speed.items()),
        figure(
            f"two processes, {most:,} MB",
            "MB/s",
            doubled,
            references=single,
            against="one process",
            target=Target("ratio", "≥", 1.7),
        ),
    ]


def _measured(material: Material, size: int, processes: int) -> dict[str, float]:
    """Do the work in a process of its own; return its seconds and the most memory it had."""
    tokenizer = material.prepared.tokenizer_folder
    text, out = material.folder / f"{size}.jsonl", material.folder / f"memory-{size}-{processes}"
    if not text.exists():
        _write(text, material, int(size * _MB))
    # Not as a module: processes that are spawned would import all of it once more.
    program = "import sys; from benchmarks.memory import measure; measure(*sys.argv[1:])"
    command = [sys.executable, "-c", program, str(text), str(tokenizer), str(out)]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    made = subprocess.run([*command, str(processes)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    shutil.rmtree(out)
    found: dict[str, float] = json.loads(made.stdout)
    return found


def _write(path: Path, material: Material, size: int) -> None:
    """Write documents of paragraphs, drawn by a seed, until the text has so many bytes."""
    documents = read_documents(material.recipe.source.text, material.recipe.source.documents)
    paragraphs = [line for _, text in documents for line in text.splitlines() if line.strip()]
    generator = np.random.default_rng(SEED)
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            text = ""
            while len(text) < _DOCUMENT:
                text += paragraphs[generator.integers(len(paragraphs))] + "\n"
            written += len(text.encode())
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def _work(text: str, tokenizer: str, out: str, processes: str) -> None:
    """What is measured: preparation, and the blocks of one pass over the text."""
    settings = [f"source.text=[{text}]", f"tokenizer.path={tokenizer}", f"processes={processes}"]
    recipe = resolve_arm(load_recipe(DEMO, settings), "prealign")
    prepared, _ = prepare(recipe, RunFolder(out), lambda _: None)
    phase = ArmInputs("prealign", SEED, recipe, prepared).phase(MAIN)
    context = recipe.pretrain.context
    blocks = sum(map(prepared.training_size, prepared.languages)) // context
    with Pool(recipe.processes) as pool:
        mixture, _ = rewritten_mixture(prepared.mixture(recipe, None), phase.rewriting, pool.map)
        write_blocks(mixture, Path(out) / "blocks", blocks=blocks, context=context, seed=SEED, spread=pool.map)


class _Sampler(threading.Thread):
    """Samples the memory of this process and its children."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous = self.resident = 0

    def run(self) -> None:
        own = psutil.Process()
        while True:
            anonymous = resident = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    memory = process.memory_info()
                except psutil.NoSuchProcess:
                    continue
                resident += memory.rss
                anonymous += memory.rss - getattr(memory, "shared", 0)
            self.anonymous, self.resident = max(self.anonymous, anonymous), max(self.resident, resident)
            time.sleep(0.05)


def measure(*arguments: str) -> None:
    """Do the work and print what it took; in a process that runs nothing else."""
    sampler = _Sampler()
    sampler.start()
    began = time.perf_counter()
    _work(*arguments)
    measured = {"seconds": time.perf_counter() - began}
    print(json.dumps(measured | {"anonymous": sampler.anonymous, "resident": sampler.resident}))
