"""A node in a process of its own, to be killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class NodeProcess:
    """Runs `python -m <module>` with ROS parameters, in the test's domain; its output goes to a file."""

    def __init__(self, module: str, log: Path, parameters: Mapping[str, Any], namespace: str = "") -> None:
        """Start the process."""
        arguments = ["--ros-args", *([] if not namespace else ["-r", f"__ns:=/{namespace}"])]
        for name, value in parameters.items():
            arguments += ["-p", f"{name}:={_text(value)}"]
        paths = [str(ROOT), str(ROOT / "sim"), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        self.log = log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", module, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended; its output is shown when it has."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process as a power failure would: without any chance to clean up."""
        self._process.kill()
        self._process.wait()

    def stop(self, timeout: float = 20.0) -> int:
        """Ask the process to end, and return its exit status."""
        if self.running:
            self._process.terminate()
        return self.wait(timeout)

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for the end and return the exit status; kill it and fail the test after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the process did not end within {timeout:g} s:\n{self.output()}") from None

    def says(self, text: str, timeout: float = 30.0) -> None:
        """Wait until the output holds `text`; fail the test with the whole output otherwise."""
        end = time.monotonic() + timeout
        while text not in self.output():
            assert self.running, f"ended without saying '{text}':\n{self.output()}"
            assert time.monotonic() < end, f"did not say '{text}':\n{self.output()}"
            time.sleep(0.05)

    def output(self) -> str:
        """Return everything it has printed."""
        return self.log.read_text(errors="replace")


Start = Callable[..., NodeProcess]


@contextlib.contextmanager
def processes(folder: Path) -> Iterator[Start]:
    """Return a function that starts a node's process; whatever still runs at the end is killed."""
    started: list[NodeProcess] = []

    def start(module: str, parameters: Mapping[str, Any], namespace: str = "") -> NodeProcess:
        process = NodeProcess(module, folder / f"process_{len(started)}.log", parameters, namespace)
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
