"""Hooks of the documentation site (mkdocs.yml): pages and links that the repository keeps outside docs/.

1. The pages of `PAGES` at the root of the repository become pages of the site.
2. A file outside docs/ that a page links to (a recipe, say) becomes a file of the site, under `files/`.
3. Links are rewritten to these places; links that lead nowhere stay, and the strict build reports them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[)#])")


def source_of(page: str) -> Path:
    """Return the file of a page."""
    return ROOT / page if page in PAGES else ROOT / "docs" / page


def outside(page: str) -> dict[str, str]:
    """Return the links of a page that lead out of docs/, or come from there: link to path within the site."""
    places = {}
    source = source_of(page)
    for link in LINK.findall(source.read_text(encoding="utf-8")):
        target = (source.parent / link).resolve()
        if not target.is_file() or not target.is_relative_to(ROOT):
            continue
        inside = target.is_relative_to(ROOT / "docs")
        if target.name in PAGES and target.parent == ROOT:
            places[link] = target.name
        elif not inside:
            places[link] = f"files/{target.relative_to(ROOT).as_posix()}"
        elif page in PAGES:
            places[link] = target.relative_to(ROOT / "docs").as_posix()
    return places


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and files from outside docs/."""
    for name in PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    for page in [file.src_uri for file in files.documentation_pages()]:
        for place in outside(page).values():
            if place.startswith("files/") and place not in files.src_uris:
                path = ROOT / place.removeprefix("files/")
                files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links to files outside docs/."""
    places = outside(page.file.src_uri)
    folder = str(PurePosixPath(page.file.src_uri).parent)

    def rewritten(found: re.Match[str]) -> str:
        place = places.get(found.group(1))
        return found.group(1) if place is None else os.path.relpath(place, folder).replace(os.sep, "/")

    return LINK.sub(rewritten, markdown)
