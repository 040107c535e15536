"""View-frustum culling: hides geoms whose bounding sphere lies outside the view's pyramid."""

from __future__ import annotations

import mujoco
import numpy as np

HIDDEN_GROUP = 5
"""A geom group that MuJoCo does not draw by default."""


def pyramid(scene: mujoco.MjvScene, aspect: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the view's apex (3,) and the outward unit normals of its four sides (4, 3), in world axes."""
    eyes = scene.camera
    apex = 0.5 * (eyes[0].pos + eyes[1].pos)
    forward, up = eyes[0].forward.astype(float), eyes[0].up.astype(float)
    right = np.cross(forward, up)
    half_height = float(eyes[0].frustum_top / eyes[0].frustum_near)
    half_width = half_height * aspect
    sides = np.stack([right, -right, up, -up]) - np.outer([half_width, half_width, half_height, half_height], forward)
    return apex, sides / np.linalg.norm(sides, axis=1, keepdims=True)


class Culling:
    """Hides geoms outside the view while a scene is filled; the frame stays the same to the bit.

    Exact only without shadows and reflections, in which things outside the view can be seen.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        """Store the groups of the geoms; planes have no bounding sphere and are never hidden."""
        self._model = model
        self._groups = model.geom_group.copy()
        self._radius = np.where(model.geom_rbound > 0, model.geom_rbound, np.inf)

    def hide(self, data: mujoco.MjData, scene: mujoco.MjvScene, aspect: float) -> None:
        """Move geoms outside the view of `scene`'s camera to a hidden group; `aspect` is width / height."""
        apex, normals = pyramid(scene, aspect)
        beyond = (data.geom_xpos - apex) @ normals.T
        outside = (beyond > self._radius[:, None]).any(axis=1)
        self._model.geom_group[:] = np.where(outside, HIDDEN_GROUP, self._groups)

    def show(self) -> None:
        """Give every geom its own group back."""
        self._model.geom_group[:] = self._groups
