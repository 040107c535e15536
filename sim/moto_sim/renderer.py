"""Fast off-screen renderer of a MuJoCo model: no shadows, no reflections, no skybox, no multisampling."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from moto_ros.camera.interface import Intrinsics
from moto_ros.errors import MotoError
from moto_sim.culling import Culling
from moto_sim.gl import create_context

COSTLY_EFFECTS = (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX)
"""Effects that take three quarters of the time of a software-rendered frame, and do not help a policy."""

MAX_GEOMS = 2000


@dataclass(frozen=True)
class FreeView:
    """A camera that looks at a point of the world: angles in degrees, distance and point in metres."""

    azimuth: float
    elevation: float
    distance: float
    lookat: tuple[float, float, float]

    def camera(self) -> mujoco.MjvCamera:
        """Return it as MuJoCo's abstract camera."""
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        camera.azimuth, camera.elevation, camera.distance = self.azimuth, self.elevation, self.distance
        camera.lookat[:] = self.lookat
        return camera


def fixed_camera(model: mujoco.MjModel, name: str) -> mujoco.MjvCamera:
    """Return the camera that the model itself defines under `name`."""
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
    camera.fixedcamid = model.camera(name).id
    return camera


def model_cameras(model: mujoco.MjModel) -> dict[str, mujoco.MjvCamera]:
    """Return every named camera of the model."""
    names = [model.camera(index).name for index in range(model.ncam)]
    return {name: fixed_camera(model, name) for name in names if name}


def intrinsics(model: mujoco.MjModel, camera: mujoco.MjvCamera, size: tuple[int, int]) -> Intrinsics:
    """Return the pinhole camera for (height, width) pixels, from its vertical field of view; without distortion."""
    height, width = size
    free = camera.type == mujoco.mjtCamera.mjCAMERA_FREE
    fovy = model.vis.global_.fovy if free else model.cam_fovy[camera.fixedcamid]
    focal = 0.5 * height / np.tan(0.5 * np.radians(float(fovy)))
    return Intrinsics(width, height, float(focal), float(focal), 0.5 * (width - 1), 0.5 * (height - 1))


class Renderer:
    """Renders frames of one model; like its GL context, it belongs to the thread that created it."""

    def __init__(self, model: mujoco.MjModel, cameras: Mapping[str, mujoco.MjvCamera], size: tuple[int, int]) -> None:
        """Open a GL context for (height, width) frames; raise MotoError where no GL works."""
        self._cameras = dict(cameras)
        self._model, self._size = model, size
        model.vis.quality.offsamples = 0
        model.vis.global_.offheight, model.vis.global_.offwidth = size
        self._gl = create_context(size[1], size[0])
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, MAX_GEOMS)
        self._option, self._rect = mujoco.MjvOption(), mujoco.MjrRect(0, 0, size[1], size[0])
        self._culling = Culling(model)
        for effect in COSTLY_EFFECTS:
            self._scene.flags[effect] = False
        # EGL shuts down at exit, and a context freed after that prints errors.
        atexit.register(self.close)

    def render(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        """Return the frame of `camera` as RGB uint8 (H, W, 3); raise MotoError on an unknown name."""
        if camera not in self._cameras:
            raise MotoError(f"camera '{camera}' does not exist, expected one of {', '.join(self._cameras)}")
        self._gl.make_current()
        self._fill_scene(data, self._cameras[camera])
        mujoco.mjr_render(self._rect, self._scene, self._context)
        frame = np.empty((*self._size, 3), np.uint8)
        mujoco.mjr_readPixels(frame, None, self._rect, self._context)
        return np.ascontiguousarray(frame[::-1])

    def _fill_scene(self, data: mujoco.MjData, camera: mujoco.MjvCamera) -> None:
        """Fill the scene with the geoms that this camera can see."""
        mujoco.mjv_updateCamera(self._model, data, camera, self._scene)
        self._culling.hide(data, self._scene, aspect=self._size[1] / self._size[0])
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._option, None, camera, everything, self._scene)
        self._culling.show()

    def close(self) -> None:
        """Free the GL context; a second call does nothing."""
        if self._gl is not None:
            self._context.free()
            self._gl.free()
            self._gl = None
            atexit.unregister(self.close)
