"""Writes an episode that was not recorded here as a bag with the contract's messages, without ROS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from moto_ros.contract import topics
from moto_ros.contract.episodes import Phase
from moto_ros.contract.frames import BASE_FRAME
from moto_ros.data.bag_metadata import Qos
from moto_ros.data.bag_writer import BagWriter
from moto_ros.data.definitions import contract_types
from moto_ros.data.message_making import blank, image, make, set_time
from moto_ros.data.proprio_fields import PROPRIO_FIELDS
from moto_ros.data.records import OUTCOMES, PURPOSES

Message = tuple[str, str, Any, int]
"""Topic, type, message, and its time (ns)."""


@dataclass
class EpisodeRows:
    """An episode of T steps as rows (T+1,) in the convention of `Episode`; every part of a row has the same stamp.

    `states`: proprio field -> (T+1, n), SI units; `frames`: camera -> iterator over T+1 images, RGB uint8 (H, W, 3),
    so that no more than one is in memory.
    """

    number: int
    stamps: np.ndarray
    states: Mapping[str, np.ndarray]
    frames: Mapping[str, Iterator[np.ndarray]]
    action: np.ndarray
    reward: np.ndarray
    success: np.ndarray
    is_terminal: np.ndarray
    source: np.ndarray
    guard: np.ndarray
    joints: tuple[str, ...] = ()
    purpose: str = "demonstration"
    outcome: str = "time_limit"
    reason: str = ""
    policy_version: int = 0
    arm: str = ""
    meta: dict[str, str] = field(default_factory=dict)
    """Entries for the bag's description."""


def write_bag(folder: Path, rows: EpisodeRows) -> None:
    """Write the bag `folder`, durably; MotoError where it is not new or the disk is full."""
    writer = BagWriter(folder, {"episode": str(rows.number)} | rows.meta, flush_period=60.0)
    for topic, kind, message, time in _messages(rows):
        writer.add_topic(topic, kind, qos=Qos(latched=topic.endswith(topics.EPISODE_STATE)))
        writer.write(topic, bytes(contract_types().serialize_cdr(message, kind)), time)
    writer.close()


def _messages(rows: EpisodeRows) -> Iterator[Message]:
    steps = len(rows.stamps) - 1
    yield _phase(rows, 0, Phase.RUNNING)
    for k, stamp in enumerate(rows.stamps.tolist()):
        for camera, frames in rows.frames.items():
            yield f"/{topics.camera_image(camera)}", "sensor_msgs/msg/Image", image(next(frames), stamp), stamp
        yield f"/{topics.ROBOT_STATE}", "moto_msgs/msg/RobotState", _state(rows, k, stamp), stamp
        if k:
            yield _reward(rows, k, stamp)
        if k < steps:
            yield _action(rows, k, stamp)
    yield _phase(rows, steps, Phase.ENDED)


def _phase(rows: EpisodeRows, step: int, phase: Phase) -> Message:
    kind, stamp = "moto_msgs/msg/EpisodeState", int(rows.stamps[step])
    message = make(kind, stamp, episode=rows.number, step=step, phase=int(phase))
    message.purpose = PURPOSES.index(rows.purpose) if rows.purpose in PURPOSES else 0
    if phase is Phase.ENDED:
        message.outcome = OUTCOMES.index(rows.outcome) if rows.outcome in OUTCOMES else 0
        message.reason = rows.reason
    set_time(message.start, int(rows.stamps[0]))
    return f"/{topics.EPISODE_STATE}", kind, message, stamp


def _reward(rows: EpisodeRows, k: int, stamp: int) -> Message:
    fields: dict[str, Any] = {"episode": rows.number, "step": k, "value": float(rows.reward[k])}
    fields |= {"success": bool(rows.success[k]), "terminal": bool(rows.is_terminal[k]), "source": "dataset"}
    return f"/{topics.REWARD}", "moto_msgs/msg/Reward", make("moto_msgs/msg/Reward", stamp, **fields), stamp


def _action(rows: EpisodeRows, k: int, stamp: int) -> Message:
    """Return the action taken at observation k, which is in row k + 1."""
    values = rows.action[k + 1].astype(np.float32)
    fields: dict[str, Any] = {"episode": rows.number, "step": k, "values": values, "cameras": list(rows.frames)}
    fields |= {"source": int(rows.source[k + 1]), "guard": int(rows.guard[k + 1])}
    fields |= {"policy_version": rows.policy_version, "arm": rows.arm}
    message = make("moto_msgs/msg/Action", stamp, **fields)
    message.camera_stamps = [set_time(blank("builtin_interfaces/msg/Time"), stamp) for _ in rows.frames]
    message.uncertainty = message.uncertainty_rank = float("nan")
    message.success_probability = message.edited = float("nan")
    set_time(message.state_stamp, stamp)
    return f"/{topics.ACTION}", "moto_msgs/msg/Action", message, stamp


def _state(rows: EpisodeRows, k: int, stamp: int) -> Any:
    message = make("moto_msgs/msg/RobotState", stamp, joint_names=list(rows.joints))
    message.header.frame_id = BASE_FRAME
    for name in ("joint_position", "joint_velocity", "joint_effort"):
        setattr(message, name, np.zeros(len(rows.joints)))
    message.ee_pose.orientation.w = 1.0
    for name, values in rows.states.items():
        _set_field(message, name, values[k].astype(np.float64))
    return message


def _set_field(message: Any, name: str, values: np.ndarray) -> None:
    """Write a field of proprio into a moto_msgs/RobotState."""
    path = PROPRIO_FIELDS[name].paths[0]
    if path.endswith(".0"):  # the first of a list of points
        setattr(message, path.removesuffix(".0"), [_filled(blank("geometry_msgs/msg/Point"), values)])
    elif name == "wrench":
        _filled(message.ee_wrench.force, values[:3])
        _filled(message.ee_wrench.torque, values[3:])
    elif "." in path:
        _filled(reduce(getattr, path.split("."), message), values)
    else:
        setattr(message, path, float(values[0]) if PROPRIO_FIELDS[name].size == 1 else values)


def _filled(target: Any, values: np.ndarray) -> Any:
    for axis, value in zip("xyzw", values.tolist(), strict=False):
        setattr(target, axis, value)
    return target
