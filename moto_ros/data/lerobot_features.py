"""Which feature of a LeRobot dataset holds which row of an episode, and the names of a state vector's entries.

Here action[t] led to observation[t]; in a LeRobot frame, observation and action have the same time. So frame t holds
observation[t], action[t + 1] and what that action earned. Frame T holds the last observation: no action followed, so
the action before is repeated, its reward is 0, and `moto.last_observation` marks the frame. Nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from moto_ros.data.episode import Episode
from moto_ros.data.layout import StepLayout
from moto_ros.data.proprio_fields import PROPRIO_FIELDS
from moto_ros.data.records import HUMAN, UNKNOWN_SOURCE

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
REWARD, SUCCESS, DONE = "next.reward", "next.success", "next.done"
TERMINATED = "moto.terminated"
SOURCE = "moto.action_source"
GUARD = "moto.guard"
STAMP = "moto.stamp"
LAST = "moto.last_observation"
INTERVENTION = "complementary_info.is_intervention"

AXES = {
    "ee_quaternion": ("x", "y", "z", "w"),
    "wrench": ("force_x", "force_y", "force_z", "torque_x", "torque_y", "torque_z"),
}
"""Names of a field's entries where they are not x, y, z."""

DTYPES = {
    REWARD: "float32",
    SUCCESS: "bool",
    DONE: "bool",
    TERMINATED: "bool",
    INTERVENTION: "bool",
    SOURCE: "int64",
    GUARD: "int64",
    STAMP: "int64",
    LAST: "bool",
}
"""Type of each feature with one number a frame."""

INDICES = {"timestamp": "float32"} | dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
"""Features that every LeRobot dataset has, and their types."""


def frame_columns(episode: Episode) -> dict[str, np.ndarray]:
    """Return the features of the T + 1 frames of an episode, without images: arrays (T+1,) or (T+1, n)."""
    steps = len(episode)
    done = np.arange(steps + 1) >= steps - 1
    columns = {
        STATE: episode.proprio,
        ACTION: np.concatenate([episode.action[1:], episode.action[-1:]]),
        REWARD: _next(episode.reward, 0.0),
        SUCCESS: _next(episode.success, False),
        DONE: done,
        TERMINATED: _next(episode.is_terminal, episode.is_terminal[-1]),
        INTERVENTION: _next(episode.source == HUMAN, False),
        SOURCE: _next(episode.source.astype(np.int64), UNKNOWN_SOURCE),
        GUARD: _next(episode.guard.astype(np.int64), 0),
        STAMP: episode.stamps,
        LAST: np.arange(steps + 1) == steps,
    }
    return {key: values for key, values in columns.items() if values.ndim == 1 or values.shape[1]}


def _next(rows: np.ndarray, last: Any) -> np.ndarray:
    """Return row t + 1 in place t, and `last` in the last place."""
    return np.append(rows[1:], np.array([last], rows.dtype))


def described(layout: StepLayout, joints: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return dtype, shape and names of every feature without images, as `meta/info.json` has them."""
    names = state_names(layout, joints)
    action = [f"action_{index}" for index in range(layout.action_size)]
    vectors = {STATE: names, ACTION: action} if names else {ACTION: action}
    found = {key: {"dtype": "float32", "shape": [len(entries)], "names": entries} for key, entries in vectors.items()}
    return found | {key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in (DTYPES | INDICES).items()}


def state_names(layout: StepLayout, joints: Sequence[str]) -> list[str]:
    """Return a name for each entry of the proprioception vector, `<field>.<axis or joint>`; `joints` may be empty."""
    joints = list(joints) or [f"joint_{index}" for index in range(layout.joint_count)]
    names: list[str] = []
    for field in layout.proprio:
        size = PROPRIO_FIELDS[field].size
        entries = AXES.get(field, ("x", "y", "z")) if size else joints
        names += [field] if size == 1 else [f"{field}.{entry}" for entry in entries]
    return names
