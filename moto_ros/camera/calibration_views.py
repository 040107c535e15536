"""Reads the views of a hand-eye calibration: images with the arm's pose at each, from bags or from a folder.

From bags, the images at which the arm stood still are used, one for each stop.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from moto_ros.camera.calibration import read_calibration
from moto_ros.camera.extrinsics import pose_matrix
from moto_ros.camera.interface import Intrinsics
from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.contract.topics import ROBOT_STATE, camera_image
from moto_ros.data.bag_files import find_bags, read_messages
from moto_ros.data.bag_reader import DECODE_ERRORS
from moto_ros.data.decode import decode_rgb
from moto_ros.data.definitions import decoded
from moto_ros.data.fields import message_stamp, select
from moto_ros.data.layout import Problems
from moto_ros.errors import MotoError, read_text

TABLES = ("poses.csv", "poses.yaml", "poses.yml")
"""Names of the file beside a folder's images that holds the arm's poses."""

COLUMNS = ("image", "x", "y", "z", "qx", "qy", "qz", "qw")
CAMERA_FILE = "camera.yaml"
"""Name of the file beside a folder's images that holds the intrinsics, unless they are given."""

MAX_DISTANCE = 10.0
"""Largest distance of the hand from the base, m: beyond, positions are in millimetres."""

STILL_TIME = 0.25
"""The arm stands still if it does not move within this many seconds before and after the exposure."""
STILL_DISTANCE, STILL_ANGLE = 0.0005, 0.1
"""Motion, m and degrees, of an arm that stands still."""
NEW_DISTANCE, NEW_ANGLE = 0.005, 2.0
"""A motion by more than this, m or degrees, begins another view."""
MAX_GAP = 0.1
"""Longest time, s, from an image to the nearest pose."""


@dataclass(frozen=True)
class Photo:
    """An image of the board and the arm's pose."""

    name: str
    pose: np.ndarray  # base_from_end_effector, float64 (4, 4), m
    pixels: np.ndarray  # RGB uint8 (H, W, 3)


@dataclass
class Photos:
    """The images of one camera, its intrinsics, and the names of the frames where the source knows them."""

    camera: str
    photos: list[Photo] = field(default_factory=list)
    intrinsics: Intrinsics | None = None
    base_frame: str = ""
    frame_id: str = ""
    problems: list[str] = field(default_factory=list)


def read_photos(
    sources: Sequence[Path], camera: str = "", intrinsics: Path | None = None, state_topic: str = ""
) -> Photos:
    """Return a camera's images with poses from bags, or from folders of images with a table of poses.

    `camera` may be empty where there is only one. Intrinsics come from the file, else from the bag or the folder.
    Raises MotoError where something is missing or wrong.
    """
    found = Photos(camera)
    for source in sources:
        table = next((source / name for name in TABLES if (source / name).is_file()), None)
        if table is not None:
            _add_folder(found, source, table)
        else:
            for bag in _bags(source):
                _add_bag(found, bag, state_topic)
    if intrinsics is not None:
        found.intrinsics = read_calibration(intrinsics)
    if not found.camera:
        raise MotoError("the folder does not say which camera took its images, expected a name; give --camera")
    if found.intrinsics is None:
        raise MotoError(
            f"camera '{found.camera}': no intrinsics (camera_info in a bag, {CAMERA_FILE} in a folder), expected those "
            "of ROS's camera_calibration; give them with --intrinsics"
        )
    _check_sizes(found.photos, found.intrinsics)
    return found


def _bags(source: Path) -> list[Path]:
    try:
        return find_bags(source)
    except MotoError as error:
        if not source.is_dir():
            raise
        raise MotoError(
            f"{source}: holds neither {TABLES[0]} or {TABLES[1]} beside images, nor a bag, expected views of a board; "
            "check the path"
        ) from error


def _check_sizes(photos: Sequence[Photo], intrinsics: Intrinsics) -> None:
    for photo in photos:
        height, width = photo.pixels.shape[:2]
        if (width, height) != (intrinsics.width, intrinsics.height):
            raise MotoError(
                f"{photo.name}: has {width}x{height} px, expected {intrinsics.width}x{intrinsics.height} px as the "
                "intrinsics have; calibrate the camera at the size of its images"
            )


# Folders.


def _add_folder(found: Photos, folder: Path, table: Path) -> None:
    rows = _csv_rows(table) if table.suffix == ".csv" else _yaml_rows(table)
    for name, numbers, where in rows:
        pose = _checked_pose(numbers, where)
        path = folder / name
        image = cv2.imread(str(path)) if path.is_file() else None
        if image is None:
            raise MotoError(f"{where}: {path} is no image that can be read, expected a PNG or JPEG; correct the name")
        found.photos.append(Photo(str(path), pose, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)))
    if (folder / CAMERA_FILE).is_file() and found.intrinsics is None:
        found.intrinsics = read_calibration(folder / CAMERA_FILE)


Row = tuple[str, list[Any], str]
"""Name of the image, seven numbers, and where they stand, for an error."""


def _csv_rows(table: Path) -> Iterator[Row]:
    lines = csv.DictReader(read_text(table).splitlines(), skipinitialspace=True)
    names = [name.strip() for name in lines.fieldnames or ()]
    if missing := [name for name in COLUMNS if name not in names]:
        raise MotoError(
            f"{table}: has no column {', '.join(missing)} (found {', '.join(names) or 'nothing'}), expected a first "
            f"line {','.join(COLUMNS)} (m, unit quaternion); correct the table"
        )
    lines.fieldnames = names
    for line in lines:
        yield str(line["image"]).strip(), [line[name] for name in COLUMNS[1:]], f"{table}, line {lines.line_num}"


def _yaml_rows(table: Path) -> Iterator[Row]:
    expected = "a list of {image: NAME, position: [x, y, z], orientation: [x, y, z, w]}"
    try:
        content = yaml.safe_load(read_text(table))
        rows = [(str(row["image"]), [*row["position"], *row["orientation"]]) for row in content]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        text = " ".join(f"{type(error).__name__} {error}".split())
        raise MotoError(f"{table}: {text}, expected {expected} (m, unit quaternion); correct the file") from error
    yield from ((*row, f"{table}, entry {number}") for number, row in enumerate(rows, 1))


def _checked_pose(numbers: Sequence[Any], where: str) -> np.ndarray:
    try:
        values = [float(number) for number in numbers]
        pose = pose_matrix(values[:3], values[3:])
    except (TypeError, ValueError) as error:
        raise MotoError(
            f"{where}: {error}, expected x, y, z in m and a unit quaternion x, y, z, w; correct the pose"
        ) from error
    if np.linalg.norm(pose[:3, 3]) > MAX_DISTANCE:
        raise MotoError(f"{where}: the hand is {np.linalg.norm(pose[:3, 3]):.0f} m from the base; give positions in m")
    return pose


# Bags.


@dataclass
class _Track:
    """What a bag holds, without the images' pixels: stamps in ns."""

    stamps: list[int] = field(default_factory=list)
    poses: list[np.ndarray] = field(default_factory=list)
    images: dict[str, list[int]] = field(default_factory=dict)
    base_frame: str = ""
    state_topic: str = ""


def _add_bag(found: Photos, bag: Path, state_topic: str) -> None:
    problems = Problems()
    track, infos = _tracked(bag, state_topic, problems)
    topic = _image_topic(found, bag, track)
    if not track.poses:
        expected = f"topic {state_topic}" if state_topic else f"a topic {ROBOT_STATE}"
        raise MotoError(f"{bag}: holds no pose of the arm, expected {expected}; record it, or give --state-topic")
    chosen = dict(_stops(track, sorted(track.images[topic])))
    if not chosen:
        raise MotoError(
            f"{bag}: the arm never stands still for {2 * STILL_TIME:g} s while {topic} has an image, expected a "
            "stop at each view; record again with stops"
        )
    info_topic = f"{topic.removesuffix('/compressed').rsplit('/', 1)[0]}/camera_info"
    if found.intrinsics is None and info_topic in infos:
        found.intrinsics = _intrinsics(infos[info_topic])
    found.base_frame = found.base_frame or track.base_frame
    for name, message, time in _messages(bag, {topic}, problems):
        stamp = message_stamp(message, time) or time
        if (pose := chosen.pop(stamp, None)) is not None:
            found.frame_id = found.frame_id or str(message.header.frame_id)
            try:
                pixels = decode_rgb(message)
            except MotoError as error:
                problems.add(f"{name} decode", f"{bag.name}: {name}: {error}")
                continue
            found.photos.append(Photo(f"{bag.name} {name} at {stamp / NSEC_PER_SEC:.3f} s", pose, pixels))
    found.problems += problems.sentences()


def _tracked(bag: Path, state_topic: str, problems: Problems) -> tuple[_Track, dict[str, Any]]:
    """Return poses, images' stamps and camera_info of a bag."""
    track = _Track()
    infos: dict[str, Any] = {}
    for name, message, time in _messages(bag, None, problems, state_topic):
        if name.endswith("/camera_info"):
            infos.setdefault(name, message)
        elif hasattr(message, "data"):
            track.images.setdefault(name, []).append(message_stamp(message, time) or time)
        else:
            _add_pose(track, name, message, time, bag)
    order = np.argsort(track.stamps, kind="stable")
    track.stamps, track.poses = [track.stamps[k] for k in order], [track.poses[k] for k in order]
    return track, infos


def _add_pose(track: _Track, name: str, message: Any, time: int, bag: Path) -> None:
    if track.state_topic not in ("", name):
        raise MotoError(
            f"{bag}: has poses of {track.state_topic} and {name}, expected one arm; give the topic as --state-topic"
        )
    track.state_topic = name
    numbers = next((n for path in ("ee_pose", "pose", "") if (n := select(message, path)) is not None), None)
    if numbers is None or len(numbers) != 7:
        raise MotoError(f"{bag}: {name} holds no pose, expected RobotState or PoseStamped; give another --state-topic")
    track.base_frame = str(message.header.frame_id)
    track.stamps.append(message_stamp(message, time) or time)
    track.poses.append(_checked_pose(numbers.tolist(), f"{bag}: {name}"))


def _messages(
    bag: Path, wanted: set[str] | None, problems: Problems, state_topic: str = ""
) -> Iterator[tuple[str, Any, int]]:
    """Yield topic, message and log time of the wanted topics; without `wanted`, of poses, colour images and infos."""
    for topic, time, data in read_messages(bag, problems):
        name = topic.name
        is_state = name == state_topic if state_topic else f"/{name}".endswith(f"/{ROBOT_STATE}")
        is_image = "Image" in topic.type_name and "/depth/" not in name and _camera_of(name) != ""
        is_info = topic.type_name == "sensor_msgs/msg/CameraInfo"
        if name not in wanted if wanted is not None else not (is_state or is_image or is_info):
            continue
        try:
            yield name, decoded(topic.type_name, topic.definition, data), time
        except DECODE_ERRORS as error:
            text = " ".join(f"{type(error).__name__} {error}".split())[:100]
            problems.add(
                name, f"{bag.name}: {name}: a message is not of type {topic.type_name} ({text}); it is left out"
            )


def _camera_of(topic: str) -> str:
    """Return the camera's name in an image topic `.../camera/<name>/image_raw` or `/compressed`, "" for another."""
    parts = f"/{topic}".split("/")
    return parts[-2] if len(parts) > 3 and parts[-3] == "camera" and parts[-1] in ("image_raw", "compressed") else ""


def _image_topic(found: Photos, bag: Path, track: _Track) -> str:
    """Return the topic of the camera's images in a bag; set the camera's name where there is only one."""
    cameras = {_camera_of(topic): topic for topic in sorted(track.images)}
    if not cameras:
        raise MotoError(f"{bag}: holds no image, expected a topic {camera_image('<name>')}; record the camera")
    if not found.camera and len(cameras) == 1:
        (found.camera,) = cameras
    if found.camera not in cameras:
        asked = f"no camera '{found.camera}'" if found.camera else "several cameras"
        raise MotoError(f"{bag}: holds {asked}, expected one of {', '.join(cameras)}; give its name as --camera")
    return cameras[found.camera]


def _intrinsics(message: Any) -> Intrinsics:
    k, lens = message.k, tuple(float(value) for value in message.d)
    fx, fy, cx, cy = (float(k[index]) for index in (0, 4, 2, 5))
    found = Intrinsics(int(message.width), int(message.height), fx, fy, cx, cy)
    return replace(found, distortion_model=str(message.distortion_model), distortion=lens) if len(lens) else found


def _stops(track: _Track, images: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the stamp of the middle image of each stop of the arm, and its pose."""
    group: list[tuple[int, np.ndarray]] = []
    stamps = np.array(track.stamps)
    for stamp in images:
        pose = _pose_at_rest(track, stamps, stamp)
        if group and (pose is None or _apart(group[0][1], pose, NEW_DISTANCE, NEW_ANGLE)):
            yield group[len(group) // 2]
            group = []
        if pose is not None:
            group.append((stamp, pose))
    if group:
        yield group[len(group) // 2]


def _pose_at_rest(track: _Track, stamps: np.ndarray, stamp: int) -> np.ndarray | None:
    """Return the arm's pose at a time (ns), None where it moves or is not known."""
    low, high = np.searchsorted(stamps, [stamp - STILL_TIME * NSEC_PER_SEC, stamp + STILL_TIME * NSEC_PER_SEC + 1])
    around = track.poses[low:high]
    if not around:
        return None
    nearest = int(low + np.argmin(np.abs(stamps[low:high] - stamp)))
    pose = track.poses[nearest]
    moves = any(_apart(pose, other, STILL_DISTANCE, STILL_ANGLE) for other in around)
    return None if moves or abs(int(stamps[nearest]) - stamp) > MAX_GAP * NSEC_PER_SEC else pose


def _apart(one: np.ndarray, other: np.ndarray, distance: float, angle: float) -> bool:
    """Tell whether two poses (4, 4) differ by more than a distance (m) or an angle (degrees)."""
    if np.linalg.norm(one[:3, 3] - other[:3, 3]) > distance:
        return True
    turn = Rotation.from_matrix(one[:3, :3].T @ other[:3, :3]).magnitude()
    return bool(np.degrees(turn) > angle)
