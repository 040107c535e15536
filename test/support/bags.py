"""Contract messages, episodes and bags without ROS, for tests and benchmarks of the data room."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import Nodetype

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.bag_writer import BagWriter, MessageCounts
from moto_ros.data.definitions import contract_types

ENDED, RUNNING = 3, 2
OUTCOMES = {"success": 1, "time_limit": 2, "failure": 3, "aborted": 4, "discarded": 5}


@dataclass(frozen=True)
class Sent:
    """A message on its way: topic and type for a bag, role for the assembler."""

    topic: str
    role: str
    type_name: str
    message: Any
    log_time: int

    def cdr(self) -> bytes:
        """Return the serialized message."""
        return bytes(contract_types().serialize_cdr(self.message, self.type_name))


def blank(type_name: str, store: Any = None) -> Any:
    """Return a message with every field zero or empty; `store` knows types that are not of the contract."""
    store = store or contract_types()
    return store.types[type_name](**{name: _blank(desc, store) for name, desc in store.fielddefs[type_name][1]})


def _blank(desc: Any, store: Any) -> Any:
    kind, detail = desc
    if kind == Nodetype.NAME:
        return blank(detail, store)
    if kind == Nodetype.BASE:
        return "" if detail[0] == "string" else False if detail[0] == "bool" else 0
    element, length = detail
    if element[0] == Nodetype.BASE and element[1][0] != "string":
        return np.zeros(length if kind == Nodetype.ARRAY else 0, element[1][0])
    return [_blank(element, store) for _ in range(length)] if kind == Nodetype.ARRAY else []


def set_time(stamp: Any, nanoseconds: int) -> Any:
    """Write nanoseconds into a ROS time and return it."""
    stamp.sec, stamp.nanosec = nanoseconds // NSEC_PER_SEC, nanoseconds % NSEC_PER_SEC
    return stamp


def make(type_name: str, stamp: int | None = None, **fields: Any) -> Any:
    """Return a message with the given fields; `stamp` (ns) goes to its header."""
    message = blank(type_name)
    for name, value in fields.items():
        setattr(message, name, value)
    if stamp is not None:
        set_time(message.header.stamp, stamp)
    return message


def image(pixels: np.ndarray, stamp: int, encoding: str = "rgb8") -> Any:
    """Return uint8 (H, W, C) pixels as sensor_msgs/Image."""
    height, width, channels = pixels.shape
    return make(
        "sensor_msgs/msg/Image",
        stamp,
        height=height,
        width=width,
        step=width * channels,
        encoding=encoding,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )


def compressed(pixels: np.ndarray, stamp: int, form: str = "jpeg") -> Any:
    """Return RGB uint8 (H, W, 3) pixels as sensor_msgs/CompressedImage."""
    ok, data = cv2.imencode(f".{'jpg' if form == 'jpeg' else form}", pixels[:, :, ::-1])
    if not ok:
        raise ValueError(form)
    return make("sensor_msgs/msg/CompressedImage", stamp, format=form, data=data.reshape(-1))


def robot_state(stamp: int, rng: np.random.Generator, joints: int = 7) -> Any:
    """Return a moto_msgs/RobotState of random numbers."""
    message = make("moto_msgs/msg/RobotState", stamp, gripper_width=float(rng.random()))
    message.joint_names = [f"joint{i}" for i in range(joints)]
    message.joint_position, message.joint_velocity, message.joint_effort = rng.normal(size=(3, joints))
    place, turn = message.ee_pose.position, message.ee_pose.orientation
    place.x, place.y, place.z = map(float, rng.normal(size=3))
    turn.x, turn.y, turn.z, turn.w = map(float, rng.normal(size=4))
    message.objects, message.goals = [[_point(position)] for position in rng.normal(size=(2, 3))]
    return message


def _point(position: np.ndarray) -> Any:
    point = blank("geometry_msgs/msg/Point")
    point.x, point.y, point.z = map(float, position)
    return point


def action(episode: int, step: int, stamps: dict[str, int], state: int, values: np.ndarray) -> Any:
    """Return a moto_msgs/Action computed from images with `stamps` and the state stamped `state` (ns)."""
    fields: dict[str, Any] = {"episode": episode, "step": step, "values": values, "source": 2}
    message = make("moto_msgs/msg/Action", state + 1000, **fields, cameras=list(stamps))
    message.camera_stamps = [set_time(blank("builtin_interfaces/msg/Time"), stamp) for stamp in stamps.values()]
    set_time(message.state_stamp, state)
    return message


def reward(episode: int, step: int, stamp: int, value: float) -> Any:
    """Return a moto_msgs/Reward whose success is a positive value."""
    fields: dict[str, Any] = {"episode": episode, "step": step, "value": value, "success": value > 0}
    return make("moto_msgs/msg/Reward", stamp, **fields, source="task")


def phase(episode: int, stamp: int, steps: int, outcome: str = "", purpose: int = 1) -> Any:
    """Return a moto_msgs/EpisodeState: running, or ended when an outcome is given."""
    ended = {"phase": ENDED, "outcome": OUTCOMES[outcome]} if outcome else {"phase": RUNNING}
    return make("moto_msgs/msg/EpisodeState", stamp, episode=episode, step=steps, purpose=purpose, **ended)


@dataclass(frozen=True)
class Recipe:
    """What an episode of random messages looks like."""

    episode: int = 3
    steps: int = 6
    cameras: tuple[str, ...] = ("agent", "wrist")
    side: tuple[int, int] = (16, 16)
    period: int = NSEC_PER_SEC // 10
    start: int = 100 * NSEC_PER_SEC
    jpeg: bool = False
    action_size: int = 4
    outcome: str = "time_limit"
    seed: int = 0


def lockstep_episode(recipe: Recipe) -> list[Sent]:
    """Return all messages of an episode in lockstep: equal stamps within each observation."""
    rng = np.random.default_rng(recipe.seed + 1000 * recipe.episode)
    sent = [_sent("episode/state", "episode", "EpisodeState", phase(recipe.episode, recipe.start, 0), recipe.start)]
    for k in range(recipe.steps + 1):
        sent += _step(recipe, k, rng)
    end = recipe.start + recipe.steps * recipe.period + 5000
    message = phase(recipe.episode, end, recipe.steps, recipe.outcome)
    return [*sent, _sent("episode/state", "episode", "EpisodeState", message, end)]


def _step(recipe: Recipe, k: int, rng: np.random.Generator) -> list[Sent]:
    stamp = recipe.start + k * recipe.period
    found = [_frame(recipe, camera, stamp, rng) for camera in recipe.cameras]
    found.append(_sent("robot/state", "state", "RobotState", robot_state(stamp, rng), stamp))
    if k:
        paid = reward(recipe.episode, k, stamp, float(k == recipe.steps and recipe.outcome == "success"))
        found.append(_sent("episode/reward", "reward", "Reward", paid, stamp))
    if k < recipe.steps:
        values = rng.uniform(-1, 1, recipe.action_size).astype(np.float32)
        command = action(recipe.episode, k, dict.fromkeys(recipe.cameras, stamp), stamp, values)
        found.append(_sent("policy/action", "action", "Action", command, stamp + 1000))
    return found


def _frame(recipe: Recipe, camera: str, stamp: int, rng: np.random.Generator) -> Sent:
    small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pixels = cv2.resize(small, recipe.side[::-1], interpolation=cv2.INTER_CUBIC)
    kind, message = ("CompressedImage", compressed(pixels, stamp)) if recipe.jpeg else ("Image", image(pixels, stamp))
    name = "compressed" if recipe.jpeg else "image_raw"
    return Sent(f"/camera/{camera}/{name}", f"camera/{camera}", f"sensor_msgs/msg/{kind}", message, stamp)


def _sent(topic: str, role: str, name: str, message: Any, time: int) -> Sent:
    return Sent(f"/{topic}", role, f"moto_msgs/msg/{name}", message, time)


def write_bag(folder: Path, messages: Iterable[Sent], flush_every: int = 0) -> MessageCounts:
    """Write messages as a bag; `flush_every` > 0 closes a chunk after that many."""
    writer = BagWriter(folder)
    for count, sent in enumerate(messages, 1):
        writer.add_topic(sent.topic, sent.type_name)
        writer.write(sent.topic, sent.cdr(), sent.log_time)
        if flush_every and count % flush_every == 0:
            writer.flush()
    return writer.close()
