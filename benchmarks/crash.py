"""`python -m benchmarks.crash [--kills N] [--recipe FILE] [--json FILE] [KEY=VALUE ...]`: are killed runs the unkilled one?

1. Run the recipe once without a kill: the reference, and how long it takes.
2. Run it again in another folder, and kill -9 what was started: in turn at a time drawn uniformly up to that long, which
   meets any stage, and when it has written one to four checkpoints, which meets training; two times the process alone, two
   times its whole process group. Start the same command again. A run that was quicker than its kill is done, and the next
   begins in a new folder, until there were N kills; the last run is let end.
3. Compare `model.safetensors` of every stage of every run with the reference, byte by byte, and the scores in results.json.

The exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.material import ROOT
from prealign.files import read_json, write_json
from prealign.seals import WHOLE


@dataclass(frozen=True)
class Kill:
    """One kill: in which run, at what ("clock", "checkpoint N"), after how many seconds, of "process" or "group"."""

    run: str
    at: str
    after: float
    what: str
    last_line: str


def start(recipe: Path, overrides: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own, one thread a process, as sums depend on how many there are."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "prealign", "run", str(recipe), *overrides, "--out", str(folder)]
    with log.open("ab") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)


def finish(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the end of a run; SystemExit with what it printed if it failed."""
    if process.wait() != 0:
        sys.exit(f"a run failed with exit code {process.returncode}:\n{log.read_text(errors='replace')[-3000:]}")


def kill(process: subprocess.Popen[bytes], what: str) -> None:
    """Kill -9 the process, or it and all its workers."""
    (os.kill if what == "process" else os.killpg)(process.pid, signal.SIGKILL)
    process.wait()


def runs_after(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait so long; return whether the run still goes on."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def runs_with_checkpoints(process: subprocess.Popen[bytes], folder: Path, number: int) -> bool:
    """Wait until the run has written `number` whole checkpoints; return whether it did before its end."""

    def written() -> set[Path]:
        with suppress(FileNotFoundError):  # a folder was renamed while it was looked through
            return set(folder.rglob(f"checkpoint-*/{WHOLE}"))
        return set()

    old, new = written(), set[Path]()
    while process.poll() is None:
        new |= written() - old
        if len(new) >= number:
            return True
        time.sleep(0.02)
    return False


def crash(recipe: Path, overrides: list[str], scratch: Path, kills: int, longest: float, seed: int) -> list[Kill]:
    """Run and kill; returns the kills. Finished runs are left in `scratch/run-N`."""
    generator, done, number = random.Random(seed), list[Kill](), 0
    while len(done) < kills:
        folder, log = scratch / f"run-{number}", scratch / f"run-{number}.log"
        process = start(recipe, overrides, folder, log)
        by_clock, what = len(done) % 2 == 0, ("process", "group")[len(done) // 2 % 2]
        seconds, number_written = generator.uniform(0, longest), generator.randint(1, 4)
        began = time.monotonic()
        if runs_after(process, seconds) if by_clock else runs_with_checkpoints(process, folder, number_written):
            after = time.monotonic() - began
            kill(process, what)
            at = "clock" if by_clock else f"checkpoint {number_written}"
            lines = log.read_text(errors="replace").replace(f"{scratch}/", "").split("\n")
            last_line = next((line.strip() for line in reversed(lines) if line.strip()), "")
            done.append(Kill(folder.name, at, round(after, 2), what, last_line))
            print(f"kill {len(done)} of {kills}: the {what} at {at}, {after:.1f} s, after: {last_line}", flush=True)
        else:
            finish(process, log)
            number += 1
    folder, log = scratch / f"run-{number}", scratch / f"run-{number}.log"
    finish(start(recipe, overrides, folder, log), log)
    return done


def differences(reference: Path, other: Path) -> tuple[int, list[str]]:
    """Return how many files were compared, and which differ or are there once only."""
    names = {
        path.relative_to(folder).as_posix()
        for folder in (reference, other)
        for path in folder.rglob("model.safetensors")
    }
    different = [
        name
        for name in sorted(names)
        if not all((folder / name).exists() for folder in (reference, other))
        or (reference / name).read_bytes() != (other / name).read_bytes()
    ]
    scores = [read_json(folder / "results.json")["scores"] for folder in (reference, other)]
    return len(names), [*different, *(["results.json: scores"] if scores[0] != scores[1] else [])]


def measure(recipe: Path, overrides: list[str], kills: int, seed: int, scratch: Path) -> dict[str, Any]:
    """Run the reference and the killed runs; return what is printed and written."""
    began = time.monotonic()
    log = scratch / "reference.log"
    finish(start(recipe, overrides, scratch / "reference", log), log)
    seconds = time.monotonic() - began
    print(f"reference: {seconds:.1f} s", flush=True)
    done = crash(recipe, overrides, scratch, kills, seconds, seed)
    runs = sorted(path for path in scratch.glob("run-*") if path.is_dir())
    compared = {path.name: differences(scratch / "reference", path) for path in runs}
    logs = [line.strip() for path in runs for line in path.with_suffix(".log").read_text().split("\n")]
    return {
        "recipe": recipe.name,
        "overrides": overrides,
        "seed": seed,
        "reference_seconds": round(seconds, 1),
        "kills": [asdict(one) for one in done],
        "resumed": [line for line in logs if "checkpoint" in line],
        "files_compared": sum(number for number, _ in compared.values()),
        "different": {name: different for name, (_, different) in compared.items() if different},
    }


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crash", description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of the recipe to change")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "smoke.yaml")
    parser.add_argument("--json", type=Path, help="also write the outcome to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prealign-crash-") as scratch:
        outcome = measure(options.recipe, options.overrides, options.kills, options.seed, Path(scratch))
    if options.json:
        write_json(options.json, outcome)
    for line in outcome["resumed"]:
        print(line)
    for run, different in outcome["different"].items():
        print(f"{run}: DIFFERENT: {', '.join(different)}")
    verdict = "all equal" if not outcome["different"] else "NOT EQUAL"
    print(f"{len(outcome['kills'])} kills, {outcome['files_compared']} files of weights compared: {verdict}")
    return bool(outcome["different"])


if __name__ == "__main__":
    sys.exit(main())
