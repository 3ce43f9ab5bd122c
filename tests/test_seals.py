"""Seals of folders: every change of a sealed file is noticed, and named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from prealign.seals import WHOLE, damage, is_sealed, seal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {"a.json": b"[1]", "inner/b.bin": bytes(range(256)), "empty": b"", "scratch/c": b"c"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    seal(tmp_path, without="scratch")
    return tmp_path


def test_a_sealed_folder_is_whole_with_more_files_and_without_scratch(folder: Path) -> None:
    assert is_sealed(folder) and damage(folder) is damage(folder, read=None) is None
    (folder / "notes.txt").write_text("mine")
    (folder / "scratch" / "c").unlink()
    assert damage(folder, read=None) is None


@pytest.mark.parametrize("name", ["a.json", "inner/b.bin", "empty", WHOLE])
def test_a_file_that_is_missing_cut_or_longer_shows_by_its_size(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for other in (content[: len(content) // 2], content + b"x", b""):
        (folder / name).write_bytes(other)
        assert damage(folder) == (folder / name if other != content else None)
    (folder / name).unlink()
    assert damage(folder) == folder / name


@pytest.mark.parametrize("place", [0, 100, 255])
def test_a_flipped_bit_shows_when_its_file_is_read(folder: Path, place: int) -> None:
    assert damage(folder, read=None) is None, "the hash that is known from here on is not taken for the other content"
    content = bytearray((folder / "inner" / "b.bin").read_bytes())
    content[place] ^= 1
    (folder / "inner" / "b.bin").write_bytes(content)
    assert damage(folder) is damage(folder, read=["a.json"]) is None
    for read in (None, ["inner/b.bin"]):
        assert damage(folder, read=read) == folder / "inner" / "b.bin"


def test_a_file_that_the_seal_does_not_name_is_not_as_sealed(folder: Path) -> None:
    assert damage(folder, read=["stage.json"]) == folder / "stage.json"


def test_a_folder_in_the_place_of_a_file_is_damage(folder: Path) -> None:
    (folder / "empty").unlink()
    (folder / "empty").mkdir()
    assert damage(folder) == folder / "empty"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_damage(folder: Path) -> None:
    (folder / "a.json").chmod(0)
    assert damage(folder, read=None) == folder / "a.json"


@pytest.mark.parametrize(
    "content", [[], {}, {"files": []}, {"files": {"a.json": 3}}, {"files": {"a.json": ["x", "y"]}}, {"files": None}, 1]
)
def test_a_seal_of_unexpected_shape_is_damage(folder: Path, content: object) -> None:
    (folder / WHOLE).write_text(json.dumps(content))
    assert damage(folder) == folder / WHOLE
