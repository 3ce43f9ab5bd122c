"""Write docs/reference/command-line.md, every verb and option, from the typer application.

`python docs/reference/command_line.py`. typer itself makes the page (`typer … utils docs`); here its list of verbs has whole
sentences.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer import Context
from typer.cli import get_docs_for_click
from typer.main import get_command

from prealign.cli.main import app

PAGE = Path(__file__).with_name("command-line.md")
TITLE = "Command-line reference"
HEAD = f"""# {TITLE}

Every verb, argument and option. The page is generated from the code (`python docs/reference/command_line.py`), and a test
holds it to the code. What the verbs are for, and what they write: [command line](../command-line.md).
"""


def _commands(group: Any) -> Iterator[Any]:
    for command in getattr(group, "commands", {}).values():
        yield command
        yield from _commands(command)


def page() -> str:
    """Return the page."""
    group = get_command(app)
    for command in _commands(group):
        command.short_help = (command.help or "").split("\n\n")[0].replace("\n", " ")
    made = get_docs_for_click(obj=group, ctx=Context(group, info_name="prealign"), name="prealign", title=TITLE)
    return HEAD + made.removeprefix(f"# {TITLE}\n").rstrip() + "\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
