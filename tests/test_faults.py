"""Errors of the disk and of killed processes are one message, whichever library raises them."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prealign.errors import CorpusError, DiskError
from prealign.faults import disk_errors, told
from prealign.run.folder import run_stage

# Each writes 100 kB or more to a file.
WRITERS = {
    "json": "from prealign.files import write_json; write_json(path, 'x' * 100000)",
    "lines": "from prealign.files import write_lines; write_lines(path, ['x' * 100000])",
    "plain": "path.write_text('x' * 100000)",
    "safetensors": "import numpy; from safetensors.numpy import save_file; save_file({'x': numpy.zeros(30000)}, path)",
    "torch": "import torch; torch.save({'x': torch.zeros(30000)}, path)",
    "optimiser": "import torch; torch.save({'x': torch.zeros(30000)}, str(path))",
    "arrow": (
        "import pyarrow as pa; from datasets import Features, Value; from prealign.text.arrow import arrow_from_tables; "
        "t = pa.table({'x': [str(i) for i in range(30000)]}); "
        "arrow_from_tables(lambda: [t], Features({'x': Value('string')}), path)"
    ),
    "tokenizer": (
        "import tokenizers_in_memory as memory; t = memory.load('byte_bpe'); t.add_tokens([f'{i:99}' for i in range(2000)]);"
        " t.save_pretrained(path)"
    ),
    "dataset": "from datasets import Dataset; Dataset.from_dict({'x': ['y' * 100] * 3000}).save_to_disk(path)",
    "copy": "import shutil, transformers; shutil.copy(transformers.__file__, path); path.write_bytes(b'x' * 100000)",
}
PROGRAM = """
import resource, sys
from pathlib import Path
from prealign.faults import disk_errors
from prealign.errors import DiskError
name, path, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    with disk_errors(path.parent):
        {work}
except DiskError as error:
    print("TOLD", error)
"""


def written(name: str, path: Path, limit: int = 0) -> str:
    """What a program says that writes to `path`, where files have at most `limit` bytes."""
    program = PROGRAM.format(work=WRITERS[name])
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program, name, str(path), str(limit)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_without_room_is_one_message_from_every_library(tmp_path: Path, name: str) -> None:
    out = written(name, tmp_path / "new", limit=40_000)
    assert out.startswith(f"TOLD {tmp_path}") and out.count("\n") == 1, out
    assert "Free space there, or choose another folder, then run the same command again" in out


def test_a_file_in_the_way_and_a_long_name_are_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, message in (
        (tmp_path / "file" / "stage", "Not a directory|File exists"),
        (tmp_path / ("x" * 300), "File name too long. Choose a shorter name"),
        (Path("/proc/prealign"), "No such file or directory"),
    ):
        with pytest.raises(DiskError, match=message):
            run_stage(path, "m", lambda _: {})


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "EMFILE", "ENAMETOOLONG", "EISDIR"])
def test_an_error_says_file_reason_and_remedy_also_from_another_process(name: str) -> None:
    number = getattr(errno, name)
    error = OSError(number, os.strerror(number), "/x/y")
    for one in (error, pickle.loads(pickle.dumps(error))):
        message = told(one, Path("/z"))
        assert message is not None and message.startswith(f"/x/y: {os.strerror(number)}. ")
        assert message.endswith("run the same command again: what is finished is kept.")
    assert told(OSError(number, "no file"), Path("/z")) == told(OSError(number, "no file", "/z"))
    wrapped = RuntimeError("a library's own")
    wrapped.__cause__ = error
    assert told(wrapped) == told(error)


def test_errors_of_programs_are_left_alone(tmp_path: Path) -> None:
    for error in (ValueError("x"), OSError("no number"), ConnectionError("x"), RuntimeError("x"), CorpusError("x")):
        assert told(error) is None
        with pytest.raises(type(error)) as caught, disk_errors(tmp_path):
            raise error
        assert caught.value is error


LOADER = """
import os, signal, sys, torch
from prealign.faults import told
class Killed(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, i): os.kill(os.getpid(), signal.SIGKILL)
try:
    list(torch.utils.data.DataLoader(Killed(), num_workers=1))
except RuntimeError as error:
    print(told(error))
"""


def test_a_killed_process_that_loads_data_is_one_message() -> None:
    done = subprocess.run([sys.executable, "-c", LOADER], capture_output=True, text=True, check=True)
    assert "(`trainer.dataloader_num_workers`) was ended from outside, perhaps for lack of memory" in done.stdout


def test_a_stage_that_meets_an_error_of_the_disk_names_its_folder(tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, int]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskError, match=rf"^{tmp_path}/align: No space left on device\. Free space"):
        run_stage(tmp_path / "align", "m", work)


def test_an_interrupt_is_delayed_and_delivered() -> None:
    program = """
import os, signal, time
from prealign.workers import uninterrupted
try:
    with uninterrupted():
        os.kill(os.getpid(), signal.SIGINT); time.sleep(0.2); print("cleaned", flush=True)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cleaned", "interrupted"]


def test_an_interrupt_in_a_destructor_is_sent_again() -> None:
    program = """
import os, signal, time
from prealign.cli.interrupts import deliver_again
deliver_again()
class Last:
    def __del__(self): os.kill(os.getpid(), signal.SIGINT); time.sleep(0.2)
try:
    Last(); time.sleep(20)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "interrupted\n" and done.stderr == ""


def test_processes_of_a_pool_hear_no_interrupt() -> None:
    program = """
import subprocess, sys
from prealign.workers import deaf
with deaf():
    child = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(1)"], stdout=-1)
child.stdout.readline()
child.send_signal(2)
print(child.wait())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n" and signal.SIGINT == 2
