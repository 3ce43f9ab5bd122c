"""`python -m benchmarks.freedict [FOLDER]`: what `Lexicon.read` makes of the FreeDict packages that are installed.

1. Read every `freedict-xxx-yyy.index` of the folder (Debian: /usr/share/dictd, packages `dict-freedict-xxx-yyy`).
2. For each, print the kept translations and these shares of them: in the target's script; a line of the entry that is not
   the first of a sense, in a file made from WikDict (a definition); ending in a full stop after four letters or more;
   with a comma, semicolon or bar left inside.
3. Exit with 1 if a definition or such a full stop is kept, or if any dictionary has less than 95 % in the target's script.

Which lines are definitions is found here by another rule than the reader's: lines that stand second or later in their sense
and hold three words or more.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from prealign.errors import PrealignError
from prealign.languages import base, plausible_script
from prealign.lexicon import Lexicon
from prealign.lexicon.formats.dictd import NAMED, dictd_lines

LEAST = 0.95
_FULL_STOP = re.compile(r"(?:^|\s)[^\s.]*[^\W\d_]{4,}\.$")
_SEPARATOR = re.compile(r",\s|[;|]")


def measure(path: Path) -> tuple[Counter[str], bool]:
    """Return the counts of one dictionary, and whether it is made from WikDict."""
    found = NAMED.search(path.name)
    assert found is not None, path
    source, target = map(base, found.groups())
    lexicon = Lexicon.read(path, source=source, target=target)
    definitions, wikdict = _definitions(path)
    counts: Counter[str] = Counter()
    for group in lexicon:
        for sense in group.translations[target]:
            counts["kept"] += 1
            counts["script"] += plausible_script(sense, target)
            counts["definitions"] += sense in definitions.get(group.word.casefold(), ())
            counts["stops"] += _FULL_STOP.search(sense) is not None
            counts["lists"] += _SEPARATOR.search(re.sub(r"\(.*?\)", "", sense)) is not None
    return counts, wikdict


def _definitions(path: Path) -> tuple[dict[str, set[str]], bool]:
    """Return the definitions of each headword of a file made from WikDict, in lower case; none for others."""
    definitions: dict[str, set[str]] = {}
    first: dict[str, set[str]] = {}
    wikdict = False
    for record in dictd_lines(path):
        head, *lines = record.decode(errors="replace").split("\n")
        wikdict = wikdict or (head.startswith("00") and "wikdict" in record.decode(errors="replace").casefold())
        word = lines[0].split(" /")[0].split(" <")[0].casefold() if lines else ""
        for number, line in enumerate(lines[1:]):
            starts = number == 0 or re.match(r"\d+\. ", line)
            if starts:
                first.setdefault(word, set()).add(line)
            elif len(line.split()) >= 3:
                definitions.setdefault(word, set()).add(line.strip())
    shared = {
        word: {d for d in found if not any(d in line for line in first.get(word, ()))}
        for word, found in definitions.items()
    }
    return (shared if wikdict else {}), wikdict


def main(folder: Path) -> int:
    """Measure the dictionaries of a folder; return the exit code."""
    paths = sorted(folder.glob("freedict-*-*.index"))
    print(f"{len(paths)} dictionaries of {folder}")
    total: Counter[str] = Counter()
    failed = []
    for path in paths:
        try:
            counts, wikdict = measure(path)
        except PrealignError as error:
            print(f"{path.stem}: {str(error).partition(chr(10))[0]}")
            failed.append(path.stem)
            continue
        total += counts
        script = counts["script"] / counts["kept"]
        if script < LEAST or counts["definitions"] or counts["stops"]:
            failed.append(path.stem)
        print(f"{path.stem[9:]}{' WikDict' if wikdict else ''}: {_told(counts)}", flush=True)
    print(f"all: {_told(total)}\nnot as they should be: {', '.join(failed) or 'none'}")
    return bool(failed)


def _told(counts: Counter[str]) -> str:
    return (
        f"{counts['kept']:,} kept, {counts['script'] / max(counts['kept'], 1):.2%} in the target's script, "
        f"{counts['definitions']:,} definitions, {counts['stops']:,} full stops, {counts['lists']:,} lists"
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/dictd")))
