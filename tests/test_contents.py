from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from prealign.contents import ContentCache, _check, hash_contents


def test_equal_bytes_have_equal_hashes_whatever_their_times(tmp_path: Path) -> None:
    for name, content in {"a": b"one", "b": b"one", "c": b"two", "d": b""}.items():
        (tmp_path / name).write_bytes(content)
    os.utime(tmp_path / "b", (1, 1))
    (_, a), (_, b), (_, c), (_, d) = hash_contents([tmp_path / name for name in "abcd"])
    assert a == b and len({a, c, d}) == 3


def test_files_are_hashed_across_chunks(tmp_path: Path) -> None:
    """The hash of a large file depends on each of its bytes, the last one included."""
    content = bytearray(3 * 2**20 + 1)
    hashes = set()
    for place in (0, 2**20 - 1, 2**20, len(content) - 1):
        content[place] ^= 1
        (tmp_path / "large").write_bytes(content)
        hashes |= {found for _, found in hash_contents([tmp_path / "large"])}
    assert len(hashes) == 4


def test_a_folder_counts_as_its_files_and_what_is_missing_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "b").write_text("b")
    (tmp_path / "folder" / "inner" / "a").write_text("a")
    found = hash_contents([tmp_path / "missing", tmp_path / "folder"])
    assert [path for path, _ in found] == [str(tmp_path / "folder" / name) for name in ("b", "inner/a")]
    assert found == hash_contents([tmp_path / "folder" / "b", tmp_path / "folder" / "inner" / "a"])


def test_a_cached_hash_is_that_of_the_file_through_every_change(tmp_path: Path) -> None:
    file, kept = tmp_path / "text", tmp_path / "hashes.json"
    file.write_text("the old house")
    assert ContentCache(kept).hashes([file]) == hash_contents([file])
    assert not kept.exists(), "the file is too new"
    os.utime(file, (2**32, 2**32))
    time.sleep(2.1)
    old = ContentCache(kept)
    assert old.hashes([file]) == hash_contents([file])
    written = kept.read_text()
    cached = {path: ["kept", *stats] for path, (_, *stats) in json.loads(written)["files"].items()}
    for damaged in ("", "[]", written[:-20], written.replace(hash_contents([file])[0][1][:4], "0000"), '{"files": {}}'):
        kept.write_text(damaged)
        assert ContentCache(kept).hashes([file]) == hash_contents([file])
    kept.write_text(json.dumps({"check": _check(cached), "files": cached}))
    assert ContentCache(kept).hashes([file]) == [(str(file), "kept")], "it is not read again"
    stats = file.stat()
    file.write_text("the new house")
    os.utime(file, ns=(stats.st_atime_ns, stats.st_mtime_ns))
    for cache in (old, ContentCache(kept)):
        assert cache.hashes([file]) == hash_contents([file]), "size and time are as before"
    shutil.copy2(file, tmp_path / "copy")
    (tmp_path / "copy").replace(file)
    assert ContentCache(kept).hashes([file]) == hash_contents([file])


def test_the_cache_makes_no_folder(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    os.utime(tmp_path / "text", (1, 1))
    ContentCache(tmp_path / "run" / "hashes.json").hashes([tmp_path / "text"])
    assert not (tmp_path / "run").exists()
