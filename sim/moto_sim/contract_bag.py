"""Writes an episode of a simulated world as a bag with the contract's messages, without ROS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from moto_ros.contract import topics
from moto_ros.contract.frames import BASE_FRAME
from moto_ros.contract.stamps import FIRST_STAMP, NSEC_PER_SEC
from moto_ros.data.bag_metadata import Qos
from moto_ros.data.bag_writer import BagWriter
from moto_ros.data.definitions import contract_types
from moto_ros.data.message_making import blank, image, make, set_time
from moto_ros.robot.state_message import fill_state, fill_vector
from moto_sim.snapshot import Snapshot

RUNNING, ENDED, TIME_LIMIT = 2, 3, 2
"""Values of moto_msgs/EpisodeState.phase and .outcome."""

POLICY, SCRIPT = 0, 2
"""Values of moto_msgs/Action.source."""

Message = tuple[str, str, Any, int]
"""Topic, type, message, and time of receipt (ns)."""


@dataclass
class Played:
    """One played episode: T + 1 snapshots and frames (H, W, 3) of each camera, T actions (A,); the period in s."""

    joint_names: tuple[str, ...]
    period: float
    snapshots: list[Snapshot]
    frames: dict[str, list[np.ndarray]]
    actions: list[np.ndarray]
    source: int = SCRIPT

    @property
    def succeeded(self) -> bool:
        """Whether any step reached success."""
        return any(snapshot.success for snapshot in self.snapshots[1:])

    def stamp(self, step: int) -> int:
        """Return the stamp of an observation, ns."""
        return FIRST_STAMP + step * round(self.period * NSEC_PER_SEC)


def write_episode(folder: Path, played: Played, number: int, meta: Mapping[str, str] | None = None) -> None:
    """Write an episode that ran to its step limit as the bag `folder`, durably; `number` is unique in a run."""
    writer = BagWriter(folder, {"episode": str(number)} | dict(meta or {}), flush_period=60.0)
    for topic, kind, message, received in messages(played, number):
        writer.add_topic(topic, kind, qos=Qos(latched=topic.endswith(topics.EPISODE_STATE)))
        writer.write(topic, bytes(contract_types().serialize_cdr(message, kind)), received)
    writer.close()


def messages(played: Played, number: int) -> Iterator[Message]:
    """Yield every message of an episode in lockstep: all parts of an observation have the same stamp."""
    yield _phase(played, number, 0, RUNNING, 0)
    for step in range(len(played.snapshots)):
        yield from _observation(played, step)
        if step:
            yield _reward(played, number, step)
        if step < len(played.actions):
            yield _action(played, number, step)
    yield _phase(played, number, len(played.actions), ENDED, TIME_LIMIT)


def _observation(played: Played, step: int) -> Iterator[Message]:
    stamp = played.stamp(step)
    for camera, frames in played.frames.items():
        yield f"/{topics.camera_image(camera)}", "sensor_msgs/msg/Image", image(frames[step], stamp), stamp
    state = _robot_state(played.snapshots[step], played.joint_names, stamp)
    yield f"/{topics.ROBOT_STATE}", "moto_msgs/msg/RobotState", state, stamp


def _phase(played: Played, number: int, step: int, phase: int, outcome: int) -> Message:
    stamp = played.stamp(step)
    fields = {"episode": number, "step": step, "phase": phase, "outcome": outcome}
    message = make("moto_msgs/msg/EpisodeState", stamp, **fields)
    set_time(message.start, FIRST_STAMP)
    return f"/{topics.EPISODE_STATE}", "moto_msgs/msg/EpisodeState", message, stamp


def _reward(played: Played, number: int, step: int) -> Message:
    snapshot, stamp = played.snapshots[step], played.stamp(step)
    fields = {"episode": number, "step": step, "value": float(snapshot.reward), "success": bool(snapshot.success)}
    message = make("moto_msgs/msg/Reward", stamp, source="task", **fields)
    return f"/{topics.REWARD}", "moto_msgs/msg/Reward", message, stamp


def _action(played: Played, number: int, step: int) -> Message:
    stamp, cameras = played.stamp(step), list(played.frames)
    values = np.asarray(played.actions[step], np.float32)
    fields = {"episode": number, "step": step, "values": values, "source": played.source}
    message = make("moto_msgs/msg/Action", stamp, cameras=cameras, **fields)
    message.camera_stamps = [set_time(blank("builtin_interfaces/msg/Time"), stamp) for _ in cameras]
    message.uncertainty = message.uncertainty_rank = float("nan")
    message.success_probability = message.edited = float("nan")
    set_time(message.state_stamp, stamp)
    return f"/{topics.ACTION}", "moto_msgs/msg/Action", message, stamp


def _robot_state(snapshot: Snapshot, joints: Sequence[str], stamp: int) -> Any:
    message = make("moto_msgs/msg/RobotState", stamp, joint_names=list(joints), gripper_width=snapshot.gripper_width)
    message.header.frame_id = BASE_FRAME
    fill_state(message, snapshot.arm_state(), partial(np.asarray, dtype=np.float64))
    message.objects, message.goals = ([_point(p) for p in found] for found in (snapshot.objects, snapshot.goals))
    return message


def _point(position: np.ndarray) -> Any:
    return fill_vector(blank("geometry_msgs/msg/Point"), position)
