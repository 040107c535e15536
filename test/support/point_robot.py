"""A robot side without MuJoCo: a point that actions push, in lockstep, over the robot's topics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from moto_msgs.msg import Action, EpisodeState, Reward, RobotState
from moto_msgs.srv import ResetRobot
from moto_ros.contract import topics
from moto_ros.ros import qos
from moto_ros.ros.convert import image_message, to_time
from moto_ros.ros.discovery import Readiness
from support.states import state_message

PERIOD = 100_000_000
"""Nanoseconds of simulated time between two steps."""

REACHED = 0.2


class PointRobot(Node):
    """Moves a point by 0.2 x the first two action entries; success within `REACHED` of the middle.

    It ignores the actions of the episodes in `deaf_to`, as a robot that has stopped does.
    """

    def __init__(self, peers: list[str], size: int = 64) -> None:
        """Join the graph as the node `sim`."""
        super().__init__("sim")
        self._size, self._time, self._step, self._episode = size, 0, 0, 0
        self._slot = 0
        self._position = np.zeros(2)
        self.moved: list[Mapping[str, Any]] = []
        self._image = self.create_publisher(Image, topics.camera_image("agent"), qos.stream_out())
        self._state = self.create_publisher(RobotState, topics.ROBOT_STATE, qos.stream_out())
        self._reward = self.create_publisher(Reward, topics.REWARD, qos.event())
        self.create_subscription(Action, topics.ACTION, self._act, qos.event())
        self.create_subscription(EpisodeState, topics.EPISODE_STATE, self._heard, qos.latched())
        self.create_service(ResetRobot, topics.ROBOT_RESET, self._reset)
        self._running = False
        self.deaf_to: set[int] = set()
        self._ready = Readiness(self, peers)

    def _heard(self, state: EpisodeState) -> None:
        self._running = state.phase == EpisodeState.PHASE_RUNNING

    def _reset(self, request: ResetRobot.Request, response: ResetRobot.Response) -> ResetRobot.Response:
        self._position = np.random.default_rng(request.seed).uniform(-1, 1, 2)
        self._episode, self._step = request.episode, 0
        self._slot += 1000 * PERIOD  # an action that comes after the end of an episode must not shift later stamps
        self._time = self._slot
        response.success, response.stamp = True, to_time(self._time)
        self._observe()
        return response

    def _act(self, action: Action) -> None:
        if action.episode in self.deaf_to:
            return
        if not self._running or (action.episode, action.step) != (self._episode, self._step):
            return
        self._position = np.clip(self._position + 0.2 * np.array(action.values[:2]), -1, 1)
        self._step += 1
        self._time += PERIOD
        success = bool(np.linalg.norm(self._position) < REACHED)
        self.moved.append({"episode": action.episode, "version": action.policy_version})
        self._observe()
        reward = Reward(episode=self._episode, step=self._step, value=float(success), success=success)
        reward.header.stamp = to_time(self._time)
        self._reward.publish(reward)

    def _observe(self) -> None:
        pixels = np.zeros((self._size, self._size, 3), np.uint8)
        row, column = ((self._position + 1) / 2 * (self._size - 5)).astype(int)
        pixels[row : row + 5, column : column + 5] = 255
        stamp = to_time(self._time)
        self._image.publish(image_message(pixels, stamp, "agent"))
        self._state.publish(state_message(stamp, self._position))
