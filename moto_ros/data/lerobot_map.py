"""Which feature of a LeRobot dataset is which camera, proprio field and action of a task."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moto_ros.data.layout import StepLayout
from moto_ros.data.lerobot_dataset import LeRobotFolder
from moto_ros.data.lerobot_features import ACTION, STAMP, STATE
from moto_ros.data.proprio_fields import PROPRIO_FIELDS
from moto_ros.errors import MotoError

SLICE = re.compile(r"(?P<key>[^\[\]]+)\[(?P<start>\d+):(?P<stop>\d+)\]")
NOT_A_NAME = re.compile(r"\W+", re.ASCII)
MAX_JOINTS = 64


@dataclass(frozen=True)
class Part:
    """Entries `start` to `stop` (excluded) of a vector."""

    key: str
    start: int
    stop: int

    def of(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the entries, (N, n)."""
        values = columns[self.key]
        return values.reshape(len(values), -1)[:, self.start : self.stop]


@dataclass(frozen=True)
class DatasetMap:
    """`cameras`: camera -> feature; `states`: proprio field -> part of a vector; names of the joints in order."""

    cameras: dict[str, str]
    states: dict[str, Part]
    joints: tuple[str, ...]
    action_size: int


def dataset_map(dataset: LeRobotFolder, layout: StepLayout | None, given: Sequence[str] = ()) -> DatasetMap:
    """Return what a task (`layout`) takes from a dataset; None: everything in the dataset that has a place here.

    `given` are entries FEATURE=CAMERA and VECTOR=FIELD or VECTOR[0:3]=FIELD. Raises MotoError where the task needs
    what the dataset does not have, or has in another size or rate.
    """
    pairs = [_pair(entry) for entry in given]
    cameras = {name: key for key, name in pairs if key in dataset.features and _is_image(dataset, key)}
    fields = {name: _part(dataset, key) for key, name in pairs if name not in cameras}
    for name in fields:
        if name not in PROPRIO_FIELDS:
            text = f"--map: '{name}' is no proprio field, expected one of {', '.join(PROPRIO_FIELDS)}"
            raise MotoError(f"{text}; or name an image of the dataset: {', '.join(dataset.cameras) or 'it has none'}")
    size = dataset.size(ACTION)
    if layout is None:
        states = fields or _named(dataset) or _whole(dataset)
        found = DatasetMap(cameras or _all_cameras(dataset), states, _joints(dataset, states, None), size)
    else:
        _check_task(dataset, layout, size)
        states = _states_of(dataset, layout, fields)
        wanted = {camera: cameras.get(camera) or _camera(dataset, camera) for camera in layout.cameras}
        found = DatasetMap(wanted, states, _joints(dataset, states, layout), size)
    _check_sizes(dataset, found)
    return found


def _pair(entry: str) -> tuple[str, str]:
    key, equals, name = entry.partition("=")
    if not (key and equals and name):
        text = f"--map is '{entry}', expected FEATURE=NAME such as observation.images.top=agent"
        raise MotoError(f"{text} or observation.state[0:3]=ee_position; write it so")
    return key, name


def _is_image(dataset: LeRobotFolder, key: str) -> bool:
    return key in dataset.cameras


def _part(dataset: LeRobotFolder, text: str) -> Part:
    match = SLICE.fullmatch(text)
    key = match["key"] if match else text
    size = dataset.size(key)
    start, stop = (int(match["start"]), int(match["stop"])) if match else (0, size)
    if not 0 <= start < stop <= size:
        raise MotoError(f"--map: {text} is no part of {key}, which has {size} entries; give a part of 0:{size}")
    return Part(key, start, stop)


def _camera(dataset: LeRobotFolder, camera: str) -> str:
    """Return the feature whose last word is the camera's name."""
    for key in dataset.cameras:
        if key.rpartition(".")[2] == camera:
            return key
    have = ", ".join(dataset.cameras) or "none"
    text = f"{dataset.root}: has no image of camera {camera}, expected one of its images ({have}) for each camera"
    example = dataset.cameras[0] if dataset.cameras else "FEATURE"
    raise MotoError(f"{text}; name it, e.g. --map {example}={camera}, or set -p cameras:=[...]")


def _all_cameras(dataset: LeRobotFolder) -> dict[str, str]:
    """Return every image under its last word; the whole name where two would have one name."""
    last = [key.rpartition(".")[2] for key in dataset.cameras]
    names = [name if last.count(name) == 1 else key for key, name in zip(dataset.cameras, last, strict=True)]
    return {NOT_A_NAME.sub("_", name).strip("_"): key for key, name in zip(dataset.cameras, names, strict=True)}


def _named(dataset: LeRobotFolder) -> dict[str, Part]:
    """Return the fields that the state's entries are named after, as in a dataset that was exported here."""
    if STATE not in dataset.features:
        return {}
    owners = [name.partition(".")[0] for name in dataset.names(STATE)]
    if len(owners) != dataset.size(STATE) or not set(owners) <= set(PROPRIO_FIELDS):
        return {}
    places = {owner: [index for index, other in enumerate(owners) if other == owner] for owner in owners}
    return {owner: Part(STATE, found[0], found[-1] + 1) for owner, found in places.items()}


def _whole(dataset: LeRobotFolder) -> dict[str, Part]:
    """Return the whole state as positions of joints, which is what most datasets have; nothing without a state."""
    if STATE not in dataset.features or dataset.size(STATE) > MAX_JOINTS:
        return {}
    return {"joint_position": Part(STATE, 0, dataset.size(STATE))}


def _states_of(dataset: LeRobotFolder, layout: StepLayout, given: dict[str, Part]) -> dict[str, Part]:
    """Return the part of each field of the task: as mapped, as named, or in the task's order where sizes agree."""
    known = _named(dataset) | given
    if all(name in known for name in layout.proprio):
        return {name: known[name] for name in layout.proprio}
    size = dataset.size(STATE) if STATE in dataset.features else 0
    if given or size != layout.proprio_size:
        missing = next(name for name in layout.proprio if name not in known)
        names = ", ".join(dataset.names(STATE)) or "no names"
        text = f"{dataset.root}: nothing in it is known to be {missing}; {STATE} has {size} entries ({names})"
        need = f"expected the {layout.proprio_size} of proprio {list(layout.proprio)}"
        raise MotoError(f"{text}, {need}; name its part, e.g. --map {STATE}[0:3]={missing}, or set -p proprio:=[...]")
    found, start = dict[str, Part](), 0
    for name in layout.proprio:
        stop = start + (PROPRIO_FIELDS[name].size or layout.joint_count)
        found[name] = Part(STATE, start, stop)
        start = stop
    return found


def _joints(dataset: LeRobotFolder, states: dict[str, Part], layout: StepLayout | None) -> tuple[str, ...]:
    """Return the names of the joints: the task's, those of the dataset, or numbers."""
    parts = [part for name, part in states.items() if PROPRIO_FIELDS[name].size == 0]
    if not parts:
        return ()
    count = parts[0].stop - parts[0].start
    if layout is not None and len(layout.joint_names) == count:
        return tuple(name.partition("|")[0] for name in layout.joint_names)
    names = dataset.names(parts[0].key)[parts[0].start : parts[0].stop]
    bare = [name.partition(".")[2] if name.partition(".")[0] in PROPRIO_FIELDS else name for name in names]
    return tuple(bare) if len(set(bare)) == count else tuple(f"joint_{index}" for index in range(count))


def _check_task(dataset: LeRobotFolder, layout: StepLayout, size: int) -> None:
    keeps_stamps = STAMP in dataset.features  # those of the recording come back, whatever its rate was
    if not keeps_stamps and abs(dataset.fps - layout.control_rate) > 1e-6 * layout.control_rate:
        text = f"{dataset.root}: has {dataset.fps:g} frames a second, expected the task's control_rate"
        advice = f"set -p control_rate:={dataset.fps:g}, here and where it is learned from"
        raise MotoError(f"{text} of {layout.control_rate:g} Hz; {advice}")
    if size != layout.action_size:
        text = f"{dataset.root}: its action has {size} entries, expected the task's action_size {layout.action_size}"
        raise MotoError(f"{text}; set -p action_size:={size}, here and where it is learned from")
    count = layout.joint_count
    if any(PROPRIO_FIELDS[name].size == 0 for name in layout.proprio) and not count:
        raise MotoError("parameter 'joint_count' is 0, expected the number of joints in 'proprio'; set it")


def _check_sizes(dataset: LeRobotFolder, found: DatasetMap) -> None:
    for name, part in found.states.items():
        size, expected = part.stop - part.start, PROPRIO_FIELDS[name].size or len(found.joints)
        if size != expected:
            text = f"{dataset.root}: {part.key}[{part.start}:{part.stop}] has {size} entries"
            raise MotoError(f"{text}, expected {expected} for {name}; name another part with --map")
