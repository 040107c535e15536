"""Run a system's processes without the ROS launch package: prefixed output, clean stop, exit status passed on."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from moto_ros.stopping import STOP_TIME, StopFlag, signals_handled_by
from moto_ros.systems import guardian
from moto_ros.systems.bringup import Process, System
from moto_ros.systems.output import Output

SYSTEM = "system"
"""The name before lines of this process."""

PERIOD = 0.1
"""Seconds between two polls of signals and processes."""

LOG_FORMAT = {"RCUTILS_CONSOLE_OUTPUT_FORMAT": "{message}"}
"""How nodes write their log here, where each line gets the time and the node's name.

A format that the user has set for other nodes does not count: it would repeat both, or leave out the message.
"""

CHUNK = 65536
READER_GONE = 128 + signal.SIGPIPE
"""Exit status of a run whose output has lost its reader."""


def run_system(system: System) -> int:
    """Start every process of `system` and wait until one ends; stop the others and return its exit status.

    Output goes to the screen and to `<run>/logs/<system>.log`. A process ended by signal n gives status 128 + n, and so
    does signal n (SIGINT, SIGTERM, SIGHUP) to this process; SIGPIPE where the screen is a pipe that loses its reader.
    """
    system.check()
    system.write_parameters()
    width = max(len(name) for name in (SYSTEM, *(process.node for process in system.processes)))
    stop = StopFlag()
    with signals_handled_by(stop.set):
        output = Output(system.run / "logs" / f"{system.name}.log", width)
        try:
            with watched_by_guardian() as guarded:
                status = Runner(system, output, stop, guarded).run()
        finally:
            output.close()
    # A signal after the last process ended: the caller must not start the next system.
    return stop.status or status


class Child:
    """A node's process, in a session and process group of its own: Ctrl-C reaches it through this process only."""

    def __init__(self, process: Process, system: System, output: int | None = None) -> None:
        """Start it; its output goes where this process's goes, or with `output` subprocess.PIPE to `lines`."""
        self.name = process.node
        self._popen = subprocess.Popen(
            process.command(system.namespace),
            shell=True,
            env={**os.environ, **system.environment, **LOG_FORMAT},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._popen.pid
        self._rest = b""
        if self._popen.stdout is not None:
            os.set_blocking(self._popen.stdout.fileno(), False)

    def send(self, number: int) -> None:
        """Send a signal to the process, and to what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def ended(self) -> bool:
        """Return whether the process has ended; what it has started ends with it."""
        if self._popen.poll() is None:
            return False
        self.send(signal.SIGKILL)
        return True

    @property
    def status(self) -> int:
        """Return the exit status, 128 + n after signal n."""
        code = self._popen.returncode
        return 128 - code if code < 0 else code

    @property
    def code(self) -> int:
        """Return the exit status, -n after signal n."""
        return int(self._popen.returncode)

    def fileno(self) -> int:
        """Return the descriptor that its output is read from, -1 after the output's end."""
        stdout = self._popen.stdout
        return -1 if stdout is None or stdout.closed else stdout.fileno()

    def lines(self) -> str:
        """Return the whole lines that it has written and are not read yet."""
        try:
            found = os.read(self.fileno(), CHUNK)
        except BlockingIOError:
            return ""
        if not found and self._popen.stdout is not None:
            self._popen.stdout.close()
        whole, mark, self._rest = (self._rest + found).rpartition(b"\n") if found else (self._rest, b"", b"")
        return (whole + mark).decode("utf-8", "replace")

    def last_lines(self) -> Iterator[str]:
        """Yield what is left to read after its end, without waiting for others that hold the pipe open."""
        while self.fileno() >= 0 and (text := self.lines()):
            yield text
        yield self._rest.decode("utf-8", "replace")


class Runner:
    """Runs the processes of a system until a signal, the end of any of them, or a screen that has lost its reader."""

    def __init__(self, system: System, output: Output, stop: StopFlag, guarded: Guarded) -> None:
        self._system, self._output, self._stop, self._guarded = system, output, stop, guarded
        self._children: list[Child] = []
        self._status: int | None = None
        self._end: float | None = None

    def run(self) -> int:
        """Run all to the end and return the exit status."""
        try:
            for process in self._system.processes:
                if not self._stop:
                    self._start(process)
            while self._children:
                self._read()
                self._notice_ends()
                self._stop_if_due()
        finally:
            stop_children(self._children)
        return self._status or 0

    def _say(self, text: str) -> None:
        self._output.write_line(SYSTEM, text)

    def _start(self, process: Process) -> None:
        child = Child(process, self._system, subprocess.PIPE)
        self._children.append(child)
        self._guarded.add(child.pid)
        self._say(f"{child.name} started (pid={child.pid})")

    def _read(self) -> None:
        by_number = {child.fileno(): child for child in self._children if child.fileno() >= 0}
        poll = select.poll()
        for number in by_number:
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll(1000 * PERIOD):
            self._output.write_line(by_number[number].name, by_number[number].lines())

    def _notice_ends(self) -> None:
        for child in [child for child in self._children if child.ended()]:
            self._children.remove(child)
            self._guarded.remove(child.pid)
            for text in child.last_lines():
                self._output.write_line(child.name, text)
            self._say(f"{child.name} stopped (rc={child.code})")
            self._status = child.status if self._status is None else self._status

    def _stop_if_due(self) -> None:
        """Stop the processes when it is time to; signals are sent before anything is printed."""
        if self._end is None:
            if self._stop:
                self._ask(f"{signal.Signals(self._stop.number).name} received")
            elif self._output.reader_gone:
                self._status = READER_GONE
                self._ask("nothing reads the output any more")
            elif self._status is not None:
                self._ask("")
        elif time.monotonic() > self._end:
            self._end = float("inf")
            self._send(signal.SIGKILL)

    def _ask(self, why: str) -> None:
        self._end = time.monotonic() + STOP_TIME
        self._send(signal.SIGTERM, why)

    def _send(self, number: signal.Signals, why: str = "") -> None:
        for child in self._children:
            child.send(number)
        self._say(why)
        for child in self._children:
            self._say(f"sending {number.name} to {child.name} (pid {child.pid})")


class Guarded:
    """Tells the guardian which process groups to end should this process be killed; see `guardian`."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def add(self, group: int) -> None:
        """Add a process group that is to be ended."""
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Remove a process group that has ended."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # the guardian was killed; nodes watch their parent themselves
            os.write(self._pipe, line.encode())


@contextlib.contextmanager
def watched_by_guardian() -> Iterator[Guarded]:
    """Run the guardian for the block."""
    command = [sys.executable, "-I", "-S", str(Path(guardian.__file__)), str(STOP_TIME)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True)
    assert process.stdin is not None
    try:
        yield Guarded(process.stdin.fileno())
    finally:
        process.stdin.close()
        process.wait()


def stop_children(children: Iterable[Child], stop_time: float = STOP_TIME) -> None:
    """Ask processes to end, and kill those that have not after `stop_time` seconds."""
    left, end = list(children), time.monotonic() + stop_time
    for child in left:
        child.send(signal.SIGTERM)
    while left := [child for child in left if not child.ended()]:
        time.sleep(PERIOD)
        if time.monotonic() > end:
            for child in left:
                child.send(signal.SIGKILL)
