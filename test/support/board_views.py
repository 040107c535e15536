"""Images of a calibration board as a known camera sees it, with lens distortion and noise, and the arm's poses."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from moto_ros.camera.board import Board
from moto_ros.camera.hand_eye import ideal_points
from moto_ros.camera.interface import Intrinsics

LENS = Intrinsics(640, 480, 600.0, 605.0, 322.3, 236.8, "plumb_bob", (-0.12, 0.08, 0.001, -0.0007, 0.0))
FISHEYE = Intrinsics(640, 480, 480.0, 482.0, 318.4, 243.1, "equidistant", (0.03, -0.01, 0.004, -0.001))
TEXTURE_SCALE = 5000
"""Pixels a metre of the board's picture."""
OVERSAMPLING = 3
"""Rays along each edge of a pixel."""
NOISE = 4.0
"""Standard deviation of the pixels' noise, of 255."""


def pose(rotvec: tuple[float, float, float], place: tuple[float, float, float]) -> np.ndarray:
    """Return a pose (4, 4) from a rotation vector in degrees and a position in m."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = Rotation.from_rotvec(rotvec, degrees=True).as_matrix(), place
    return made


CAMERA_ON_HAND = pose((3.0, -8.0, 88.0), (0.06, -0.03, 0.045))
CAMERA_IN_CELL = pose((-140.0, 40.0, 15.0), (0.9, -0.35, 0.7))
"""parent_from_camera, the answers."""


@dataclass
class Scene:
    """A camera, a board, and the arm's poses at which the camera sees the board."""

    mount: str
    board: Board
    lens: Intrinsics = LENS
    seed: int = 0
    views: int = 14
    turn: float = 25.0
    camera: np.ndarray = field(init=False)
    poses: list[np.ndarray] = field(init=False)
    seen: list[np.ndarray] = field(init=False)
    held: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        """Choose poses of the board before the camera; the arm's follow from them and the answer."""
        rng = np.random.default_rng(self.seed)
        middle = self.board.settings.square * np.array([self.board.settings.columns, self.board.settings.rows]) / 2
        self.seen = [self._board_in_camera(rng, middle) for _ in range(self.views)]
        self.held = pose((4.0, -7.0, 30.0), (0.5, 0.1, 0.02) if self.mount == "hand" else (-0.1, -0.08, 0.06))
        self.camera = CAMERA_ON_HAND if self.mount == "hand" else CAMERA_IN_CELL
        board = [self.camera @ seen @ np.linalg.inv(self.held) for seen in self.seen]
        self.poses = [np.linalg.inv(one) if self.mount == "hand" else one for one in board]

    def _board_in_camera(self, rng: np.random.Generator, middle: np.ndarray) -> np.ndarray:
        turn = Rotation.from_rotvec(rng.uniform(-self.turn, self.turn, 3), degrees=True)
        target = np.array([*rng.uniform((-0.06, -0.04), (0.06, 0.04)), rng.uniform(0.4, 0.6)])
        seen = np.eye(4)
        seen[:3, :3] = turn.as_matrix()
        seen[:3, 3] = target - seen[:3, :3] @ np.array([*middle, 0.0])
        return seen

    def images(self) -> list[np.ndarray]:
        """Return what the camera sees, RGB uint8 (480, 640, 3) each."""
        rng = np.random.default_rng(self.seed + 1)
        picture = self.board.draw(TEXTURE_SCALE)
        return [render(picture, seen, self.lens, rng) for seen in self.seen]

    def errors(self, found: np.ndarray) -> tuple[float, float]:
        """Return by how much a pose differs from the answer: mm, degrees."""
        turn = Rotation.from_matrix(found[:3, :3].T @ self.camera[:3, :3]).magnitude()
        return 1000 * float(np.linalg.norm(found[:3, 3] - self.camera[:3, 3])), float(np.degrees(turn))


@lru_cache(maxsize=2)
def rays_of(lens: Intrinsics) -> np.ndarray:
    """Return the direction x, y, 1 of every ray of an image, (H, W, 3), `OVERSAMPLING` rays along a pixel's edge."""
    steps = [(np.arange(size * OVERSAMPLING) + 0.5) / OVERSAMPLING - 0.5 for size in (lens.width, lens.height)]
    pixels = np.stack(np.meshgrid(*steps), -1)
    ideal = ideal_points(pixels.reshape(-1, 2), lens).reshape(pixels.shape)
    return np.concatenate([ideal, np.ones((*ideal.shape[:2], 1))], -1)


def render(picture: np.ndarray, board: np.ndarray, lens: Intrinsics, rng: np.random.Generator) -> np.ndarray:
    """Return the image of a board's picture at camera_from_board (4, 4): one ray through every part of a pixel."""
    rays, normal, origin = rays_of(lens), board[:3, 2], board[:3, 3]
    depth = (normal @ origin) / (rays @ normal)
    points = (rays * depth[..., None] - origin) @ board[:3, :2]
    where = (points * TEXTURE_SCALE - 0.5).astype(np.float32)
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": 190}
    large = cv2.remap(picture, where[..., 0], where[..., 1], cv2.INTER_LINEAR, **border)
    # A white plate around the board, as the printed page has.
    rim = 0.015 * TEXTURE_SCALE
    inside = ((where > -rim) & (where < np.array(picture.shape[::-1]) + rim)).all(-1)
    on_board = ((where >= 0) & (where <= np.array(picture.shape[::-1]) - 1)).all(-1)
    large = np.where(inside & ~on_board, 255, large).astype(np.uint8)
    small = cv2.resize(large, (lens.width, lens.height), interpolation=cv2.INTER_AREA).astype(float)
    noisy = np.clip(20 + 0.8 * small + rng.normal(0, NOISE, small.shape), 0, 255)
    return np.repeat(np.rint(noisy).astype(np.uint8)[..., None], 3, axis=2)


def write_folder(folder: Path, scene: Scene, images: list[np.ndarray]) -> Path:
    """Write images, poses.csv and camera.yaml as a person would bring them."""
    folder.mkdir(parents=True)
    lines = ["image,x,y,z,qx,qy,qz,qw"]
    for number, (image, place) in enumerate(zip(images, scene.poses, strict=True)):
        cv2.imwrite(str(folder / f"{number:02d}.png"), image[:, :, ::-1])
        numbers = [*place[:3, 3], *Rotation.from_matrix(place[:3, :3]).as_quat()]
        lines.append(f"{number:02d}.png," + ",".join(f"{value:.9f}" for value in numbers))
    (folder / "poses.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_camera(folder / "camera.yaml", scene.lens)
    return folder


def write_camera(path: Path, lens: Intrinsics) -> Path:
    """Write intrinsics as ROS's camera_calibration does."""
    path.write_text(
        f"image_width: {lens.width}\nimage_height: {lens.height}\ncamera_name: front\n"
        f"camera_matrix: {{rows: 3, cols: 3, data: [{lens.fx}, 0, {lens.cx}, 0, {lens.fy}, {lens.cy}, 0, 0, 1]}}\n"
        f"distortion_model: {lens.distortion_model}\n"
        f"distortion_coefficients: {{rows: 1, cols: {len(lens.distortion)}, data: {list(lens.distortion)}}}\n",
        encoding="utf-8",
    )
    return path
