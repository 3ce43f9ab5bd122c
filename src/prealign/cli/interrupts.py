"""Interrupts: Ctrl-C ends a command, without a traceback, however often it is pressed.

1. The first interrupt raises KeyboardInterrupt, which stops the work. Workers end by `prealign.workers`.
2. Python drops an interrupt that reaches it within a callback, such as a destructor, and prints a traceback. It is sent
   again instead, shortly after.
3. Once the command has said that it was interrupted, further interrupts are ignored: it is about to leave.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

_LATER = 0.1  # seconds


def deliver_again() -> None:
    """Send an interrupt again that Python would drop within a callback."""
    others = sys.unraisablehook

    def hook(dropped: Any) -> None:
        if isinstance(dropped.exc_value, KeyboardInterrupt):
            again = threading.Timer(_LATER, os.kill, (os.getpid(), signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            others(dropped)

    sys.unraisablehook = hook


def ignore() -> None:
    """Ignore further interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
