"""Run a system's processes without the ROS launch package: prefixed output, clean stop, exit status passed on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

import honcho.manager
from honcho.manager import Manager
from honcho.printer import Printer

from moto_ros.bringup import System

STOP_TIME = 20
"""Seconds that a process gets to save its work after SIGTERM, before it is killed."""


class Tee:
    """A text stream that writes to the screen and to a log file."""

    def __init__(self, screen: TextIO, log: TextIO) -> None:
        self.streams = (screen, log)

    def write(self, text: str) -> None:
        """Write to both streams."""
        for stream in self.streams:
            stream.write(text)

    def flush(self) -> None:
        """Flush both streams."""
        for stream in self.streams:
            stream.flush()

    def isatty(self) -> bool:
        """Return false: colour codes have no place in the log."""
        return False


def run_system(system: System) -> int:
    """Start every process of `system` and wait until one ends; stop the others and return its exit status.

    Output goes to the screen and to `<run>/logs/<system>.log`. A process ended by signal n gives status 128 + n.
    """
    system.check()
    system.write_parameters()
    log = system.run / "logs" / f"{system.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", errors="replace") as file:
        return _status(_loop(system, file))


def _loop(system: System, log: TextIO) -> int:
    honcho.manager.KILL_WAIT = STOP_TIME
    manager = Manager(Printer(Tee(sys.stdout, log)))
    for process in system.processes:
        manager.add_process(
            process.node,
            process.command(system.namespace),
            env={**os.environ, **system.environment},
            cwd=str(Path.cwd()),
        )
    manager.loop()
    return int(manager.returncode or 0)


def _status(code: int) -> int:
    return 128 - code if code < 0 else code
