"""Base class of MuJoCo worlds: cameras and rendering."""

from __future__ import annotations

import mujoco
import numpy as np

from moto_ros.camera.interface import Intrinsics
from moto_ros.errors import MotoError
from moto_sim.renderer import Renderer, intrinsics, model_cameras
from moto_sim.world import World, closest


def check_action(action: np.ndarray, size: int) -> np.ndarray:
    """Return `action` as float32 (size,) clipped to [-1, 1]; raise MotoError on a wrong size or a non-finite entry."""
    values = np.asarray(action, np.float32)
    if values.shape != (size,) or not np.isfinite(values).all():
        raise MotoError(f"action {values.tolist()} cannot be executed, expected {size} finite numbers in [-1, 1]")
    return np.clip(values, -1.0, 1.0)


class MujocoWorld(World):
    """Renders one model and its data; GL is opened at the first frame, in the thread that asks for it."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, size: tuple[int, int]) -> None:
        """Take the model's own cameras; subclasses add theirs."""
        self._model, self._data, self._size = model, data, size
        self._views = model_cameras(model)
        self._renderer: Renderer | None = None

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras that can be rendered."""
        return tuple(self._views)

    def render(self, camera: str) -> np.ndarray:
        """Return the present frame of `camera` as RGB uint8 (H, W, 3)."""
        self._view(camera)
        if self._renderer is None:
            self._renderer = Renderer(self._model, self._views, self._size)
        return self._renderer.render(self._data, camera)

    def camera_intrinsics(self, camera: str) -> Intrinsics:
        """Return the pinhole parameters of `camera` for the image size in use."""
        return intrinsics(self._model, self._view(camera), self._size)

    def close(self) -> None:
        """Free the GL context; call from the thread that rendered."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _view(self, camera: str) -> mujoco.MjvCamera:
        """Return the camera of that name; raise MotoError with the names nearest to it."""
        if camera not in self._views:
            near = closest(camera, list(self._views))
            raise MotoError(f"camera '{camera}' does not exist in this world, expected one of {near}")
        return self._views[camera]
