"""Damped differential inverse kinematics: joint velocities that bring an arm's end effector to a pose."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

ARM = 7
POSITION_GAIN, TURN_GAIN = 5.0, 4.0
"""Speed per error, 1/s."""

TURN_SPEED = 1.5
"""Largest angular speed, rad/s."""

TURN_WEIGHT = 0.3
"""Weight of one radian relative to one metre (m/rad)."""

DAMPING = 1e-3
REST_GAIN = 0.5
"""Speed per error with which the arm returns to its rest posture in the null space of the task, 1/s."""


@dataclass(frozen=True)
class ServoGoal:
    """A goal of the end effector along world axes: position (3,) in m, and orientation."""

    position: np.ndarray
    rotation: Rotation
    speed: float = 0.8
    """Largest linear speed, m/s."""


class Servo:
    """The first seven joints of a model, whose position targets move by joint velocities, as in Franka Kitchen."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, site: str, period: float) -> None:
        """Take the present posture as the rest posture; `period` is the duration of a control step, s."""
        self._model, self._data, self._site = model, data, model.site(site).id
        self._period, self._rest = period, data.qpos[:ARM].copy()

    @property
    def position(self) -> np.ndarray:
        """Return the position of the end effector (3,), m."""
        return self._data.site_xpos[self._site].copy()

    def velocity(self, goal: ServoGoal) -> np.ndarray:
        """Return joint velocities (7,), rad/s, towards a pose."""
        linear = _limited(POSITION_GAIN * (goal.position - self.position), goal.speed)
        now = Rotation.from_matrix(self._data.site_xmat[self._site].reshape(3, 3))
        angular = _limited(TURN_GAIN * (goal.rotation * now.inv()).as_rotvec(), TURN_SPEED)
        jacobian = self._jacobian()
        inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + DAMPING * np.eye(6))
        free = np.eye(ARM) - inverse @ jacobian
        rest = REST_GAIN * (self._rest - self._data.qpos[:ARM])
        return inverse @ np.concatenate([linear, TURN_WEIGHT * angular]) + free @ rest + self._against_gravity()

    def _jacobian(self) -> np.ndarray:
        """Return the weighted Jacobian of the end effector (6, 7)."""
        linear, angular = np.zeros((3, self._model.nv)), np.zeros((3, self._model.nv))
        mujoco.mj_jacSite(self._model, self._data, linear, angular, self._site)
        return np.vstack([linear, TURN_WEIGHT * angular])[:, :ARM]

    def _against_gravity(self) -> np.ndarray:
        """Return the velocity (7,) that moves the springs of the position actuators as far as gravity pulls them."""
        return self._data.qfrc_bias[:ARM] / self._model.actuator_gainprm[:ARM, 0] / self._period


def _limited(vector: np.ndarray, limit: float) -> np.ndarray:
    return vector * min(1.0, limit / max(float(np.linalg.norm(vector)), 1e-9))
