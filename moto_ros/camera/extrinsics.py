"""Extrinsics of cameras, the pose of each in the frame of the arm's base or end effector, and the file that holds them.

The frame of a camera is its optical frame (REP-103: z forward, x right, y down).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from moto_ros.errors import MotoError, read_text, require_writable
from moto_ros.files import set_aside, write_durably

FIXED, HAND = "fixed", "hand"
MOUNTS = (FIXED, HAND)
"""A camera fixed in the cell (parent: the arm's base), or mounted on the hand (parent: the end effector)."""

HEADER = """# Extrinsics of cameras, written by `moto calibrate`. Each is the pose of the camera's optical frame
# (z forward, x right, y down) in its parent frame: translation x, y, z in m, rotation as unit quaternion x, y, z, w.
"""
QUATERNION_TOLERANCE = 0.01
"""Largest difference of a quaternion's length from 1: a larger one is a wrong column, not rounding."""


@dataclass(frozen=True)
class Extrinsics:
    """Pose of a camera's optical frame in its parent frame: m, and unit quaternion x y z w."""

    mount: str  # fixed: on the arm's base; hand: on its end effector
    parent_frame: str  # name of the base's or end effector's frame
    frame_id: str  # name of the camera's optical frame
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    quality: Mapping[str, Any] = field(default_factory=dict)
    """How it was found: reprojection_error_px, views, uncertainty_mm, uncertainty_deg, date, board."""

    def matrix(self) -> np.ndarray:
        """Return parent_from_camera, float64 (4, 4)."""
        return pose_matrix(self.translation, self.rotation)


def pose_matrix(position: Any, quaternion: Any) -> np.ndarray:
    """Return a pose as float64 (4, 4) from a position (3,) m and a quaternion x y z w (4,).

    Raises ValueError for numbers that are not finite, or a quaternion whose length is not 1.
    """
    place, turn = np.asarray(position, float), np.asarray(quaternion, float)
    if place.shape != (3,) or turn.shape != (4,):
        raise ValueError(f"found {place.size} and {turn.size} numbers, expected 3 of a position and 4 of a quaternion")
    if not np.isfinite([*place, *turn]).all():
        raise ValueError("a number is not finite")
    length = float(np.linalg.norm(turn))
    if abs(length - 1.0) > QUATERNION_TOLERANCE:
        raise ValueError(f"the quaternion x y z w has length {length:.3f}, expected 1")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_quat(turn).as_matrix(), place
    return pose


def extrinsics_of(pose: np.ndarray, mount: str, parent: str, frame_id: str, quality: Mapping[str, Any]) -> Extrinsics:
    """Return parent_from_camera, float64 (4, 4), as extrinsics, rounded to 1 um and 1e-8; w is not negative."""
    x, y, z = (round(float(value), 6) for value in pose[:3, 3])
    turn = Rotation.from_matrix(pose[:3, :3]).as_quat()
    qx, qy, qz, qw = (round(float(value), 8) for value in (turn if turn[3] >= 0 else -turn))
    return Extrinsics(mount, parent, frame_id, (x, y, z), (qx, qy, qz, qw), quality)


def read_extrinsics(path: Path) -> dict[str, Extrinsics]:
    """Return the extrinsics in a file by camera name. MotoError when it is missing or is another kind of file."""
    found = {}
    for name, entry in _cameras(path, _content(path)).items():
        try:
            found[str(name)] = _extrinsics(entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            text = " ".join(f"{type(error).__name__} {error}".split())
            raise MotoError(
                f"{path}: camera '{name}': {text}, expected mount, parent_frame, frame_id, translation and rotation as "
                "`moto calibrate` writes them; calibrate again"
            ) from error
    return found


def write_extrinsics(
    path: Path, camera: str, found: Extrinsics, add: Path | None = None, force: bool = False
) -> tuple[list[str], Path | None]:
    """Write a camera's extrinsics, and with `add` those of the other cameras in that file, to a new file.

    Everything else in the file `add` stays as it is. With `force`, a file that exists is renamed, never lost. Returns
    the names of all cameras in the file, and the new name of the file before. MotoError when `path` exists and `force`
    is False.
    """
    content = checked_target(path, add, force)
    content["cameras"] = {**content.get("cameras", {}), camera: _entry(found)}
    text = HEADER + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    before = set_aside(path) if path.exists() else None
    write_durably(path, text)
    return [str(name) for name in content["cameras"]], before


def checked_target(path: Path, add: Path | None, force: bool) -> dict[str, Any]:
    """Return the content of the file `add`, {} without one. MotoError where `path` could not be written."""
    if path.exists() and not force:
        raise MotoError(f"{path} exists and is kept; give another --output, or --force to rename and replace it")
    content: dict[str, Any] = {}
    if add is not None:
        read_extrinsics(add)
        content = _content(add)
    require_writable(path)
    return content


def _content(path: Path) -> dict[str, Any]:
    expected = "extrinsics of `moto calibrate`"
    try:
        content = yaml.safe_load(read_text(path, expected))
    except (yaml.YAMLError, ValueError) as error:
        text = " ".join(str(error).split())
        raise MotoError(f"{path}: is not YAML ({text}), expected {expected}; give another file") from error
    if not isinstance(content, dict):
        raise MotoError(f"{path}: holds {type(content).__name__}, expected {expected}; give another file")
    return content


def _cameras(path: Path, content: dict[str, Any]) -> dict[Any, Any]:
    cameras = content.get("cameras")
    if not isinstance(cameras, dict):
        raise MotoError(f"{path}: has no 'cameras:', expected extrinsics of `moto calibrate`; give another file")
    return cameras


def _entry(found: Extrinsics) -> dict[str, Any]:
    return {
        "mount": found.mount,
        "parent_frame": found.parent_frame,
        "frame_id": found.frame_id,
        "translation": [float(value) for value in found.translation],
        "rotation": [float(value) for value in found.rotation],
        "quality": dict(found.quality),
    }


def _extrinsics(entry: Any) -> Extrinsics:
    if entry["mount"] not in MOUNTS:
        raise ValueError(f"mount is '{entry['mount']}'")
    place, turn = [float(v) for v in entry["translation"]], [float(v) for v in entry["rotation"]]
    pose_matrix(place, turn)
    quality = dict(entry.get("quality") or {})
    names = (str(entry["mount"]), str(entry["parent_frame"]), str(entry["frame_id"]))
    return Extrinsics(*names, (place[0], place[1], place[2]), (turn[0], turn[1], turn[2], turn[3]), quality)
