"""The node of `moto workspace`: collects the positions of the end effector while a person guides the arm."""

from __future__ import annotations

from rclpy.node import Node

from moto_msgs.msg import RobotState
from moto_ros.contract import topics
from moto_ros.errors import MotoError
from moto_ros.robot.workspace import GuidedBox
from moto_ros.ros import qos


class WorkspaceWatch(Node):
    """Adds every measured position of the end effector to a box."""

    def __init__(self, box: GuidedBox, session: int | None = None) -> None:
        """Subscribe to the states of the system `session`; None: of the first one that publishes."""
        super().__init__("workspace")
        self._box, self._session = box, session
        self.create_subscription(RobotState, topics.ROBOT_STATE, self._seen, qos.every())

    def _seen(self, state: RobotState) -> None:
        if self._session is None:
            self._session = state.session
        if state.session != self._session:
            raise MotoError(
                f"{topics.ROBOT_STATE}: two systems publish it (sessions {self._session}, {state.session}), "
                "expected one; end one of them, or give it another namespace or ROS domain"
            )
        point = state.ee_pose.position
        self._box.add((point.x, point.y, point.z))
