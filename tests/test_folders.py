"""Folders behind links are read, each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from prealign.contents import hash_contents
from prealign.errors import CorpusError
from prealign.folders import tree
from prealign.text.sources import source_files


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """corpus/a.txt, corpus/in/b.txt, and links: to a folder outside, to a folder inside, and two into their own tree."""
    for name in ("corpus/a.txt", "corpus/in/b.txt", "outside/c.txt", "outside/deep/d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    folder = tmp_path / "corpus"
    for link, to in {"linked": tmp_path / "outside", "again": folder / "in", "in/loop": folder, "in/self": "."}.items():
        (folder / link).symlink_to(to, target_is_directory=True)
    (tmp_path / "outside" / "back").symlink_to(folder)
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    return folder


def names(paths: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


READ = ["a.txt", "in/b.txt", "linked/c.txt", "linked/deep/d.txt"]


def test_a_tree_has_every_real_folder_once(corpus: Path) -> None:
    found = tree(corpus)
    assert names(found.files, corpus) == READ
    assert names(found.folders, corpus) == [".", "in", "linked", "linked/deep"]
    assert names(found.repeated, corpus) == ["again", "in/loop", "in/self", "linked/back"]


def test_without_links_a_tree_is_what_rglob_finds(corpus: Path) -> None:
    root = corpus.parent / "plain"
    for i, name in enumerate(("b/x.txt", "a/y.txt", "a.txt", "a b/z.txt", ".hidden/w.txt")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(str(i))
    assert tree(root).files == sorted(path for path in root.rglob("*") if path.is_file())


def test_a_linked_folder_may_itself_be_the_root(corpus: Path) -> None:
    assert names(tree(corpus / "linked").files, corpus / "linked")[-2:] == ["c.txt", "deep/d.txt"]


def test_text_behind_a_link_is_read_and_what_repeats_is_told(corpus: Path) -> None:
    told: list[str] = []
    assert names(source_files([str(corpus)], told.append), corpus) == READ
    (repeated, other) = told
    assert "4 linked folders lead to folders that are read already" in repeated and str(corpus / "again") in repeated
    assert "1 of 5 files" in other, "a link to nothing is a file that is not read"


@pytest.mark.parametrize("pattern", ["**/*.txt", "**"])
def test_a_pattern_reads_what_the_folder_has(corpus: Path, pattern: str) -> None:
    found = source_files([str(corpus / pattern)])
    assert names(found, corpus) == READ


def test_a_pattern_of_one_folder_does_not_read_a_file_twice(corpus: Path) -> None:
    told: list[str] = []
    assert names(source_files([str(corpus / "*/b.txt")], told.append), corpus) == ["again/b.txt"]
    assert "1 linked folder leads" in told[0]
    with pytest.raises(CorpusError, match="no text at"):
        source_files([str(corpus / "**/nothing.txt")])


def test_an_edit_behind_a_link_changes_the_content_hash(corpus: Path) -> None:
    before = hash_contents([corpus])
    (corpus.parent / "outside" / "deep" / "d.txt").write_text("other")
    assert [path for path, _ in hash_contents([corpus])] == [path for path, _ in before]
    assert hash_contents([corpus]) != before
