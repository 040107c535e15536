"""Hand-eye calibration: finds a camera's pose from views of a board and the arm's pose at each.

Both mounts are one problem. With X = parent_from_camera, Z the board's fixed pose and B = base_from_end_effector:
on the hand, camera_from_board = X^-1 B^-1 Z (board fixed in the cell); fixed, camera_from_board = X^-1 B Z (board in
the hand). OpenCV's closed solutions give the start, least squares of the reprojection error over X and Z the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from moto_ros.camera.extrinsics import HAND
from moto_ros.camera.interface import Intrinsics
from moto_ros.errors import MotoError

MIN_VIEWS = 6
"""Views that must be usable: 3 determine the pose, the others show whether it is right."""

MIN_ROTATION = 5.0
"""Root mean square rotation between views about the second axis, degrees: with less, the position is not observable."""

MAX_ERROR = 5.0 / 640
"""Reprojection error, as a share of the image's width, above which the result is refused: something is mixed up."""

OUTLIER_FACTOR, OUTLIER_FLOOR = 3.0, 1.0
"""A view is left out if its error is above this many times the median, and above this many pixels."""

SUBSETS, SUBSET_SIZE = 40, 4
"""Random sets of views from which the start is also computed, so that a wrong view does not spoil it."""

NEAR = 1e-3
"""Depth, m, to which points at or behind the camera are moved while the solver searches."""

METHODS = (cv2.CALIB_HAND_EYE_PARK, cv2.CALIB_HAND_EYE_DANIILIDIS)

FISHEYE = "equidistant"
LENSES = ("plumb_bob", "rational_polynomial", FISHEYE)


@dataclass(frozen=True)
class View:
    """One image: the arm's pose, and the corners of the board in it."""

    name: str
    pose: np.ndarray  # base_from_end_effector, float64 (4, 4), m
    points: np.ndarray  # float64 (N, 3), m, in the board's frame
    pixels: np.ndarray  # float64 (N, 2), px


@dataclass(frozen=True)
class HandEye:
    """The result: parent_from_camera, the board's pose, errors and uncertainty."""

    camera: np.ndarray  # float64 (4, 4), m: in the base's frame, or in the end effector's for a camera on the hand
    board: np.ndarray  # float64 (4, 4), m: in the end effector's frame, or in the base's for a camera on the hand
    errors: tuple[float, ...]  # root mean square reprojection error of every view, px, the rejected ones too
    used: tuple[bool, ...]
    error: float  # root mean square reprojection error of the used views, px
    uncertainty_m: float  # standard error of the position, by leaving out one view at a time
    uncertainty_deg: float  # that of the rotation


def solve(views: Sequence[View], intrinsics: Intrinsics, mount: str) -> HandEye:
    """Return the camera's pose from views of the board.

    Raises MotoError, saying what to do, where the camera is not calibrated, views are too few, rotate too little or
    contradict each other.
    """
    _check_views(views)
    problem = _Problem(views, intrinsics, mount)
    start = problem.start()
    used: np.ndarray = np.ones(len(views), bool)
    found = problem.refined(start, used, robust=True)
    for _ in range(5):
        errors = problem.view_errors(found)
        limit = max(OUTLIER_FACTOR * float(np.median(errors)), OUTLIER_FLOOR)
        kept = errors <= limit
        found = problem.refined(found, kept)
        if (kept == used).all():
            break
        used = kept
    _check_fit(problem, found, used, intrinsics)
    _check_rotations([view.pose for view, good in zip(views, used, strict=True) if good])
    errors = problem.view_errors(found)
    place, turn = _standard_error(problem, found, used)
    total = problem.error(found, used)
    return HandEye(found[0], found[1], tuple(map(float, errors)), tuple(map(bool, used)), total, place, turn)


def rotation_about_second_axis(poses: Sequence[np.ndarray]) -> float:
    """Return by how much poses (4, 4) rotate against each other about the second axis, degrees (root mean square).

    It is 0 where all rotations are about one axis: then the camera's position along that axis is undetermined.
    """
    turns = Rotation.from_matrix([pose[:3, :3] for pose in poses])
    vectors = np.array([(turns[i].inv() * turns[j]).as_rotvec() for i, j in combinations(range(len(poses)), 2)])
    values = np.linalg.eigvalsh(vectors.T @ vectors / len(vectors))
    return float(np.degrees(np.sqrt(max(values[1], 0.0))))


def ideal_points(pixels: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Return pixels (N, 2) as coordinates x/z, y/z (N, 2) of a camera without distortion.

    Raises MotoError where the camera is not calibrated or its lens model is unknown.
    """
    if not (intrinsics.fx > 0 and intrinsics.fy > 0):
        raise MotoError(
            "the camera's intrinsics are not calibrated (focal length 0), expected them from camera_info or from "
            "--intrinsics; calibrate the camera with ROS's camera_calibration first"
        )
    model = intrinsics.distortion_model or "plumb_bob"
    if model not in LENSES:
        raise MotoError(
            f"the camera's distortion model is '{model}', expected one of {', '.join(LENSES)}; calibrate the camera "
            "with ROS's camera_calibration and give that file as --intrinsics"
        )
    matrix = np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy], [0, 0, 1]])
    lens = np.array(intrinsics.distortion or (0.0,) * 4, float)
    source = np.ascontiguousarray(pixels, float).reshape(-1, 1, 2)
    if model == FISHEYE:
        return np.asarray(cv2.fisheye.undistortPoints(source, matrix, lens[:4])).reshape(-1, 2)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
    return np.asarray(cv2.undistortPointsIter(source, matrix, lens, np.eye(3), np.eye(3), stop)).reshape(-1, 2)


Poses = tuple[np.ndarray, np.ndarray]
"""X and Z: the camera's and the board's pose, (4, 4)."""


class _Problem:
    """The views as arrays; errors in pixels of the image without distortion."""

    def __init__(self, views: Sequence[View], intrinsics: Intrinsics, mount: str) -> None:
        self.focal = np.array([intrinsics.fx, intrinsics.fy])
        self.points = [view.points for view in views]
        self.ideal = [ideal_points(view.pixels, intrinsics) for view in views]
        self.arm = [np.linalg.inv(view.pose) if mount == HAND else view.pose for view in views]
        self.boards = [_board_pose(*pair) for pair in zip(self.points, self.ideal, strict=True)]

    def start(self) -> Poses:
        """Return the poses whose median error of the views is least, among closed solutions of sets of views."""
        count = len(self.arm)
        rng = np.random.default_rng(0)
        sets = [np.arange(count), *(rng.permutation(count)[:SUBSET_SIZE] for _ in range(SUBSETS))]
        found = [pose for chosen in sets for method in METHODS if (pose := self._closed(chosen, method)) is not None]
        if not found:
            raise MotoError(_TOO_SIMILAR)
        return min(found, key=lambda poses: float(np.median(self.view_errors(poses))))

    def _closed(self, chosen: np.ndarray, method: int) -> Poses | None:
        """Return OpenCV's solution of A X = X B for some views, None where it has none."""
        hands = [np.linalg.inv(self.arm[index]) for index in chosen]
        boards = [self.boards[index] for index in chosen]
        try:
            turn, place = cv2.calibrateHandEye(
                [pose[:3, :3] for pose in hands],
                [pose[:3, 3] for pose in hands],
                [pose[:3, :3] for pose in boards],
                [pose[:3, 3] for pose in boards],
                method=method,
            )
        except cv2.error:
            return None
        matrix: np.ndarray = np.column_stack([turn, place]).astype(float)
        if not np.isfinite(matrix).all() or np.linalg.det(matrix[:, :3]) < 0.5:
            return None
        camera = _pose(Rotation.from_matrix(matrix[:, :3]), matrix[:, 3])
        held = [hand @ camera @ board for hand, board in zip(hands, boards, strict=True)]
        turns = Rotation.from_matrix([pose[:3, :3] for pose in held])
        return camera, _pose(turns.mean(), np.median([pose[:3, 3] for pose in held], axis=0))

    def residuals(self, poses: Poses, index: int) -> np.ndarray:
        """Return the reprojection errors of one view, (N, 2) px."""
        board = np.linalg.inv(poses[0]) @ self.arm[index] @ poses[1]
        seen = self.points[index] @ board[:3, :3].T + board[:3, 3]
        return np.asarray((seen[:, :2] / np.maximum(seen[:, 2:], NEAR) - self.ideal[index]) * self.focal)

    def view_errors(self, poses: Poses) -> np.ndarray:
        """Return the root mean square reprojection error of every view, (V,) px."""
        squares = [(self.residuals(poses, index) ** 2).sum(1).mean() for index in range(len(self.arm))]
        return np.sqrt(squares)

    def error(self, poses: Poses, used: np.ndarray) -> float:
        """Return the root mean square reprojection error over all corners of the used views, px."""
        every = np.concatenate([self.residuals(poses, index) for index in np.flatnonzero(used)])
        return float(np.sqrt((every**2).sum(1).mean()))

    def refined(self, start: Poses, used: np.ndarray, robust: bool = False) -> Poses:
        """Return the poses of least reprojection error of the used views (with `robust`: Cauchy's loss)."""
        chosen = np.flatnonzero(used)

        def moved(step: np.ndarray) -> Poses:
            return _moved(start[0], step[:6]), _moved(start[1], step[6:])

        def errors(step: np.ndarray) -> np.ndarray:
            poses = moved(step)
            return np.concatenate([self.residuals(poses, index).ravel() for index in chosen])

        if not robust:
            return moved(least_squares(errors, np.zeros(12), method="lm", xtol=1e-9).x)
        scale = max(float(np.median(self.view_errors(start))), 0.5)
        return moved(least_squares(errors, np.zeros(12), loss="cauchy", f_scale=scale, x_scale="jac", max_nfev=50).x)


def _board_pose(points: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """Return camera_from_board (4, 4) of one view."""
    done, turn, place = cv2.solvePnP(points, ideal, np.eye(3), np.zeros(5), flags=cv2.SOLVEPNP_IPPE)
    if not done:
        raise MotoError("a view's corners give no pose of the board; leave that view out")
    return _pose(Rotation.from_rotvec(turn.ravel()), place.ravel())


def _pose(turn: Rotation, place: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn.as_matrix(), place
    return pose


def _moved(pose: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return a pose after a small motion: rotation vector (rad) in its own frame, translation (m) in its parent's."""
    return _pose(Rotation.from_matrix(pose[:3, :3]) * Rotation.from_rotvec(step[:3]), pose[:3, 3] + step[3:])


_ADVICE = (
    "record 15 to 20 views, and between them rotate the hand by 20 to 40 degrees about at least two different axes"
)
_TOO_SIMILAR = f"the rotations of the views are too similar for hand-eye calibration; {_ADVICE}"


def _check_views(views: Sequence[View]) -> None:
    if len(views) < MIN_VIEWS:
        raise MotoError(f"{len(views)} usable views of the board, expected at least {MIN_VIEWS}; {_ADVICE}")
    _check_rotations([view.pose for view in views])


def _check_rotations(poses: Sequence[np.ndarray]) -> None:
    angle = rotation_about_second_axis(poses)
    if angle < MIN_ROTATION:
        raise MotoError(
            f"the views' rotations are too similar: {angle:.1f} degrees about a second axis, expected at least "
            f"{MIN_ROTATION:g}; {_ADVICE}"
        )


def _check_fit(problem: _Problem, found: Poses, used: np.ndarray, intrinsics: Intrinsics) -> None:
    """Raise MotoError where the views do not agree on one pose."""
    error, limit = problem.error(found, used), MAX_ERROR * intrinsics.width
    if used.sum() < max(MIN_VIEWS, len(used) / 2) or error > limit:
        raise MotoError(
            f"the views contradict each other: {int(used.sum())} of {len(used)} agree, with a reprojection error of "
            f"{error:.1f} px, expected more than half and at most {limit:.1f} px; check --mount, the board's sizes, "
            "the intrinsics, and that each pose belongs to its image and the board did not slip"
        )


def _standard_error(problem: _Problem, found: Poses, used: np.ndarray) -> tuple[float, float]:
    """Return the jackknife's standard error of the camera's position (m) and rotation (degrees)."""
    places, turns = [], []
    for index in np.flatnonzero(used):
        fewer = used.copy()
        fewer[index] = False
        camera, _ = problem.refined(found, fewer)
        places.append(camera[:3, 3] - found[0][:3, 3])
        turns.append(Rotation.from_matrix(found[0][:3, :3].T @ camera[:3, :3]).as_rotvec())
    count = len(places)

    def error(values: list[np.ndarray]) -> float:
        around = np.array(values) - np.mean(values, axis=0)
        return float(np.sqrt((count - 1) / count * (around**2).sum()))

    return error(places), float(np.degrees(error(turns)))
