"""A simulated arm on topics: states at 50 Hz, a camera at 30 Hz with separate stamps, and no rewards."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from moto_msgs.msg import Action, CameraHealth, EpisodeState, RobotState
from moto_msgs.srv import ResetRobot
from moto_ros.contract import topics
from moto_ros.ros import qos
from moto_ros.ros.convert import image_message
from moto_ros.ros.discovery import Readiness
from support.states import state_message

HOME = np.array([0.4, 0.0, 0.3])
STEP = 0.02
"""Metres that an action of 1 moves."""


class RealtimeArm(Node):
    """Takes each action of the running episode once and in order; `mode` and `fault` are what the test sets."""

    def __init__(self, peers: list[str], camera: str = "agent", size: int = 64) -> None:
        """Join the graph as the node `franka`."""
        super().__init__("franka")
        self._camera, self._size = camera, size
        self._episode = self._step = 0
        self._running = False
        self._position = HOME.copy()
        self.mode, self.fault = RobotState.MODE_IDLE, ""
        self.stamps: dict[tuple[int, int], float] = {}
        self._image = self.create_publisher(Image, topics.camera_image(camera), qos.stream_out())
        self._state = self.create_publisher(RobotState, topics.ROBOT_STATE, qos.stream_out())
        self._health = self.create_publisher(CameraHealth, topics.camera_health(camera), qos.latched())
        self.create_subscription(Action, topics.ACTION, self._act, qos.event())
        self.create_subscription(EpisodeState, topics.EPISODE_STATE, self._heard, qos.latched(10))
        self.create_service(ResetRobot, topics.ROBOT_RESET, self._reset)
        self.create_timer(1 / 50, self.publish_state)
        self._frames = self.create_timer(1 / 30, self._publish_image)
        self._ready = Readiness(self, peers)

    def camera_works(self, works: bool, reason: str = "") -> None:
        """Stop or start the camera, and say so."""
        (self._frames.reset if works else self._frames.cancel)()
        message = CameraHealth(camera=self._camera, healthy=works, reason=reason)
        message.header.stamp = self.get_clock().now().to_msg()
        self._health.publish(message)

    def _heard(self, state: EpisodeState) -> None:
        self._running = state.phase == EpisodeState.PHASE_RUNNING and state.episode == self._episode

    def _reset(self, request: ResetRobot.Request, response: ResetRobot.Response) -> ResetRobot.Response:
        self._position = HOME + np.random.default_rng(request.seed).uniform(-0.05, 0.05, 3)
        self._episode, self._step = request.episode, 0
        response.success, response.stamp = True, self.get_clock().now().to_msg()
        return response

    def _act(self, action: Action) -> None:
        if not self._running or (action.episode, action.step) != (self._episode, self._step):
            return
        if self.mode in (RobotState.MODE_FAULT, RobotState.MODE_STOPPED):
            return
        self._position = self._position + STEP * np.array(action.values[:3])
        self._step += 1
        self.mode = RobotState.MODE_TRACK

    def publish_state(self) -> None:
        """Publish the state as measured now."""
        how = {"mode": self.mode, "fault": self.fault, "episode": self._episode, "step": self._step}
        self._state.publish(state_message(self.get_clock().now().to_msg(), self._position, **how))

    def _publish_image(self) -> None:
        pixels = np.zeros((self._size, self._size, 3), np.uint8)
        row, column = np.clip((self._position[:2] - HOME[:2]) * 200 + self._size // 2, 0, self._size - 6).astype(int)
        pixels[row : row + 5, column : column + 5] = 255
        self._image.publish(image_message(pixels, self.get_clock().now().to_msg(), self._camera))
