"""A person with a joystick and a 6-D mouse, as a test plays one: input goes on being published until it is changed."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import Joy

from moto_ros.contract import topics
from moto_ros.ros import qos
from support.graph import Graph

RATE = 50.0
BUTTONS = {"gripper": 0, "failure": 1, "discard": 2, "success": 3, "dead_man": 5, "ready": 6, "start": 7, "stop": 8}
"""Places of the buttons as config/nodes/operator.yaml has them."""


class Person:
    """Publishes at `RATE` what is set by `push`, `move` and `press`; nothing of a device after `drop`."""

    def __init__(self, graph: Graph) -> None:
        self.node = graph.peer("person").node
        self._joy_out = self.node.create_publisher(Joy, topics.OPERATOR_JOY, qos.event())
        self._twist_out = self.node.create_publisher(TwistStamped, topics.OPERATOR_TWIST, qos.event())
        self._joy: Joy | None = None
        self._twist: TwistStamped | None = None
        self.age = 0.0
        self.node.create_timer(1.0 / RATE, self._publish)

    def _publish(self) -> None:
        stamp = (self.node.get_clock().now()).nanoseconds - round(self.age * 1e9)
        for publisher, message in ((self._joy_out, self._joy), (self._twist_out, self._twist)):
            if message is not None:
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
                publisher.publish(message)

    def push(self, x: float = 0.0, y: float = 0.0, **pressed: bool) -> None:
        """Hold the left stick at `x` forward and `y` left, with these buttons down."""
        states = [0] * 11
        for name, down in pressed.items():
            states[BUTTONS[name]] = int(down)
        self._joy = Joy(axes=[y, x, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], buttons=states)

    def move(self, x: float, y: float = 0.0, z: float = 0.0, frame: str = "") -> None:
        """Hold the mouse so that it says this velocity (m/s)."""
        self._twist = TwistStamped()
        self._twist.header.frame_id = frame
        linear: Any = self._twist.twist.linear
        linear.x, linear.y, linear.z = x, y, z

    def drop(self) -> None:
        """Say nothing any more: out of range, or unplugged."""
        self._joy = self._twist = None
