"""Stopping a process: signals set a flag, and the death of its parent process is a signal, too.

A handler that raises would do so inside whatever runs at that moment, also inside a call from C++, which turns it into
another error. Nothing here imports more than the standard library: handlers are installed before anything slow is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What asks a process to stop: Ctrl-C, `kill`, and a terminal that is closed."""

SAVE_TIME = 30
"""Seconds that a trainer may take, once it was told to stop, to finish its update and write a checkpoint. A checkpoint
that takes longer is not finished, and the run resumes from the one before."""

STOP_TIME = SAVE_TIME + 10
"""Seconds that a process gets to save its work and leave once it was told to stop, before it is killed."""

PARENT = "MOTO_PARENT_PID"
"""Environment variable: the process that started this one, and without which it has to stop."""

PERIOD = 0.2
"""Seconds between two checks of the parent process."""

Handler = Callable[[int, "FrameType | None"], Any]


class StopFlag:
    """Says whether a signal has asked this process to stop."""

    def __init__(self) -> None:
        """Begin without a request."""
        self.number = 0

    def __bool__(self) -> bool:
        """Return whether there was a request."""
        return self.number != 0

    @property
    def status(self) -> int:
        """Return the exit status of a process that this signal has stopped; 0 without one."""
        return 128 + self.number if self.number else 0

    def set(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal: keep the first one."""
        self.number = self.number or number


def handle_signals(handler: Handler) -> dict[signal.Signals, Any]:
    """Have `handler` called for every signal of SIGNALS; return the handlers before. `nohup` keeps its effect."""
    replaced = {}
    for number in SIGNALS:
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue
        replaced[number] = signal.signal(number, handler)
    return replaced


@contextlib.contextmanager
def signals_handled_by(handler: Handler) -> Iterator[None]:
    """Have `handler` called for every signal of SIGNALS within the block."""
    replaced = handle_signals(handler)
    try:
        yield
    finally:
        for number, before in replaced.items():
            signal.signal(number, before)


def leave(number: int, frame: FrameType | None = None) -> None:
    """Handle a signal while there is nothing to clean up: end the process at once, without a traceback."""
    os._exit(128 + number)


def leave_with_success(number: int, frame: FrameType | None = None) -> None:
    """Handle a signal as `leave` does, with the exit status 0 of a node that was told to stop."""
    os._exit(0)


def as_parent() -> dict[str, str]:
    """Return what a process adds to the environment of those that have to stop when it dies."""
    return {PARENT: str(os.getpid())}


def watch_parent(stop_time: float = STOP_TIME) -> None:
    """Send this process SIGTERM when its parent is gone, and SIGKILL `stop_time` seconds later; see `as_parent`."""
    expected = os.environ.get(PARENT, "")
    if not expected:
        return  # started by hand: it may outlive the shell
    parent = os.getppid()
    # What a launch prefix puts between the two (a debugger) is no reason to stop.
    gone = str(parent) != expected and not Path("/proc", expected).exists()
    threading.Thread(target=_watch, args=(0 if gone else parent, stop_time), name="parent", daemon=True).start()


def _watch(parent: int, stop_time: float) -> None:
    while os.getppid() == parent:
        time.sleep(PERIOD)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(stop_time)
    os.kill(os.getpid(), signal.SIGKILL)
