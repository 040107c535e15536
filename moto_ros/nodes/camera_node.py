"""The camera node: images, calibration and health of all cameras of a robot, from the drivers of its configuration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from moto_ros.camera.node_settings import CameraNodeSettings
from moto_ros.nodes.camera_channel import Channel
from moto_ros.ros import process
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode

HEALTH_PERIOD = 1.0
"""Seconds between two health messages of a camera whose health does not change."""

GATE_PERIOD = 0.1
"""Seconds between two checks whether every camera has passed its start-up gate."""


class CameraNode(MotoNode[CameraNodeSettings]):
    """Publishes the frames of the cameras' threads. It is ready once every camera has kept its rate."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Make every camera's topics, then open the cameras."""
        super().__init__("camera", CameraNodeSettings, given)
        self.refuse_simulated_time()
        self._channels: list[Channel] = []
        self._ready: Readiness | None = None
        for setup in self.settings.setups():
            self._channels.append(Channel(self, setup))
        self.create_timer(HEALTH_PERIOD, self._publish_health)
        self._gate = self.create_timer(GATE_PERIOD, self._check_gate)
        for channel in self._channels:
            channel.start()

    def _publish_health(self) -> None:
        for channel in self._channels:
            channel.publish_health()
            channel.log_health_change()

    def _check_gate(self) -> None:
        if all(channel.stream.status.passed for channel in self._channels):
            self._gate.cancel()
            self._ready = Readiness(self, self.settings.wait_for)

    def report(self) -> NodeReport:
        """Return every camera's counts, and the first sentence of what is wrong."""
        statuses = [channel.stream.status for channel in self._channels]
        values = {name: value for channel in self._channels for name, value in channel.figures().items()}
        errors = [status.reason for status in statuses if status.reason]
        warnings = [status.warning for status in statuses if status.warning]
        return NodeReport(values, warning=next(iter(warnings), self.health.sentence()), error=next(iter(errors), ""))

    def destroy_node(self) -> None:
        """Stop the cameras, then the node."""
        for channel in self._channels:
            if not channel.close():
                self.get_logger().warning(
                    f"camera '{channel.setup.name}' does not release its driver in time; the process's end frees it"
                )
        super().destroy_node()


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(CameraNode))


if __name__ == "__main__":
    main()
