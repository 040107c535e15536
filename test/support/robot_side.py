"""The robot's topics, published by a test: synthetic cameras, states, rewards and episode states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import String

from moto_msgs.msg import Action, EpisodeState, Reward, RobotState
from moto_ros.contract import topics
from moto_ros.ros import qos
from moto_ros.ros.convert import image_message, to_time
from moto_ros.ros.discovery import Readiness
from support.graph import Graph
from support.states import state_message

PERIOD = 100_000_000
"""Nanoseconds between two observations."""


class RobotSide:
    """Publishes observations that differ in every step; `actions` fills with what is commanded."""

    def __init__(self, graph: Graph, cameras: Sequence[str] = ("agent",), size: int = 64, name: str = "sim") -> None:
        self.graph, self.cameras = graph, tuple(cameras)
        self.peer = graph.peer(name)
        node = self.peer.node
        self._images = {c: node.create_publisher(Image, topics.camera_image(c), qos.stream_out()) for c in cameras}
        self._state = node.create_publisher(RobotState, topics.ROBOT_STATE, qos.stream_out())
        self._reward = node.create_publisher(Reward, topics.REWARD, qos.event())
        self._episode = node.create_publisher(EpisodeState, topics.EPISODE_STATE, qos.latched())
        self.actions: list[Any] = self.peer.hear(Action, topics.ACTION, qos.event())
        self._size = size

    def connected(self, *nodes: str) -> None:
        """Wait until each of `nodes`, started with `wait_for: [sim]`, has said that it is connected."""
        said = self.peer.hear(String, topics.READY, qos.latched(10))
        ready = Readiness(self.peer.node, nodes)
        self.graph.until(lambda: ready.announced and {text.data for text in said} >= set(nodes), f"{nodes} to be ready")

    def pixels(self, step: int, camera: str) -> np.ndarray:
        """Return the frame of a step: noise that is a function of step and camera."""
        rng = np.random.default_rng([step, self.cameras.index(camera)])
        return rng.integers(0, 255, (self._size, self._size, 3), dtype=np.uint8)

    def episode(self, phase: int, number: int = 0, **fields: Any) -> None:
        """Announce where the episode stands."""
        fields = {"purpose": EpisodeState.PURPOSE_TRAINING, "start": to_time(0)} | fields
        self._episode.publish(EpisodeState(phase=phase, episode=number, **fields))

    def state(self, stamp: int, value: float, episode: int = 0, step: int = 0) -> None:
        """Publish a robot state, after `step` actions of `episode` were executed."""
        fields = {"gripper_width": value, "episode": episode, "step": step}
        self._state.publish(state_message(to_time(stamp), (value,), joint=value, **fields))

    def image(self, stamp: int, step: int, camera: str) -> None:
        """Publish a frame."""
        self._images[camera].publish(image_message(self.pixels(step, camera), to_time(stamp), camera))

    def observe(self, step: int, start: int = PERIOD) -> int:
        """Publish observation `step` and return its stamp in nanoseconds."""
        stamp = start + step * PERIOD
        for camera in self.cameras:
            self.image(stamp, step, camera)
        self.state(stamp, float(step))
        return stamp

    def reward(self, step: int, stamp: int, episode: int = 0, success: bool = False) -> None:
        """Publish the reward of a step."""
        message = Reward(episode=episode, step=step, value=float(success), success=success)
        message.header.stamp = to_time(stamp)
        self._reward.publish(message)

    def act(self, step: int, stamp: int, episode: int = 0) -> Any:
        """Return the action that a policy would have sent on observation `step`."""
        message = Action(episode=episode, step=step, cameras=list(self.cameras))
        message.camera_stamps = [to_time(stamp)] * len(self.cameras)
        message.state_stamp, message.values = to_time(stamp), [0.1 * (step % 5)] * 4
        return message
