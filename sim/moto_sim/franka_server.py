"""Node that runs the process of the simulated Franka arm, in place of the arm's control box."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import partial
from typing import IO, Any

from moto_ros.ros import process
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode
from moto_ros.ros.process import Finished
from moto_sim.settings import FrankaServerSettings

END = 8.0
"""Seconds that the arm's process is given to end: it waits for the driver, see LINGER in `franka_protocol`."""


class FrankaServerNode(MotoNode[FrankaServerSettings]):
    """Runs one simulated arm on the loopback interface; ends when its process does."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Start the arm's process."""
        super().__init__("franka_server", FrankaServerSettings, given)
        # 1 kHz in a process of its own: the executor's thread would share the interpreter with it.
        command = [sys.executable, "-m", "moto_sim.franka_process", "--address", self.settings.address]
        self._arm = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
        )
        self._ready: Readiness | None = None
        threading.Thread(target=self._read_output, args=(self._arm.stdout,), daemon=True).start()

    def _read_output(self, output: IO[str]) -> None:
        for line in output:
            self.mailbox.post(partial(self._on_line, line.strip()))
        self.mailbox.post(self._on_end)

    def _on_line(self, line: str) -> None:
        log = self.get_logger()
        (log.error if line.startswith("error: ") else log.info)(line)
        if self._ready is None:
            self._ready = Readiness(self, self.settings.wait_for)

    def _on_end(self) -> None:
        status = self._arm.wait()
        self.get_logger().error(f"the simulated arm's process ended with status {status}; start it again")
        raise Finished(status or 1)

    def report(self) -> NodeReport:
        """Return the address."""
        return NodeReport({"address": self.settings.address}, warning=self.health.sentence())

    def destroy_node(self) -> None:
        """End the arm's process."""
        if self._arm.stdin is not None:
            self._arm.stdin.close()
        try:
            self._arm.wait(END)
        except subprocess.TimeoutExpired:
            self._arm.kill()
            self._arm.wait()
        super().destroy_node()


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(FrankaServerNode))


if __name__ == "__main__":
    main()
