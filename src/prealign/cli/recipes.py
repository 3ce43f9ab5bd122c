"""The verbs of packaged recipes: list them, and run the demo.

`prealign.cli.main` registers them.
"""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import Any

from prealign.cli.app import Force, Json, Out, Overrides, command
from prealign.cli.running import run_recipe
from prealign.cli.terminal import console
from prealign.recipe.packaged import packaged_path, packaged_recipes


@command
def recipes(as_json: Json = False) -> list[dict[str, Any]]:
    """List the recipes that come with the package: what each shows, its time, and its data."""
    known = packaged_recipes()
    width = max(len(one.name) for one in known) + 2
    for one in known:
        for label, text in ((one.name, one.shows), ("", f"time: {one.time}"), ("", f"data: {one.data}")):
            console.print(textwrap.fill(text, 80, initial_indent=label.ljust(width), subsequent_indent=" " * width))
    console.print("\n`prealign demo` runs the demo. `prealign init NAME` copies a recipe, to change it.")
    return [asdict(one) for one in known]


@command
def demo(overrides: Overrides = None, out: Out = None, force: Force = False) -> None:
    """Run the packaged recipe `demo`: joint training and PreAlign on real text, about five minutes on two CPU cores."""
    run_recipe(packaged_path("demo"), overrides, out, force)
