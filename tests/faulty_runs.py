"""Runs of the command line that are killed, or meet an error of the disk, at a chosen event.

A server process imports everything once and forks each run. An audit hook counts the run's changes of files in its folder
(open to write, rename, remove, make a folder …); at event number `at` the fault comes.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHANGES = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link"})
_NEEDS_ROOM = frozenset({"open", "os.mkdir", "os.link"})
SMALL = 3000
"""Bytes of a file that the fault `EFBIG` still allows: libraries that write in C++ or Rust meet it too."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit status (minus the signal that killed it), its output, its number of events."""

    status: int
    output: str
    events: int


class Runs:
    """A context manager: the server of runs."""

    def __enter__(self) -> Runs:
        paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")])
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "400"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)

    def start(self, arguments: list[str], folder: Path, fault: str = "", at: int = 0) -> None:
        """Start a run whose run folder is `folder`; its fault is a signal, a name of errno, or NOSYNC (none is done)."""
        request = {"arguments": arguments, "folder": str(folder), "fault": fault, "at": at}
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        self._run = int(self._said())

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the run while this context lasts. ProcessLookupError if it has ended."""
        os.kill(self._run, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._run, signal.SIGCONT)

    def end(self) -> Outcome:
        """Wait for the end of the run."""
        return Outcome(**json.loads(self._said()))

    def _said(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline()

    def run(self, arguments: list[str], folder: Path, fault: str = "", at: int = 0) -> Outcome:
        """Do a run."""
        self.start(arguments, folder, fault, at)
        return self.end()


def _serve() -> None:
    import prealign.cli.main
    import prealign.report.page
    import prealign.run.experiment  # noqa: F401

    for line in sys.stdin:
        out, written = os.pipe()
        count, counted = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(written, 1)
            os.dup2(written, 2)
            _child(json.loads(line), counted)
        print(child, flush=True)
        os.close(written)
        os.close(counted)
        with os.fdopen(out, errors="replace") as text, os.fdopen(count, "rb") as number:
            output, events = text.read(), len(number.read())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "output": output, "events": events}), flush=True)


def _child(request: dict[str, Any], counted: int) -> None:
    from prealign.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["prealign", *request["arguments"]]
    if request["fault"] == "NOSYNC":
        os.fsync = lambda _: None
        request["fault"] = ""
    sys.addaudithook(_Fault(request["folder"], request["fault"], request["at"], counted))
    try:
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Fault:
    """The audit hook."""

    def __init__(self, folder: str, fault: str, at: int, counted: int) -> None:
        self.folder, self.fault, self.at, self.counted = folder, fault, at, counted
        self.events = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not (event in _CHANGES or (event == "open" and self._writes(arguments))):
            return
        path = str(arguments[0])
        # Removal of a whole folder names its entries relative to open folders.
        if not (path.startswith(self.folder) or (event in ("os.remove", "os.rmdir") and arguments[-1] != -1)):
            return
        self.events += 1
        os.write(self.counted, b".")
        if self.fault and self.events >= self.at:
            self._strike(event)

    @staticmethod
    def _writes(arguments: tuple[Any, ...]) -> bool:
        return bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

    def _strike(self, event: str) -> None:
        if self.fault == "EFBIG":
            resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, resource.RLIM_INFINITY))
        elif self.fault.startswith("SIG"):
            if self.events == self.at:
                os.kill(os.getpid(), getattr(signal, self.fault))
        elif event in _NEEDS_ROOM:  # a disk stays full
            number = getattr(errno, self.fault)
            raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    _serve()
