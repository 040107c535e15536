"""A node's health on /diagnostics, once a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from moto_ros.contract import topics
from moto_ros.ros import qos
from moto_ros.terminal import valid_text


@dataclass(frozen=True)
class NodeReport:
    """The state of a node: one sentence of warning or error, or none, and its figures by name."""

    values: Mapping[str, object] = field(default_factory=dict)
    warning: str = ""
    error: str = ""

    @property
    def level(self) -> bytes:
        """The diagnostic level that follows."""
        if self.error:
            return DiagnosticStatus.ERROR
        return DiagnosticStatus.WARN if self.warning else DiagnosticStatus.OK

    @property
    def message(self) -> str:
        """The sentence to show."""
        return self.error or self.warning or "ok"


class Diagnostics:
    """Publishes what `collect` returns, every `period` seconds of wall time and whenever asked."""

    def __init__(self, node: Node, collect: Callable[[], NodeReport], period: float = 1.0) -> None:
        """Create publisher and timer on `node`."""
        self._node, self._collect = node, collect
        self._publisher = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.event())
        self._timer = node.create_timer(period, self.publish)

    def publish(self) -> None:
        """Publish the present report."""
        report = self._collect()
        status = DiagnosticStatus(
            level=report.level,
            name=self._node.get_fully_qualified_name(),
            message=valid_text(report.message),
            values=[KeyValue(key=valid_text(key), value=_text(value)) for key, value in report.values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else valid_text(str(value))
