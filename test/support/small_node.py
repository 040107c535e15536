"""A node's process without ROS, for what starts and stops processes: its name says how it behaves."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from moto_ros.stopping import StopFlag, handle_signals

FOLDER = "SMALL_SYSTEM_FOLDER"
"""Environment variable: the folder for `<name>.pid`, when the process is ready, and `<name>.saved`, at its end."""


@dataclass(frozen=True)
class Settings:
    """It has none."""


def main() -> None:
    """Behave as the name says: `calm`, `chatty`, `hanging`, `parent`."""
    name = next(word for word in sys.argv if word.startswith("__node:=")).removeprefix("__node:=")
    folder = Path(os.environ[FOLDER])
    stop = StopFlag()
    handle_signals(stop.set)
    pid = subprocess.Popen(["sleep", "600"]).pid if name == "parent" else os.getpid()
    (folder / f"{name}.pid").write_text(str(pid))
    if name == "hanging":
        # A call that neither returns nor lets Python work, as one from C++ may: a lock (zeros) that it holds itself.
        library, lock = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
        library.pthread_mutex_lock(lock)
        library.pthread_mutex_lock(lock)
    while not stop:
        if name == "chatty":
            print("x" * 100, flush=True)
        time.sleep(0.001 if name == "chatty" else 0.02)
    print("saves its work", flush=True)
    (folder / f"{name}.saved").touch()


if __name__ == "__main__":
    main()
