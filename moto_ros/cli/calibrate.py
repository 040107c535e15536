"""`moto calibrate`: finds a camera's pose on the base or the hand by hand-eye calibration, and writes it to a file."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from moto_ros.cli.console import console
from moto_ros.contract.frames import BASE_FRAME
from moto_ros.errors import MotoError

if TYPE_CHECKING:
    from moto_ros.camera.board import Board, BoardSettings
    from moto_ros.camera.calibration_views import Photo, Photos
    from moto_ros.camera.hand_eye import HandEye, View

EXAMPLE = """examples:
  moto calibrate --write-board board.pdf
  moto calibrate bags/views --camera front --mount fixed --output cameras_on_arm.yaml
  moto calibrate wrist_views --camera wrist --mount hand --add cameras_on_arm.yaml --output cameras_on_arm_2.yaml
"""

END_EFFECTOR = "end_effector"
"""Name of the frame of RobotState's `ee_pose`, which no message names."""

GOAL_MM, GOAL_DEG = 3.0, 0.5
"""Uncertainty (two standard errors) above which more views are advised."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"{EXAMPLE}\n{parser.epilog}"
    text = "bags, or folders of images with poses.csv (image,x,y,z,qx,qy,qz,qw: m, unit quaternion) or poses.yaml"
    parser.add_argument("views", nargs="*", type=Path, metavar="VIEWS", help=text)
    parser.add_argument("--camera", default="", metavar="NAME", help="which camera; needed if a bag has several")
    parser.add_argument(
        "--mount",
        choices=("fixed", "hand"),
        help="fixed: camera in the cell, board held by the hand; hand: camera on the hand, board fixed in the cell",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="YAML file to write")
    parser.add_argument("--add", type=Path, metavar="FILE", help="take over the other cameras of this file")
    parser.add_argument("--force", action="store_true", help="write also if the file exists; the old one is renamed")
    parser.add_argument(
        "--intrinsics", type=Path, metavar="FILE", help="camera's calibration by ROS's camera_calibration"
    )
    parser.add_argument("--state-topic", default="", metavar="TOPIC", help="RobotState or PoseStamped in the bags")
    parser.add_argument("--parent-frame", default="", metavar="FRAME", help="name of the parent frame in the file")
    parser.add_argument("--frame-id", default="", metavar="FRAME", help="name of the camera's optical frame")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="write each view with its corners drawn as PNG")
    _configure_board(parser.add_argument_group("board"))


def _configure_board(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--write-board", type=Path, metavar="FILE", help="write the board to print: .png or .pdf")
    group.add_argument("--board", choices=("charuco", "apriltag"), default="charuco", help="kind (default: charuco)")
    group.add_argument("--columns", type=int, help="squares or tags along x (default: charuco 7, apriltag 4)")
    group.add_argument("--rows", type=int, help="squares or tags along y (default: charuco 5, apriltag 3)")
    text = "m: edge of a square, or distance from one tag to the next (default: charuco 0.036, apriltag 0.06)"
    group.add_argument("--square", type=float, help=text)
    text = "m: edge of a marker's or tag's black square (default: charuco 0.027, apriltag 0.048)"
    group.add_argument("--marker", type=float, help=text)
    text = "of OpenCV (default: charuco DICT_4X4_50, apriltag DICT_APRILTAG_36h11)"
    group.add_argument("--dictionary", metavar="NAME", help=text)


def run(options: argparse.Namespace) -> int:
    """Write the board, or calibrate and write the extrinsics."""
    _require_opencv()
    from moto_ros.camera.board import Board, board_settings, write_board

    names = ("columns", "rows", "square", "marker", "dictionary")
    board = Board(board_settings(options.board, **{name: getattr(options, name) for name in names}))
    if options.write_board is not None:
        write_board(board, options.write_board, options.force)
        print(f"wrote {options.write_board}: print it at 100 %, glue it on a stiff plate, measure its line")
    if options.views:
        return _calibrate(options, board)
    if options.write_board is None:
        raise MotoError("nothing to do: found neither views nor --write-board, expected one; see `moto calibrate -h`")
    return 0


def _require_opencv() -> None:
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise MotoError(
            f"OpenCV cannot be imported ({error}), expected 4.8 or later; pip install 'opencv-python-headless>=4.8,<5'"
        ) from error


def _calibrate(options: argparse.Namespace, board: Board) -> int:
    from moto_ros.camera.calibration_views import read_photos
    from moto_ros.camera.extrinsics import checked_target, extrinsics_of, write_extrinsics
    from moto_ros.camera.hand_eye import solve

    for name in ("mount", "output"):
        if getattr(options, name) is None:
            raise MotoError(f"--{name} is missing, expected with views of a board; see `moto calibrate --help`")
    checked_target(options.output, options.add, options.force)
    photos = read_photos(options.views, options.camera, options.intrinsics, options.state_topic)
    views, left_out = _views(photos, board, options.draw)
    for sentence in (*photos.problems, *left_out):
        print(sentence)
    assert photos.intrinsics is not None
    found = solve(views, photos.intrinsics, options.mount)
    _show(views, found)
    parent = options.parent_frame or (END_EFFECTOR if options.mount == "hand" else photos.base_frame or BASE_FRAME)
    frame_id = options.frame_id or photos.frame_id or f"{photos.camera}_optical_frame"
    result = extrinsics_of(found.camera, options.mount, parent, frame_id, _quality(found, board.settings))
    cameras, before = write_extrinsics(options.output, photos.camera, result, options.add, options.force)
    if before is not None:
        print(f"the file before is {before}")
    print(f"wrote {options.output}: {', '.join(cameras)}")
    return 0


def _views(photos: Photos, board: Board, folder: Path | None) -> tuple[list[View], list[str]]:
    """Return the views in which the board is found, and a sentence for each of the others."""
    from moto_ros.camera.hand_eye import View

    views, left_out = [], []
    for number, photo in enumerate(photos.photos):
        corners = board.find(photo.pixels)
        if folder is not None:
            _draw(folder, number, photo, corners.pixels)
        if problem := board.problem(corners):
            left_out.append(f"{photo.name}: {problem}; the view is left out")
        else:
            views.append(View(photo.name, photo.pose, corners.points, corners.pixels))
    if not views:
        count, kind = len(photos.photos), board.settings.kind
        raise MotoError(
            f"no {kind} board was found in any of {count} views, expected {board.settings.columns}x"
            f"{board.settings.rows} of {board.settings.dictionary}; check the board's options, the light and the focus"
        )
    return views, left_out


def _draw(folder: Path, number: int, photo: Photo, pixels: object) -> None:
    import cv2
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    image = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2BGR)
    for x, y in np.asarray(pixels):
        cv2.drawMarker(image, (round(x), round(y)), (0, 0, 255), cv2.MARKER_CROSS, 9, 1, cv2.LINE_AA)
    path = folder / f"view_{number:03d}.png"
    if path.exists():
        raise MotoError(f"{path} exists and is kept; give another folder as --draw")
    if not cv2.imwrite(str(path), image):
        raise MotoError(f"{path}: cannot be written; give another folder as --draw")


def _show(views: list[View], found: HandEye) -> None:
    table = Table("view", "corners", "error, px", "", box=box.SIMPLE_HEAD)
    for view, error, used in zip(views, found.errors, found.used, strict=True):
        name = view.name if len(view.name) < 80 else f"...{view.name[-77:]}"
        table.add_row(escape(name), str(len(view.points)), f"{error:.2f}", "" if used else "left out: error too large")
    console().print(table)
    print(f"reprojection error {found.error:.2f} px (root mean square) over {sum(found.used)} of {len(views)} views")
    place, turn = 1000 * found.uncertainty_m, found.uncertainty_deg
    print(f"uncertainty {place:.2f} mm, {turn:.3f} degrees (standard error, leaving out one view at a time)")
    if 2 * place > GOAL_MM or 2 * turn > GOAL_DEG:
        print("the uncertainty is large: add views, closer to the camera, with larger rotations about different axes")


def _quality(found: HandEye, settings: BoardSettings) -> dict[str, object]:
    return {
        "reprojection_error_px": round(found.error, 3),
        "views": sum(found.used),
        "views_left_out": len(found.used) - sum(found.used),
        "uncertainty_mm": round(1000 * found.uncertainty_m, 3),
        "uncertainty_deg": round(found.uncertainty_deg, 4),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "board": settings.describe(),
    }
