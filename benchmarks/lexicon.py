"""Dictionaries: lines read per second on one core, and the memory that takes.

Measured is `Lexicon.read` of a dictionary of one million lines, `word<TAB>translation`, of 600,000 different words, a third
of the entries with a note to clean. The targets are 20 seconds, and 1 GB of memory for a process that does nothing else.

The reference is a loop in plain Python over the same file, which decodes each line, splits it at the tab and gathers the
translations of a word in a dict: nothing checked, cleaned or counted.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import Target, alternate, figure
from benchmarks.material import SEED, Material
from prealign.lexicon import Lexicon

OVERRIDES = ()

_LINES = 1_000_000
_WORDS = 600_000
_ROUNDS = 3

# Memory is the process's highest, so it takes one that does nothing else. On Linux `ru_maxrss` begins with the parent's.
_MEMORY = """
import resource, sys
from pathlib import Path
from prealign.lexicon import Lexicon
Lexicon.read(sys.argv[1], source="en", target="de")
status = Path("/proc/self/status")
if status.exists():
    print(next(int(line.split()[1]) * 1024 for line in status.open() if line.startswith("VmHWM")))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run(material: Material, quick: bool) -> list[dict[str, Any]]:
    """Measure; of `material` only the folder is used."""
    lines = _LINES // 20 if quick else _LINES
    path = material.folder / "dictionary.tsv"
    _write(path, lines)
    ours, theirs = alternate([lambda: _read(path), lambda: split_lines(path)], 1 if quick else _ROUNDS)
    memory = int(subprocess.run([sys.executable, "-c", _MEMORY, str(path)], check=True, capture_output=True).stdout)
    name = f"Lexicon.read, {lines:,} lines"
    return [
        figure(name, "s", ours, target=Target("value", "≤", 20)),
        figure("against the loop", "s", ours, references=theirs, against="a loop that splits lines"),
        figure(f"{name}, memory", "MB", [memory / 2**20], target=Target("value", "≤", 1024)),
    ]


def _read(path: Path) -> Lexicon:
    return Lexicon.read(path, source="en", target="de")


def split_lines(path: Path) -> dict[str, list[str]]:
    """Return the translations of each word by the plain loop."""
    gathered: dict[str, list[str]] = {}
    with path.open("rb") as file:
        for line in file:
            word, translation = line.decode().rstrip("\n").split("\t")
            gathered.setdefault(word, []).append(translation)
    return gathered


def _write(path: Path, lines: int) -> None:
    generator = random.Random(SEED)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            note = " (Notiz)" if number % 3 == 0 else ""
            file.write(f"word{generator.randrange(_WORDS)}\tWört{number}{note}\n")
