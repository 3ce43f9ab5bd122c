"""A checkpoint at an interrupt: Ctrl-C, or the SIGTERM of a job scheduler, loses at most the step that is being computed.

1. While a phase trains, the first SIGINT or SIGTERM is noted instead of obeyed.
2. The step in progress ends, and the Trainer writes a checkpoint (`prealign.training.checkpoints`).
3. The signal is sent again to its handler of before, which ends the work. A second signal does so at once.
4. A signal that comes after the last step, or before an error, is sent again when training has ended.

Only with one process: several processes are not interrupted in the same step, and a checkpoint needs all of them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from prealign.events import OnProgress, Progress
from prealign.training import launch

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SaveAtInterrupt(TrainerCallback):
    """Asks for a checkpoint at the end of the step in which a signal came, then sends the signal again.

    It has to follow the callback that seals checkpoints. on_progress gets a note when the checkpoint is written.
    """

    def __init__(self, stage: str, on_progress: OnProgress) -> None:
        self.stage, self.on_progress = stage, on_progress
        self.caught: int | None = None
        self.before: dict[int, Any] = {}

    def catch(self) -> None:
        """Note signals from now on. Those that are ignored stay so."""
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if handler is not None and handler != signal.SIG_IGN:
                self.before[number] = handler
                signal.signal(number, self._note)

    def release(self) -> None:
        """Give the signals back to their handlers."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def _note(self, number: int, frame: Any) -> None:
        self.caught = number
        self.release()  # a second signal is obeyed at once

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Request a log entry and a checkpoint after a signal. At the last step there is none: the signal is sent again."""
        if self.caught is None:
            return
        if state.global_step == state.max_steps:
            self.send_again()
        else:
            control.should_log = control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Send the signal again, now that the checkpoint is written."""
        if self.caught is not None:
            note = f"interrupted: a checkpoint of step {state.global_step:,} is written"
            self.on_progress(Progress(self.stage, state.global_step, state.max_steps, note=note))
            self.send_again()

    def send_again(self) -> None:
        """Send the noted signal to its handler of before, once."""
        if self.caught is not None:
            number, self.caught = self.caught, None
            os.kill(os.getpid(), number)


@contextmanager
def saved_at_interrupts(stage: str, on_progress: OnProgress) -> Iterator[SaveAtInterrupt | None]:
    """Within the context, signals wait for a checkpoint. Yields the callback; None where signals cannot be caught."""
    if launch.count() > 1 or threading.current_thread() is not threading.main_thread():
        yield None
        return
    callback = SaveAtInterrupt(stage, on_progress)
    callback.catch()
    try:
        yield callback
    except Exception:
        callback.release()
        callback.send_again()
        raise
    finally:
        callback.release()
    callback.send_again()
