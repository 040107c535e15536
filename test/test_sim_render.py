"""Frames of the simulated cameras: what a policy sees, and what a user without a GPU or a driver is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("metaworld", reason="Meta-World is not installed")

import mujoco
from moto_sim import gl
from moto_sim.culling import Culling
from moto_sim.meta_world import MetaWorld
from moto_sim.world import make_world

from moto_ros.errors import MotoError

pytestmark = pytest.mark.sim

SIZE = 64
VIEWS = ("agent", "corner", "corner2", "corner3", "topview", "behindGripper", "gripperPOV")


@pytest.fixture(scope="module")
def world() -> Iterator[MetaWorld]:
    """A world at the start of an episode; rendering changes nothing in it."""
    made = make_world("metaworld/drawer-open-v3", SIZE)
    made.reset(0)
    yield made
    made.close()


def frames(world: MetaWorld) -> dict[str, np.ndarray]:
    """Return one frame of each camera."""
    return {camera: world.render(camera) for camera in VIEWS}


def test_every_camera_shows_something_else_and_none_is_blank(world: MetaWorld) -> None:
    assert set(VIEWS) <= set(world.cameras)
    seen = frames(world)
    for frame in seen.values():
        assert (frame.shape, frame.dtype) == ((SIZE, SIZE, 3), np.uint8)
        assert frame.std() > 10
    for one, other in combinations(VIEWS, 2):
        assert np.abs(seen[one].astype(int) - seen[other]).mean() > 3, (one, other)


def test_the_wrist_camera_is_meta_worlds_gripper_camera(world: MetaWorld) -> None:
    assert np.array_equal(world.render("wrist"), world.render("gripperPOV"))


def test_the_agents_camera_is_motos() -> None:
    """Breaks comparison with the paper: azimuth 15, elevation -22.5, 0.75 m from (-0.15, 0.65, 0.25)."""
    world = make_world("metaworld/drawer-open-v3", SIZE)
    world.reset(0)
    own = world.render("agent")
    camera = mujoco.MjvCamera()
    camera.azimuth, camera.elevation, camera.distance, camera.lookat = 15.0, -22.5, 0.75, (-0.15, 0.65, 0.25)
    world._views["agent"] = camera
    world.close()
    assert np.array_equal(own, world.render("agent"))
    world.close()


def test_the_agents_frame_is_upright() -> None:
    """Breaks a policy on the robot, whose camera is not upside down: up in the world is up in the frame."""
    lowest = []
    for up in (-1.0, 0.0):
        lowered = make_world("metaworld/drawer-open-v3", SIZE)
        lowered.reset(0)
        for _ in range(12):
            lowered.step(np.array([0, 0, 1, 0], np.float32))
        without_hand = lowered.render("agent").astype(int)
        lowered.reset(0)
        for _ in range(12):
            lowered.step(np.array([0, 0, up, 0], np.float32))
        hand = np.abs(lowered.render("agent").astype(int) - without_hand).max(axis=-1) > 60
        lowest.append(np.nonzero(hand)[0].max())
        lowered.close()
    assert lowest[0] > lowest[1] + 3, lowest


def test_red_comes_first(world: MetaWorld) -> None:
    """Breaks colours: what is swapped here still learns, and fails on a camera that says rgb8."""
    geoms = world._model.geom_matid.copy(), world._model.geom_rgba.copy()
    world._model.geom_matid[:], world._model.geom_rgba[:] = -1, (1.0, 0.0, 0.0, 1.0)
    red, green, blue = world.render("corner").reshape(-1, 3).mean(axis=0)
    world._model.geom_matid[:], world._model.geom_rgba[:] = geoms
    assert red > 60
    assert max(green, blue) < 10


def test_the_scene_follows_the_robot(world: MetaWorld) -> None:
    moved = make_world("metaworld/drawer-open-v3", SIZE)
    moved.reset(0)
    start = moved.render("agent")
    for _ in range(20):
        moved.step(np.array([-1, 0.3, 0, 0], np.float32))
    changed = np.abs(moved.render("agent").astype(int) - start).max(axis=-1) > 30
    moved.close()
    assert changed.mean() > 0.01


def test_rendering_changes_neither_the_world_nor_the_next_frame(world: MetaWorld) -> None:
    """Breaks determinism: the number of cameras that are looked at would decide the episode."""
    state = (world._data.qpos.copy(), world._data.qvel.copy(), world._model.geom_group.copy())
    first, second = frames(world), frames(world)
    assert all(np.array_equal(first[camera], second[camera]) for camera in VIEWS)
    for before, after in zip(state, (world._data.qpos, world._data.qvel, world._model.geom_group), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.parametrize("shape", [(64, 64), (48, 96)])
def test_leaving_out_what_is_not_in_view_changes_no_pixel(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks the picture: something at its border, or big and near, would vanish for the sake of speed."""
    culled = make_world("metaworld/drawer-open-v3", shape)
    culled.reset(0)
    quick = frames(culled)
    monkeypatch.setattr(Culling, "hide", lambda *args, **kwargs: None)
    whole = frames(culled)
    culled.close()
    assert quick["agent"].shape == (*shape, 3)
    assert [camera for camera in VIEWS if not np.array_equal(quick[camera], whole[camera])] == []


def test_leaving_out_what_is_not_in_view_saves_work(world: MetaWorld) -> None:
    world.render("agent")
    renderer = world._renderer
    assert renderer is not None
    assert renderer._scene.ngeom < 0.8 * np.sum(world._model.geom_group < 3)


@pytest.mark.parametrize("camera", ["agent", "corner", "wrist"])
def test_intrinsics_are_those_of_the_view_that_is_drawn(world: MetaWorld, camera: str) -> None:
    """Breaks whoever measures in images: camera_info would not be the camera's."""
    world.render(camera)
    renderer = world._renderer
    assert renderer is not None
    eye = renderer._scene.camera[0]
    half = eye.frustum_top / eye.frustum_near
    parameters = world.camera_intrinsics(camera)
    assert parameters.fy == pytest.approx(0.5 * SIZE / half, rel=1e-4)
    assert (parameters.fx, parameters.cx, parameters.cy) == (parameters.fy, 31.5, 31.5)


def test_intrinsics_scale_with_the_image() -> None:
    small, wide = (make_world("metaworld/reach-v3", shape).camera_intrinsics("agent") for shape in (64, (128, 256)))
    assert (wide.fx, wide.fy) == pytest.approx((2 * small.fx, 2 * small.fy))
    assert (wide.cx, wide.cy) == (127.5, 63.5)


def test_an_unknown_camera_is_named_with_those_nearest_to_it(world: MetaWorld) -> None:
    for look in (world.render, world.camera_intrinsics):
        with pytest.raises(MotoError, match=r"camera 'corner9' does not exist.*corner"):
            look("corner9")


def test_a_world_renders_again_after_close() -> None:
    world = make_world("metaworld/reach-v3", SIZE)
    world.reset(0)
    first = world.render("agent")
    world.close()
    world.close()
    assert np.array_equal(first, world.render("agent"))
    world.close()


def test_two_worlds_render_side_by_side(world: MetaWorld) -> None:
    """Breaks training beside evaluation in one process: frames of one world in the other's context."""
    other = make_world("metaworld/window-open-v3", SIZE)
    other.reset(0)
    mine = world.render("agent")
    theirs = other.render("agent")
    assert not np.array_equal(mine, theirs)
    assert np.array_equal(mine, world.render("agent"))
    assert np.array_equal(theirs, other.render("agent"))
    other.close()


def test_without_any_gl_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(gl, "_egl_devices", lambda: 0)
    monkeypatch.setattr(gl.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(MotoError, match="libegl1"):
        gl.select_backend()


def test_without_an_egl_device_osmesa_renders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(gl, "_egl_devices", lambda: 0)
    monkeypatch.setattr(gl.ctypes.util, "find_library", lambda name: "libOSMesa.so.8")
    assert gl.select_backend() == "osmesa"


def test_osmesa_gives_a_frame_of_the_same_scene_or_one_sentence(world: MetaWorld) -> None:
    """A machine without EGL: the same picture but for rounding; without the library, what to install."""
    script = (
        "import sys, numpy as np; from moto_sim.world import make_world; from moto_ros.errors import MotoError\n"
        f"world = make_world('metaworld/drawer-open-v3', {SIZE}); world.reset(0)\n"
        "try: sys.stdout.buffer.write(world.render('agent').tobytes())\n"
        "except MotoError as error: sys.exit(f'MotoError: {error}')\n"
    )
    environment = os.environ | {"MUJOCO_GL": "osmesa", "PYTHONPATH": os.pathsep.join(sys.path)}
    # Rendering with EGL in this process has left its mark here, which PyOpenGL obeys.
    environment.pop("PYOPENGL_PLATFORM", None)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=False)
    if done.returncode:
        assert b"MotoError: MUJOCO_GL=osmesa found no working OpenGL" in done.stderr
        return
    frame = np.frombuffer(done.stdout, np.uint8).reshape(SIZE, SIZE, 3).astype(int)
    assert np.abs(frame - world.render("agent")).mean() < 2
