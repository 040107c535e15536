"""Restores a Meta-World environment to its initial state, so that the seed alone determines the next episode."""

from __future__ import annotations

import copy
from typing import Any

import mujoco
import numpy as np

BULKY = ("mesh_", "tex_", "hfield_", "skin_", "bvh_", "oct_", "text_", "names")
"""Model arrays that hold shapes and textures: large, and moved by no task."""

KEPT = ("model", "data", "mujoco_renderer", "_np_random", "_np_random_seed")
"""Attributes that are restored in another way, or are handles."""


def _model_arrays(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Return views of the model's numeric arrays that a task can write to."""
    names = [name for name in dir(model) if not name.startswith(("_", *BULKY))]
    arrays = {name: getattr(model, name) for name in names if isinstance(getattr(model, name), np.ndarray)}
    return {name: array for name, array in arrays.items() if array.flags.writeable and array.size}


class Pristine:
    """A copy of a new environment: of its model's arrays and its own attributes.

    Tasks move bodies and sites of the *model* at reset, and keep attributes from one episode to the next.
    """

    def __init__(self, env: Any) -> None:
        """Copy everything that episodes may change."""
        self._env, self._views = env, _model_arrays(env.unwrapped.model)
        self._arrays = {name: array.copy() for name, array in self._views.items()}
        own = {name: value for name, value in vars(env).items() if name not in KEPT}
        self._attributes = copy.deepcopy(own)

    def restore(self) -> None:
        """Restore everything, and reset the physics state to the model's initial state."""
        for name, array in self._arrays.items():
            np.copyto(self._views[name], array)
        kept = {name: value for name, value in vars(self._env).items() if name in KEPT}
        vars(self._env).clear()
        vars(self._env).update(kept | copy.deepcopy(self._attributes))
        mujoco.mj_resetData(self._env.model, self._env.data)
