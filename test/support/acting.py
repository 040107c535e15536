"""A policy in a process of its own, to be killed and frozen: moves the hand sideways, an action each period."""

from __future__ import annotations

import time

from rclpy.node import Node

from moto_msgs.msg import Action, RobotState
from moto_ros.contract import topics
from moto_ros.ros import process, qos

PERIOD = 0.1


class ActingNode(Node):
    """Sends the action that is due, paced by what the robot has executed."""

    def __init__(self) -> None:
        super().__init__("policy")
        self._state: RobotState | None = None
        self._sent = 0.0
        self._actions = self.create_publisher(Action, topics.ACTION, qos.event())
        self.create_subscription(RobotState, topics.ROBOT_STATE, self._heard, qos.newest())
        self.create_timer(0.01, self._act)

    def _heard(self, state: RobotState) -> None:
        self._state = state

    def _act(self) -> None:
        state, now = self._state, time.monotonic()
        if state is None or state.episode == 0 or now - self._sent < PERIOD:
            return
        self._sent = now
        action = Action(episode=state.episode, step=state.step, values=[0.0, 1.0, 0.0, 0.0])
        action.state_stamp, action.header.stamp = state.header.stamp, self.get_clock().now().to_msg()
        self._actions.publish(action)


def main() -> None:
    """Act until killed."""
    raise SystemExit(process.run(ActingNode))


if __name__ == "__main__":
    main()
