"""`python -m benchmarks [NAME ...] [--out DIR] [--quick] [--page]`: measure, keep the figures, make the page.

Some take half an hour, so each is kept with the time, load and environment of its own run, and takes the place of the one
before. Quick ones are not for the committed folder, docs/results/performance.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import alignment, batches, lexicon, memory, ranks, stage2, switching, training
from benchmarks.material import DEMO, ROOT, Material
from benchmarks.page import page, verdict
from prealign.files import read_json, write_json, write_text
from prealign.recipe.file import load_recipe
from prealign.run.provenance import provenance

BENCHMARKS = {
    "switching": switching,
    "stage2": stage2,
    "training": training,
    "ranks": ranks,
    "alignment": alignment,
    "batches": batches,
    "lexicon": lexicon,
    "memory": memory,
}
COMMITTED = ROOT / "docs" / "results" / "performance"


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all if none")
    parser.add_argument("--out", type=Path, default=COMMITTED, help="folder of results.json")
    parser.add_argument("--quick", action="store_true", help="a smoke test: too short for figures worth keeping")
    parser.add_argument("--page", action="store_true", help="measure nothing, make the page anew from results.json")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if options.quick and options.out.resolve() == COMMITTED:
        parser.error(f"{COMMITTED.relative_to(ROOT)} holds no quick runs; give another folder with --out")
    path = options.out.resolve() / "results.json"
    if options.page and not path.exists():
        parser.error(f"{path} is missing: there are no figures to make a page from")
    if not options.page:
        measure(options.names or list(BENCHMARKS), options.quick, path)
    write_page(path)
    return 0


def measure(names: list[str], quick: bool, path: Path) -> None:
    """Run benchmarks one after the other, telling each figure as it comes, and write each when it is done."""
    done: dict[str, Any] = read_json(path)["benchmarks"] if path.exists() else {}
    with tempfile.TemporaryDirectory(prefix="prealign-benchmarks-") as folder:
        materials: dict[tuple[str, ...], Material] = {}
        for name in names:
            module, load, figures = BENCHMARKS[name], os.getloadavg()[0], []
            about = (module.__doc__ or "").strip()
            print(f"{name}: {about.partition(chr(10))[0]}", flush=True)
            material = materials.setdefault(
                module.OVERRIDES, Material(Path(folder) / str(len(materials)), module.OVERRIDES)
            )
            for figure in module.run(material, quick):
                figures.append(figure)
                print(f"  {_told(figure)}", flush=True)
            origin = provenance(load_recipe(DEMO), shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]))
            done[name] = {**origin, "load": load, "quick": quick, "about": about, "figures": figures}
            write_json(path, {"schema": 2, "benchmarks": {known: done[known] for known in BENCHMARKS if known in done}})
    print(verdict({name: done[name] for name in names}))


def write_page(results: Path) -> None:
    """Write docs/performance.md for the committed results, performance.md beside any others."""
    committed = results.parent == COMMITTED
    target = ROOT / "docs" / "performance.md" if committed else results.with_name("performance.md")
    source = str(results.relative_to(ROOT / "docs")) if committed else results.name
    write_text(target, page(read_json(results), source))
    print(f"page: {target}")


def _told(figure: dict[str, Any]) -> str:
    ratio = f", {figure['ratio']:.3f} times {figure['against']}" if figure["ratio"] is not None else ""
    met = f"; {figure['target']}: {'met' if figure['met'] else 'NOT MET'}" if figure["target"] else ""
    return f"{figure['name']}: {figure['value']:,.6g} {figure['unit']}{ratio}{met}"


if __name__ == "__main__":
    sys.exit(main())
