"""A person who demonstrates, and the overrides that make a run on the simulated arm small and its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped

from moto_msgs.msg import RobotState
from moto_ros.contract import topics
from moto_ros.ros import qos
from support.franky_server import free_address
from support.graph import Graph

GAIN = 2.0
"""Commanded speed for each metre of distance to the goal, 1/s."""


class Demonstrator:
    """Guides the hand to a goal by twists, as somebody with a 6-D mouse does."""

    def __init__(self, graph: Graph, goal: tuple[float, float, float], speed: float = 0.18) -> None:
        """Begin to guide; `speed` in m/s is the most that is commanded along an axis."""
        node = graph.peer("human").node
        self._goal, self._speed, self._place = np.array(goal), speed, None
        self._node = node
        self._twists = node.create_publisher(TwistStamped, topics.OPERATOR_TWIST, qos.stream_out())
        node.create_subscription(RobotState, topics.ROBOT_STATE, self._seen, qos.newest())
        node.create_timer(0.05, self._command)

    def _seen(self, state: RobotState) -> None:
        point: Any = state.ee_pose.position
        self._place = np.array([point.x, point.y, point.z])

    def _command(self) -> None:
        if self._place is None:
            return
        way = np.clip(GAIN * (self._goal - self._place), -self._speed, self._speed)
        message = TwistStamped()
        message.header.stamp, message.header.frame_id = self._node.get_clock().now().to_msg(), "base"
        message.twist.linear.x, message.twist.linear.y, message.twist.linear.z = map(float, way)
        self._twists.publish(message)


def small_run(steps: int, served: str = "") -> list[str]:
    """Return `-p` options of a run of short episodes with small pictures, on a simulated arm of this process.

    `served`: the address of an arm that is there, for the backend `franka`; without it, of one that the system starts.
    """
    address = served or free_address()
    server = [] if served else [f"franka_server.address:={address}"]
    settings = [*server, f"franka.host:={address}", f"max_steps:={steps}", "threads:=1"]
    cameras = [
        "camera.cameras:=[front]",
        "camera.devices:=[synthetic-1]",
        "camera.width:=[160]",
        "camera.height:=[120]",
    ]
    return [word for setting in settings + cameras for word in ("-p", setting)]
