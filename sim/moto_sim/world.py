"""Interface of a simulated world (a robot with a task), and the registry of worlds."""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from moto_ros.camera.interface import Intrinsics
from moto_ros.errors import MotoError
from moto_ros.registry import Registry
from moto_sim.snapshot import Snapshot


class Script(Protocol):
    """A scripted expert of a world's task."""

    def action(self) -> np.ndarray:
        """Return the expert's action now, float32 (A,) in [-1, 1], without noise; call it once per step."""
        ...


class World(ABC):
    """A robot, its task and its cameras.

    The same seed and actions give the same trajectory, to the bit, whatever came before.
    """

    action_size: int
    """Size of the action vector."""
    control_period: float
    """Simulated seconds that one step takes."""
    joint_names: tuple[str, ...]
    """Names of the arm's joints, in the order of the joint vectors."""

    @abstractmethod
    def reset(self, seed: int) -> Snapshot:
        """Start an episode that depends on `seed` alone."""

    @abstractmethod
    def step(self, action: np.ndarray) -> Snapshot:
        """Move for one control period with `action`, (A,) in [-1, 1]; out-of-range entries are clipped."""

    @property
    @abstractmethod
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras that can be rendered."""

    @abstractmethod
    def render(self, camera: str) -> np.ndarray:
        """Return the present frame of `camera` as RGB uint8 (H, W, 3)."""

    @abstractmethod
    def camera_intrinsics(self, camera: str) -> Intrinsics:
        """Return the pinhole parameters of `camera` for the image size in use."""

    @staticmethod
    @abstractmethod
    def tasks() -> tuple[str, ...]:
        """Return the names of the tasks that the class has."""

    def expert(self, seed: int) -> Script:
        """Return the task's scripted expert for the episode that `reset(seed)` has just started.

        `seed` draws what the script leaves open. Raises MotoError where the task has no expert.
        """
        raise MotoError(
            f"world {type(self).__name__} has no scripted expert, expected one for scripted demonstrations; record "
            "demonstrations by hand, or choose another task"
        )

    @abstractmethod
    def close(self) -> None:
        """Free the world's resources; call it from the thread that rendered."""


def closest(word: str, words: list[str]) -> str:
    """Return a hint that names the words nearest to `word`, or all of them where none is near."""
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.4)
    return ", ".join(near or words)


WORLDS: Registry[World] = Registry(
    "world",
    "moto_ros.worlds",
    World,
    {"metaworld": "moto_sim.meta_world:MetaWorld", "kitchen": "moto_sim.kitchen:Kitchen"},
    "install moto_sim's requirements, unset MUJOCO_GL if it names a missing backend, or name its folder in PYTHONPATH",
)
"""Families of worlds by name; each is imported when asked for, since it loads a simulator."""


def image_shape(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) from one number or a pair; raise MotoError outside 8..2048 pixels."""
    shape = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(shape) != 2 or not all(8 <= side <= 2048 for side in shape):
        raise MotoError(f"image_size {image_size} is not usable, expected a side or (height, width) in 8..2048 pixels")
    return int(shape[0]), int(shape[1])


def make_world(name: str, image_size: int | tuple[int, int] = 64, **options: Any) -> World:
    """Make the world called `name`, such as `metaworld/window-open-v3`, or `my_package.my_world:MyWorld/task`.

    The class is made with the task, (height, width) of its images, and `options`, its keyword arguments. Raises
    MotoError for an unknown name or option.
    """
    family, slash, task = name.partition("/")
    if not slash or family not in WORLDS:
        raise MotoError(
            f"world '{name}' is unknown, expected '<family>/<task>' with a family of {', '.join(WORLDS)} or "
            "module:class, such as metaworld/window-open-v3 or kitchen/mixed"
        )
    with WORLDS.using(family) as found:
        return _made(found, name, task, image_shape(image_size), options)


def _made(cls: Any, name: str, task: str, shape: tuple[int, int], options: Mapping[str, Any]) -> World:
    """Make a world of the class `cls`; raise MotoError for an option or a task that it does not have."""
    known = [key for key in inspect.signature(cls).parameters if key not in ("task", "image_size")]
    for key in options:
        if key not in known:
            near = closest(key, known) or "none"
            raise MotoError(f"option '{key}' of world '{name}' is unknown, expected one of: {near}")
    if task not in cls.tasks():
        raise MotoError(f"world '{name}' has no such task, expected one of {closest(task, list(cls.tasks()))}")
    made: World = cls(task, shape, **options)
    return made
