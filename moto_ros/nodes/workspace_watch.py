"""Where the end effector has been: what `moto workspace` looks at while a person guides the arm."""

from __future__ import annotations

from rclpy.node import Node

from moto_msgs.msg import RobotState
from moto_ros.robot.workspace import GuidedBox
from moto_ros.ros import names, qos


class WorkspaceWatch(Node):
    """Adds every measured position of the end effector to a box."""

    def __init__(self, box: GuidedBox) -> None:
        """Subscribe to the robot's state."""
        super().__init__("workspace")
        self._box = box
        self.create_subscription(RobotState, names.ROBOT_STATE, self._seen, qos.every())

    def _seen(self, state: RobotState) -> None:
        point = state.ee_pose.position
        self._box.add((point.x, point.y, point.z))
