"""The files in a folder and in all folders below it, also behind symbolic links.

1. Enter all real folders, then the folders behind links, in the order of their paths.
2. Enter no folder twice, whatever its path: a link into its own tree, or two links to one folder, repeat nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tree:
    """The folders and the files of a tree, sorted.

    others: what is neither, such as a link to nothing. repeated: links to folders that are in it already, not entered.
    """

    folders: list[Path]
    files: list[Path]
    others: list[Path]
    repeated: list[Path]


def tree(root: Path) -> Tree:
    """Return the folder `root` with everything below it. Folders that may not be listed are empty."""
    folders, files, others, repeated = list[Path](), list[Path](), list[Path](), list[Path]()
    entered = set[str]()
    waiting, links = [root], list[Path]()
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        if (real := os.path.realpath(folder)) in entered:
            repeated.append(folder)
            continue
        entered.add(real)
        folders.append(folder)
        inner = sorted(folder.iterdir()) if os.access(folder, os.R_OK | os.X_OK) else []
        files += [path for path in inner if path.is_file()]
        others += [path for path in inner if not path.is_file() and not path.is_dir()]
        waiting += [path for path in reversed(inner) if path.is_dir() and not path.is_symlink()]
        links = sorted([*links, *(path for path in inner if path.is_dir() and path.is_symlink())])
    return Tree(*map(sorted, (folders, files, others, repeated)))
