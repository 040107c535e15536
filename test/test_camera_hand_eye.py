"""`moto calibrate`: the camera's pose is right on rendered images, bad input gets one sentence, no file is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation
from support.bags import Sent, compressed, image, make, write_bag
from support.board_views import FISHEYE, LENS, Scene, pose, write_camera, write_folder

from moto_ros.camera.board import Board, board_settings, write_board
from moto_ros.camera.extrinsics import Extrinsics, extrinsics_of, read_extrinsics, write_extrinsics
from moto_ros.camera.hand_eye import HandEye, View, solve
from moto_ros.cli.main import main
from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.errors import MotoError

MAX_MM, MAX_DEG = 3.0, 0.5
"""What the command promises."""


def views_of(scene: Scene, images: list[np.ndarray]) -> list[View]:
    """Find the board in every image."""
    found = [scene.board.find(one) for one in images]
    return [
        View(str(k), place, corners.points, corners.pixels)
        for k, (place, corners) in enumerate(zip(scene.poses, found, strict=True))
    ]


@pytest.fixture(scope="module")
def scenes() -> dict[str, tuple[Scene, list[np.ndarray]]]:
    """Render a ChArUco board; the camera sees the same with both mounts, the arm's poses differ."""
    board = Board(board_settings("charuco"))
    fixed, hand = Scene("fixed", board), Scene("hand", board)
    assert np.array_equal(fixed.seen, hand.seen)
    images = fixed.images()
    return {"fixed": (fixed, images), "hand": (hand, images)}


Scenes = dict[str, tuple[Scene, list[np.ndarray]]]


@pytest.fixture(scope="module")
def views(scenes: Scenes) -> dict[str, list[View]]:
    """Find the board in the rendered images of both mounts."""
    return {mount: views_of(*made) for mount, made in scenes.items()}


def within(scene: Scene, camera: np.ndarray, millimetres: float = MAX_MM, degrees: float = MAX_DEG) -> bool:
    """Tell whether a pose is the scene's answer."""
    found = scene.errors(camera)
    return found[0] < millimetres and found[1] < degrees


# The answer.


@pytest.mark.parametrize("mount", ["fixed", "hand"])
def test_the_cameras_pose_is_found_with_a_charuco_board(
    mount: str, scenes: Scenes, views: dict[str, list[View]]
) -> None:
    """Breaks every use of the camera's pose: grasps beside the object."""
    found = solve(views[mount], LENS, mount)
    assert within(scenes[mount][0], found.camera, 0.2, 0.02), "as docs/calibration.md says; 3 mm is what is promised"
    assert all(found.used)
    assert found.error < 0.3
    assert 1000 * found.uncertainty_m < MAX_MM


@pytest.mark.slow
def test_the_cameras_pose_is_found_with_april_tags_and_a_fisheye_lens() -> None:
    board = Board(board_settings("apriltag"))
    fixed, hand = (Scene(mount, board, FISHEYE, seed=5) for mount in ("fixed", "hand"))
    assert np.array_equal(fixed.seen, hand.seen)
    images = fixed.images()
    for scene in (fixed, hand):
        found = solve(views_of(scene, images), FISHEYE, scene.mount)
        assert within(scene, found.camera, 1.0, 0.1), "as docs/calibration.md says; 3 mm is what is promised"


WORLD = """<mujoco>
  <visual><headlight ambient="0.9 0.9 0.9" diffuse="0 0 0" specular="0 0 0"/><map znear="0.01"/></visual>
  <asset>
    <texture name="board" type="2d" file="{file}"/>
    <material name="board" texture="board" specular="0" shininess="0"/>
  </asset>
  <worldbody>
    <body name="hand" mocap="true">{on_hand}</body>
    {in_cell}
  </worldbody>
</mujoco>"""
MUJOCO_FROM_OPTICAL = pose((180.0, 0.0, 0.0), (0.0, 0.0, 0.0))
"""MuJoCo's cameras look along -z with y up."""


def placed(made: np.ndarray) -> str:
    """Return a pose (4, 4) as MJCF attributes."""
    x, y, z, w = Rotation.from_matrix(made[:3, :3]).as_quat()
    return f'pos="{made[0, 3]} {made[1, 3]} {made[2, 3]}" quat="{w} {x} {y} {z}"'


def world_of(scene: Scene, folder: Path) -> str:
    """Return MJCF of a scene: the board a textured plane, camera and board where the scene says."""
    margin, scale = 60, 5000
    picture = cv2.copyMakeBorder(scene.board.draw(scale), *[margin] * 4, cv2.BORDER_CONSTANT, value=255)
    cv2.imwrite(str(folder / "board.png"), picture)
    height, width = (size / scale / 2 for size in picture.shape)
    face = scene.held @ pose((180.0, 0.0, 0.0), (width - margin / scale, height - margin / scale, 0.0))
    board = f'<geom type="plane" size="{width} {height} 1" material="board" {placed(face)}/>'
    camera = f'<camera name="eye" fovy="45" {placed(scene.camera @ MUJOCO_FROM_OPTICAL)}/>'
    on_hand, in_cell = (camera, board) if scene.mount == "hand" else (board, camera)
    return WORLD.format(file=folder / "board.png", on_hand=on_hand, in_cell=in_cell)


@pytest.mark.sim
@pytest.mark.parametrize("mount", ["fixed", "hand"])
def test_the_pose_is_that_of_the_simulators_camera(mount: str, tmp_path: Path) -> None:
    """Breaks simulated cells, and shows that frames and axes are those of a renderer that knows nothing of OpenCV."""
    mujoco = pytest.importorskip("mujoco")
    from moto_sim.renderer import Renderer, intrinsics, model_cameras

    scene = Scene(mount, Board(board_settings("charuco")), seed=2)
    model = mujoco.MjModel.from_xml_string(world_of(scene, tmp_path))
    data, cameras, size = mujoco.MjData(model), model_cameras(model), (480, 640)
    renderer, images = Renderer(model, cameras, size), []
    for place in scene.poses:
        data.mocap_pos[0] = place[:3, 3]
        data.mocap_quat[0] = Rotation.from_matrix(place[:3, :3]).as_quat()[[3, 0, 1, 2]]
        mujoco.mj_forward(model, data)
        images.append(renderer.render(data, "eye"))
    renderer.close()
    found = solve(views_of(scene, images), intrinsics(model, cameras["eye"], size), mount)
    assert all(found.used)
    assert within(scene, found.camera)


def test_a_view_with_a_wrong_pose_is_left_out(scenes: Scenes, views: dict[str, list[View]]) -> None:
    """Breaks the calibration of whoever let one pose belong to another image: one in fourteen spoiled all."""
    wrong = list(views["fixed"])
    moved = wrong[4].pose.copy()
    moved[:3, 3] += (0.0, 0.05, -0.04)
    wrong[4] = View("wrong", moved, wrong[4].points, wrong[4].pixels)
    wrong[9] = View("other", wrong[2].pose, wrong[9].points, wrong[9].pixels)
    found = solve(wrong, LENS, "fixed")
    assert [k for k, used in enumerate(found.used) if not used] == [4, 9]
    assert within(scenes["fixed"][0], found.camera, 0.5, 0.05)


def noisy(views: list[View], seed: int) -> HandEye:
    """Solve with poses of an arm that repeats to 0.7 mm and 0.1 degrees."""
    rng = np.random.default_rng(seed)
    shaken = []
    for view in views:
        error = pose(tuple(rng.normal(0, 0.1, 3)), tuple(rng.normal(0, 0.0007, 3)))
        shaken.append(View(view.name, view.pose @ error, view.points, view.pixels))
    return solve(shaken, LENS, "hand")


def test_the_uncertainty_says_how_far_the_answer_is_off(scenes: Scenes, views: dict[str, list[View]]) -> None:
    """Breaks whoever trusts the number: with an arm that is not exact, it must be neither tiny nor huge."""
    found = [noisy(views["hand"], seed) for seed in range(5)]
    truth = np.sqrt(np.mean([scenes["hand"][0].errors(one.camera)[0] ** 2 for one in found]))
    said = np.mean([1000 * one.uncertainty_m for one in found])
    assert truth > 0.1
    assert 0.4 * truth < said < 3.0 * truth


# What cannot give an answer.


def test_too_few_views_are_refused(views: dict[str, list[View]]) -> None:
    with pytest.raises(MotoError, match="5 usable views of the board, expected at least 6; record 15 to 20 views"):
        solve(views["fixed"][:5], LENS, "fixed")


@pytest.mark.parametrize("axis", [(0.0, 0.0, 0.0), (0.0, 0.0, 1.0)], ids=["no rotation", "one axis"])
def test_views_that_rotate_about_one_axis_or_none_are_refused(
    axis: tuple[float, float, float], views: dict[str, list[View]]
) -> None:
    """Breaks robots: the position along that axis would be any number, and look like an answer."""
    rng = np.random.default_rng(3)
    turns = [tuple(angle * np.array(axis)) for angle in rng.uniform(-40, 40, len(views["fixed"]))]
    flat = [
        View(view.name, pose(turn, tuple(rng.uniform(-0.2, 0.2, 3))), view.points, view.pixels)  # type: ignore[arg-type]
        for view, turn in zip(views["fixed"], turns, strict=True)
    ]
    with pytest.raises(MotoError, match=r"rotations are too similar: 0\.0 degrees about a second axis"):
        solve(flat, LENS, "fixed")


def test_the_other_mount_is_noticed(views: dict[str, list[View]]) -> None:
    """Breaks whoever mixes up --mount: there is always a least error."""
    with pytest.raises(MotoError, match=r"contradict each other: .*; check --mount, the board's sizes"):
        solve(views["fixed"], LENS, "hand")


# The command on a folder.


def calibrate(folder: Path, *more: str, mount: str = "fixed") -> int:
    """Run the command as a person does."""
    return main(["calibrate", str(folder), "--camera", "front", "--mount", mount, *more])


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> str:
    """Return the one line with which the command refuses."""
    assert calibrate(folder, *more) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def folder(tmp_path: Path, scenes: Scenes) -> Path:
    """Write the views of the fixed camera as images with a table."""
    return write_folder(tmp_path / "views", *scenes["fixed"])


def test_a_folder_of_images_gives_a_file_that_the_package_reads(
    folder: Path, tmp_path: Path, scenes: Scenes, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "cameras.yaml"
    assert calibrate(folder, "--output", str(output), "--draw", str(tmp_path / "drawn")) == 0
    found = read_extrinsics(output)["front"]
    assert within(scenes["fixed"][0], found.matrix())
    assert (found.mount, found.parent_frame, found.frame_id) == ("fixed", "base", "front_optical_frame")
    assert found.quality["views"] == 14
    assert found.quality["board"]["square"] == 0.036
    shown = capsys.readouterr().out
    assert "over 14 of 14 views" in shown
    assert "uncertainty 0." in shown
    drawn = cv2.imread(str(tmp_path / "drawn" / "view_000.png"))
    plain = cv2.imread(str(folder / "00.png"))
    assert drawn.shape == plain.shape
    assert ((drawn[..., 2] > 200) & (drawn[..., 0] < 60)).sum() > 24 * 9, "no red crosses on the corners"


def test_a_second_camera_is_added_and_no_file_is_lost(folder: Path, tmp_path: Path, scenes: Scenes) -> None:
    """Breaks a cell with two cameras: the first one's calibration was gone."""
    first, second = tmp_path / "one.yaml", tmp_path / "two.yaml"
    calibrate(folder, "--output", str(first))
    text = first.read_text()
    assert calibrate(folder, "--output", str(first)) == 1
    wrist = write_folder(tmp_path / "wrist", *scenes["hand"])
    words = ["calibrate", str(wrist), "--camera", "wrist", "--mount", "hand", "--add", str(first)]
    assert main([*words, "--output", str(second)]) == 0
    assert first.read_text() == text
    both = read_extrinsics(second)
    assert list(both) == ["front", "wrist"]
    assert both["front"] == read_extrinsics(first)["front"]
    assert both["wrist"].parent_frame == "end_effector"
    assert main([*words, "--output", str(first), "--force"]) == 0
    assert (tmp_path / "one.yaml.old-1").read_text() == text
    assert list(read_extrinsics(first)) == ["front", "wrist"]


def rewrite(path: Path, old: str, new: str) -> None:
    """Replace a text in a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("qx,qy,qz,qw", "roll,pitch,yaw", r"has no column qx, qy, qz, qw \(found image, x, y, z, roll, pitch, yaw\)"),
        ("03.png", "33.png", r"poses.csv, line 5: .*33.png is no image that can be read"),
        ("03.png,", "03.png,9", r"poses.csv, line 5: the hand is \d+ m from the base; give positions in m"),
        ("03.png,", "03.png,0.1,", r"poses.csv, line 5: the quaternion x y z w has length"),
        ("03.png,", "03.png,x", r"poses.csv, line 5: could not convert string to float"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(
    folder: Path, tmp_path: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(folder / "poses.csv", old, new)
    line = refused(capsys, folder, "--output", str(tmp_path / "out.yaml"))
    assert re.search(said, line), line
    assert not (tmp_path / "out.yaml").exists()


def test_images_without_the_board_are_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, folder, "--output", str(tmp_path / "out.yaml"), "--board", "apriltag")
    assert "no apriltag board was found in any of 14 views, expected 4x3 of DICT_APRILTAG_36h11; check" in line


def test_intrinsics_of_another_size_or_none_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ("--output", str(tmp_path / "out.yaml"))
    rewrite(folder / "camera.yaml", "image_width: 640", "image_width: 1280")
    assert "has 640x480 px, expected 1280x480 px as the intrinsics have" in refused(capsys, folder, *output)
    write_camera(folder / "camera.yaml", type(LENS)(640, 480, 0.0, 0.0, 0.0, 0.0))
    assert "intrinsics are not calibrated (focal length 0)" in refused(capsys, folder, *output)
    (folder / "camera.yaml").unlink()
    assert "no intrinsics (camera_info in a bag, camera.yaml in a folder)" in refused(capsys, folder, *output)
    assert calibrate(folder, *output, "--intrinsics", str(write_camera(tmp_path / "lens.yaml", LENS))) == 0


def test_poses_may_be_yaml(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "poses.csv").read_text().splitlines()[1:]
    rows = [(name, [float(number) for number in numbers]) for name, *numbers in (line.split(",") for line in lines)]
    content = [{"image": name, "position": n[:3], "orientation": n[3:]} for name, n in rows]
    (folder / "poses.csv").unlink()
    (folder / "poses.yaml").write_text(yaml.safe_dump(content))
    assert calibrate(folder, "--output", str(tmp_path / "out.yaml")) == 0


# The command on a bag.


def state(stamp: int, place: np.ndarray) -> Sent:
    """Return a RobotState of the arm at a pose."""
    message = make("moto_msgs/msg/RobotState", stamp)
    message.header.frame_id = "fr3_link0"
    at, turn = message.ee_pose.position, message.ee_pose.orientation
    at.x, at.y, at.z = map(float, place[:3, 3])
    turn.x, turn.y, turn.z, turn.w = map(float, Rotation.from_matrix(place[:3, :3]).as_quat())
    return Sent("/moto/robot/state", "state", "moto_msgs/msg/RobotState", message, stamp)


def info(stamp: int) -> Sent:
    """Return the camera's intrinsics."""
    message: Any = make("sensor_msgs/msg/CameraInfo", stamp, width=640, height=480, distortion_model="plumb_bob")
    message.d = np.array(LENS.distortion)
    message.k = np.array([LENS.fx, 0, LENS.cx, 0, LENS.fy, LENS.cy, 0, 0, 1])
    return Sent("/moto/camera/front/camera_info", "", "sensor_msgs/msg/CameraInfo", message, stamp)


def recorded(scene: Scene, images: list[np.ndarray], stop: float = 0.7) -> Iterator[Sent]:
    """Yield a recording: at each view the arm stops for `stop` s, and between two it moves; images at 10 Hz."""
    clock = 100 * NSEC_PER_SEC
    yield info(clock)
    for k, (place, pixels) in enumerate(zip(scene.poses, images, strict=True)):
        towards = scene.poses[(k + 1) % len(images)]
        steps = [0.0] * round(stop * 20) + [0.2, 0.4, 0.6, 0.8]
        for number, share in enumerate(steps):
            between = place.copy()
            between[:3, 3] += share * (towards[:3, 3] - place[:3, 3])
            clock += NSEC_PER_SEC // 20
            yield state(clock, between)
            if number % 2 == 0:  # a frame while the arm moves shows the stop before: it must not be used
                message = image(pixels, clock) if k % 2 else compressed(pixels, clock, "png")
                message.header.frame_id = "front_lens"
                kind, name = ("Image", "image_raw") if k % 2 else ("CompressedImage", "compressed")
                yield Sent(f"/moto/camera/front/{name}", "", f"sensor_msgs/msg/{kind}", message, clock)


def test_a_bag_gives_one_view_for_each_stop(tmp_path: Path, scenes: Scenes, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks whoever records while guiding the arm: images in motion do not belong to their poses."""
    scene, images = scenes["fixed"]
    only_raw = (sent for sent in recorded(scene, images) if sent.topic.endswith(("image_raw", "state", "info")))
    write_bag(tmp_path / "bag", only_raw)
    words = ["calibrate", str(tmp_path / "bag"), "--mount", "fixed", "--output", str(tmp_path / "out.yaml")]
    assert main(words) == 0
    found = read_extrinsics(tmp_path / "out.yaml")["front"]
    assert within(scene, found.matrix())
    assert (found.parent_frame, found.frame_id) == ("fr3_link0", "front_lens")
    assert found.quality["views"] == 7
    assert "over 7 of 7 views" in capsys.readouterr().out


def test_a_bag_without_stops_or_poses_or_with_another_camera_is_refused(
    tmp_path: Path, scenes: Scenes, capsys: pytest.CaptureFixture[str]
) -> None:
    scene, images = scenes["fixed"]
    few = Scene("fixed", scene.board, views=3)
    sent = [one for one in recorded(few, images[:3], stop=0.2) if not one.topic.endswith("compressed")]
    write_bag(tmp_path / "moving", sent)
    write_bag(tmp_path / "blind", [one for one in sent if not one.topic.endswith("state")])
    output = ("--output", str(tmp_path / "out.yaml"))
    assert "the arm never stands still for 0.5 s" in refused(capsys, tmp_path / "moving", *output)
    assert "holds no pose of the arm, expected a topic robot/state" in refused(capsys, tmp_path / "blind", *output)
    assert main(["calibrate", str(tmp_path / "moving"), "--camera", "wrist", "--mount", "hand", *output]) == 1
    assert "holds no camera 'wrist', expected one of front" in capsys.readouterr().err


# The board to print.


@pytest.mark.parametrize("kind", ["charuco", "apriltag"])
def test_the_printed_board_has_its_true_size_and_is_found(kind: str, tmp_path: Path) -> None:
    """Breaks every distance: a board printed 2 % too small moves the camera by centimetres."""
    path = tmp_path / "board.png"
    assert main(["calibrate", "--write-board", str(path), "--board", kind]) == 0
    with Image.open(path) as page:
        dpi, pixels = page.info["dpi"][0], np.asarray(page)
    assert dpi * 0.297 / 0.0254 > pixels.shape[1], "wider than A4"
    assert dpi * 0.21 / 0.0254 > pixels.shape[0], "higher than A4"
    less = cv2.resize(pixels, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    found = Board(board_settings(kind)).find(np.repeat(less[..., None], 3, 2))
    assert len(found.points) == {"charuco": 24, "apriltag": 48}[kind]
    metres = found.pixels * 4 * 0.0254 / dpi
    from_corner = np.linalg.norm(metres - metres[0], axis=1) - np.linalg.norm(found.points - found.points[0], axis=1)
    assert np.abs(from_corner).max() < 0.0002


def test_a_board_is_not_written_over_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "board.pdf"
    board = Board(board_settings("charuco"))
    write_board(board, path)
    before = path.read_bytes()
    assert before.startswith(b"%PDF")
    assert main(["calibrate", "--write-board", str(path)]) == 1
    assert "exists and is kept" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main(["calibrate", "--write-board", str(path), "--force", "--rows", "4"]) == 0
    assert (tmp_path / "board.pdf.old-1").read_bytes() == before
    assert main(["calibrate", "--write-board", str(tmp_path / "board.svg")]) == 1
    assert "expected .png or .pdf" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--square", "36"], "marker 0.027 m and square 36 m, expected 0 < marker < square in metres"),
        (["--columns", "1"], "1 columns and 5 rows"),
        (["--dictionary", "DICT_9X9"], "dictionary is 'DICT_9X9', expected a name of OpenCV"),
        (["--columns", "20", "--rows", "20"], "needs 200 markers, but DICT_4X4_50 has 50"),
        ([], "found neither views nor --write-board"),
    ],
)
def test_a_board_that_cannot_be_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", *words]) == 1
    assert said in capsys.readouterr().err


# The file.

NUMBERS = st.floats(-5.0, 5.0).map(lambda value: round(value, 6))
TURNS = st.tuples(*[st.floats(-1.0, 1.0)] * 4).filter(lambda turn: float(np.linalg.norm(turn)) > 0.1)
NAMES = st.text("abcdefgh_öé: #'\"-0123", min_size=1, max_size=12)


@given(st.tuples(*[NUMBERS] * 3), TURNS, NAMES, NAMES)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory,
    place: tuple[float, float, float],
    turn: tuple[float, float, float, float],
    camera: str,
    frame: str,
) -> None:
    """Breaks whoever names cameras freely, and any pose that loses digits on the way."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = Rotation.from_quat(turn).as_matrix(), place
    found = extrinsics_of(made, "hand", frame, "optical", {"views": 12})
    path = tmp_path_factory.mktemp("file") / "cameras.yaml"
    write_extrinsics(path, camera, found)
    again = read_extrinsics(path)
    assert again == {camera: found}
    assert np.abs(again[camera].matrix() - made).max() < 2e-6
    assert found.rotation[3] >= 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cameras: [", "is not YAML"),
        ("- 1", "holds list"),
        ("robot: 1", "has no 'cameras:'"),
        ("cameras: {front: {mount: fixed}}", "camera 'front': KeyError 'translation'"),
        (
            "cameras: {a: {mount: hand, parent_frame: b, frame_id: c, translation: [1, 2, 3], rotation: [1, 1, 0, 0]}}",
            "quaternion x y z w has length 1.414, expected 1",
        ),
        (
            "cameras: {a: {mount: lid, parent_frame: b, frame_id: c, translation: [1, 2, 3], rotation: [0, 0, 0, 1]}}",
            "mount is 'lid'",
        ),
    ],
)
def test_another_file_is_no_extrinsics(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(text)
    with pytest.raises(MotoError, match=said):
        read_extrinsics(path)


def test_what_a_person_added_to_the_file_stays(tmp_path: Path) -> None:
    one = Extrinsics("fixed", "base", "a", (0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0))
    write_extrinsics(tmp_path / "one.yaml", "a", one)
    with (tmp_path / "one.yaml").open("a", encoding="utf-8") as file:
        file.write("cell: left\n")
    write_extrinsics(tmp_path / "two.yaml", "b", one, add=tmp_path / "one.yaml")
    assert yaml.safe_load((tmp_path / "two.yaml").read_text())["cell"] == "left"
    assert list(read_extrinsics(tmp_path / "two.yaml")) == ["a", "b"]
