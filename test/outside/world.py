"""A simulated task from outside the package: two sliders bring a point to the origin. No MuJoCo, no Meta-World."""

from __future__ import annotations

import numpy as np
from moto_sim.snapshot import Snapshot
from moto_sim.world import Script, World

from moto_ros.camera.interface import Intrinsics

STEP, NEAR = 0.2, 0.1


class Sliders(World):
    """A point in a plane, m; an action moves it by `STEP` times its entries."""

    action_size = 2
    control_period = 0.1
    joint_names = ("slide_x", "slide_y")
    cameras = ("agent",)

    def __init__(self, task: str, image_size: tuple[int, int]) -> None:
        """Take the task and (height, width) of images."""
        self.task, self._size = task, image_size
        self.place = np.zeros(2)

    @staticmethod
    def tasks() -> tuple[str, ...]:
        """Return the one task."""
        return ("origin",)

    def reset(self, seed: int) -> Snapshot:
        """Start at a random point."""
        self.place = np.random.default_rng(seed).uniform(-1.0, 1.0, 2)
        return self._snapshot(np.zeros(2))

    def step(self, action: np.ndarray) -> Snapshot:
        """Move the point."""
        before = self.place
        self.place = np.clip(before + STEP * np.clip(action, -1.0, 1.0), -1.0, 1.0)
        return self._snapshot((self.place - before) / self.control_period)

    def expert(self, seed: int) -> Script:
        """Return an expert that goes straight to the origin."""
        return Straight(self)

    def render(self, camera: str) -> np.ndarray:
        """Return a white point on black."""
        frame = np.zeros((*self._size, 3), np.uint8)
        row, column = ((self.place + 1) / 2 * (np.array(self._size) - 1)).astype(int)
        frame[row, column] = 255
        return frame

    def camera_intrinsics(self, camera: str) -> Intrinsics:
        """Return zeros: it is not calibrated."""
        return Intrinsics(self._size[1], self._size[0], 0.0, 0.0, 0.0, 0.0)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def _snapshot(self, velocity: np.ndarray) -> Snapshot:
        success = bool(np.linalg.norm(self.place) < NEAR)
        return Snapshot(
            joint_position=self.place.copy(),
            joint_velocity=velocity,
            joint_effort=np.zeros(2),
            ee_position=np.array([*self.place, 0.0]),
            ee_quaternion=np.array([0.0, 0.0, 0.0, 1.0]),
            ee_linear_velocity=np.array([*velocity, 0.0]),
            ee_angular_velocity=np.zeros(3),
            gripper_width=0.0,
            wrench=np.zeros(6),
            reward=float(success),
            success=success,
        )


class Straight:
    """Goes straight to the origin."""

    def __init__(self, world: Sliders) -> None:
        """Act in `world`."""
        self._world = world

    def action(self) -> np.ndarray:
        """Return the action towards the origin, each entry at most 1."""
        return np.clip(-self._world.place / STEP, -1.0, 1.0).astype(np.float32)
