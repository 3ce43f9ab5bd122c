from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, get_args

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from prealign.errors import RunFolderError
from prealign.files import read_json, write_json, write_text
from prealign.recipe.file import dump_recipe
from prealign.recipe.section import Section
from prealign.recipe.sections import Recipe
from prealign.run.folder import FORMAT, RunFolder, begin_stage, fingerprint, finished, run_stage, share_stage
from prealign.run.locks import alone_in

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def write_result(text: str) -> Any:
    def work(folder: Path) -> dict[str, Any]:
        (folder / "result.txt").write_text(text)
        return {"text": text}

    return work


def recipe(name: str, **sections: Any) -> str:
    base = {"source": {"text": ["en.txt"]}, "targets": [{"language": "en-clone"}]}
    return dump_recipe(Recipe.model_validate({"name": name, **base, **sections}))


# Files


@given(JSON, JSON)
def test_fingerprints_tell_values_apart(one: Any, other: Any) -> None:
    assert (fingerprint(one) == fingerprint(other)) == _same(one, other)
    assert len(fingerprint(one)) == 16


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: the order of keys is no difference, and True is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


def test_fingerprints_keep_their_parts_apart() -> None:
    assert len({fingerprint(1, 2), fingerprint([1, 2]), fingerprint(12), fingerprint(2, 1)}) == 4


def test_files_are_written_whole_and_nothing_is_left_beside_them(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "größer\n")
    write_text(tmp_path / "a" / "b.txt", "日本")
    write_json(tmp_path / "a" / "c.json", {"ü": [1, None]})
    assert files(tmp_path) == {"a/b.txt": "日本", "a/c.json": '{\n "ü": [\n  1,\n  null\n ]\n}\n'}
    assert read_json(tmp_path / "a" / "c.json") == {"ü": [1, None]}


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"bad": object()})
    assert files(tmp_path) == {"a.json": "[\n 1\n]\n"}


@pytest.mark.parametrize("content", [b'{"a": 1', b"", b"\xff"])
def test_damaged_json_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stage.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"stage\.json: damaged .*Remove it and run again"):
        read_json(tmp_path / "stage.json")


# Claiming


@pytest.mark.parametrize("name", ["demo", "1.0", "2026", "true", "null", "a-b_c.d", "1e5"])
def test_a_folder_is_claimed_by_its_recipe_and_again(tmp_path: Path, name: str) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(name, recipe(name))
    folder.claim(name, recipe(name, seeds=[1, 2]))
    assert folder.recipe.read_text() == recipe(name, seeds=[1, 2])


def test_an_empty_folder_may_be_claimed(tmp_path: Path) -> None:
    RunFolder(tmp_path).claim("demo", recipe("demo"))
    assert files(tmp_path) == {"recipe.yaml": recipe("demo")}


def test_the_folder_of_another_recipe_stays_as_it_is(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.claim("demo", recipe("demo"))
    with pytest.raises(
        RunFolderError, match=r"is the run folder of another recipe \('name: demo', this one is 'demo2'"
    ):
        folder.claim("demo2", recipe("demo2"))
    assert files(tmp_path) == {"recipe.yaml": recipe("demo")}


def test_a_folder_of_other_things_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunFolderError, match="is not empty and not a run folder"):
        RunFolder(tmp_path).claim("demo", recipe("demo"))
    assert files(tmp_path) == {"thesis.tex": "x"}


# Stages


def test_a_stage_is_recorded_and_fresh_while_its_fingerprint_holds(tmp_path: Path) -> None:
    stage = tmp_path / "arms" / "joint" / "seed-0" / "pretrain"
    assert finished(stage, "m1") is None
    record = run_stage(stage, "m1", write_result("one"))
    assert record == {"fingerprint": "m1", "text": "one"}
    assert finished(stage, "m1") == record
    assert finished(stage, "m2") is None
    assert set(files(tmp_path)) == {
        "arms/joint/seed-0/pretrain/result.txt",
        "arms/joint/seed-0/pretrain/stage.json",
        "arms/joint/seed-0/pretrain/whole.json",
    }


def test_work_done_again_replaces_all_of_the_former(tmp_path: Path) -> None:
    stage = tmp_path / "align"
    run_stage(stage, "m1", write_result("one"))
    (stage / "old.txt").write_text("old")
    run_stage(stage, "m2", write_result("two"))
    assert set(files(tmp_path)) == {"align/result.txt", "align/stage.json", "align/whole.json"}
    assert finished(stage, "m2") == {"fingerprint": "m2", "text": "two"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_work_that_fails_leaves_the_former_stage(tmp_path: Path, error: type[BaseException]) -> None:
    stage = tmp_path / "align"
    run_stage(stage, "m1", write_result("one"))
    before = files(stage)

    def fail(folder: Path) -> dict[str, Any]:
        (folder / "result.txt").write_text("half")
        raise error

    with pytest.raises(error):
        run_stage(stage, "m2", fail)
    assert files(stage) == before
    assert finished(stage, "m1") is not None
    assert finished(stage, "m2") is None


def test_what_a_failure_left_behind_is_not_in_the_next_attempt(tmp_path: Path) -> None:
    stage = tmp_path / "align"

    def fail(folder: Path) -> dict[str, Any]:
        (folder / "half.txt").write_text("half")
        raise ValueError

    with pytest.raises(ValueError):
        run_stage(stage, "m", fail)
    assert not stage.exists()
    run_stage(stage, "m", write_result("whole"))
    assert set(files(tmp_path)) == {"align/result.txt", "align/stage.json", "align/whole.json"}


def test_scratch_that_is_removed_by_half_does_not_count_as_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = begin_stage(tmp_path / "align", "m") / "scratch"
    (scratch / "blocks").mkdir()
    (scratch / "blocks" / "half").write_text("x")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            begin_stage(tmp_path / "align", "m", anew=True)
    begin_stage(tmp_path / "align", "m")
    assert not (scratch / "blocks").exists()


def test_a_shared_stage_is_a_copy_that_takes_no_space(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    first, second = run.stage("prealign", 0, "align"), run.stage("prealign_no_cs", 0, "align")
    run_stage(first, "m", write_result("one"))
    run_stage(second, "old", write_result("old"))
    share_stage(second, first, "m")
    share_stage(second, first, "m")
    assert finished(second, "m") == finished(first, "m") is not None
    assert (first / "result.txt").samefile(second / "result.txt")
    assert not second.with_name("align.partial").exists()


@pytest.mark.parametrize("again", ["first", "second"])
def test_stages_that_were_shared_part_when_one_is_made_again(tmp_path: Path, again: str) -> None:
    folders = {"first": tmp_path / "a" / "align", "second": tmp_path / "b" / "align"}
    run_stage(folders["first"], "m", write_result("one"))
    share_stage(folders["second"], folders["first"], "m")
    run_stage(folders[again], "n", write_result("two"))
    (other,) = (folder for name, folder in folders.items() if name != again)
    assert finished(folders[again], "n") == {"fingerprint": "n", "text": "two"}
    assert finished(other, "m") == {"fingerprint": "m", "text": "one"}
    assert (other / "result.txt").read_text() == "one"


def test_nothing_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        share_stage(tmp_path / "b", tmp_path / "gone", "m")
    assert finished(tmp_path / "b", "m") is None


def test_the_finished_stages_of_a_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for arm, seed in (("joint", 1), ("joint", 0), ("prealign", 0)):
        run_stage(run.stage(arm, seed, "evaluate"), "m", write_result(arm))
    run_stage(run.stage("joint", 0, "pretrain"), "m", write_result("x"))
    run.stage("prealign", 1, "evaluate.partial").mkdir(parents=True)
    assert [path.relative_to(tmp_path / "arms").as_posix() for path in run.stages("evaluate")] == [
        "joint/seed-0/evaluate",
        "joint/seed-1/evaluate",
        "prealign/seed-0/evaluate",
    ]


HOLD = """
import sys, time
from pathlib import Path
from prealign.run.locks import alone_in
with alone_in(Path(sys.argv[1]), patient=False):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_is_one_processes_until_that_ends_however_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "arms" / "joint" / "seed-0"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with (
            pytest.raises(RunFolderError, match=rf"seed-0: another process is at work there \(process {other.pid} on"),
            alone_in(folder, patient=False),
        ):
            pass
        with alone_in(folder.with_name("seed-1"), patient=False):
            pass
        other.kill()
        other.wait()
    with alone_in(folder, patient=False):
        assert not folder.exists()


def test_a_changed_default_or_template_raises_the_format() -> None:
    """Fingerprints leave defaults out. A new setting only needs the new value here; another default raises FORMAT too."""
    sections = [annotation for field in Recipe.model_fields.values() for annotation in _sections(field.annotation)]
    defaults = {
        section.__name__: {
            name: field.default for name, field in section.model_fields.items() if not field.is_required()
        }
        for section in sections
    }
    templates = (package_files("prealign") / "recipe" / "facts.yaml").read_text(encoding="utf-8")
    assert (
        FORMAT,
        xxhash.xxh64_hexdigest(json.dumps([defaults, templates], sort_keys=True, default=str).encode()),
    ) == (
        5,
        "b27a46b6706432f5",
    )


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        inner = [found for field in annotation.model_fields.values() for found in _sections(field.annotation)]
        return [annotation, *inner]
    return [found for part in get_args(annotation) for found in _sections(part)]
