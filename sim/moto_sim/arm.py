"""State of an arm in MuJoCo, in SI units and in the arm's base frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np


@dataclass(frozen=True)
class ArmNames:
    """Names of an arm in a model: base and hand body, and the arm's joints from the base outwards.

    `tool` is the site on the hand that is the end effector; without it, the hand's frame is the end effector.
    """

    base: str
    hand: str
    joints: tuple[str, ...]
    tool: str = ""


def _subtree_geoms(model: mujoco.MjModel, body: int) -> np.ndarray:
    """Return the geoms of `body` and of every body in its subtree."""
    subtree = {body}
    for index in range(body + 1, model.nbody):
        if int(model.body_parentid[index]) in subtree:
            subtree.add(index)
    return np.flatnonzero(np.isin(model.geom_bodyid, sorted(subtree)))


class SimArm:
    """One arm of a model; forward kinematics must have been computed in `data` before it is read."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, names: ArmNames) -> None:
        """Look the names up in the model."""
        self._model, self._data = model, data
        self._base, self._hand = model.body(names.base).id, model.body(names.hand).id
        self._tool = model.site(names.tool).id if names.tool else None
        joints = [model.joint(name).id for name in names.joints]
        self._position, self._velocity = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        self._hand_geoms = _subtree_geoms(model, self._hand)

    def state(self) -> dict[str, Any]:
        """Return the fields of a Snapshot that describe the arm, as copies."""
        wrench = self._wrench()
        linear, angular = self._twist()
        return {
            "joint_position": self._data.qpos[self._position],
            "joint_velocity": self._data.qvel[self._velocity],
            "joint_effort": self._external_torque(wrench),
            "ee_position": self._to_base @ (self._point - self._data.xpos[self._base]),
            "ee_quaternion": self._quaternion(),
            "ee_linear_velocity": self._to_base @ linear,
            "ee_angular_velocity": self._to_base @ angular,
            "wrench": np.concatenate([self._to_base @ wrench[:3], self._to_base @ wrench[3:]]),
        }

    def in_base(self, points: np.ndarray) -> np.ndarray:
        """Return world positions (n, 3) in the base frame."""
        return (points - self._data.xpos[self._base]) @ self._to_base.T

    @property
    def _to_base(self) -> np.ndarray:
        """Rotation from world to base axes (3, 3)."""
        return self._data.xmat[self._base].reshape(3, 3).T

    @property
    def _point(self) -> np.ndarray:
        """World position of the end effector (3,)."""
        return self._data.xpos[self._hand] if self._tool is None else self._data.site_xpos[self._tool]

    def _quaternion(self) -> np.ndarray:
        """Orientation of the end effector in the base frame as xyzw; MuJoCo's own order is wxyz."""
        inverse, result = np.empty(4), np.empty(4)
        mujoco.mju_negQuat(inverse, self._data.xquat[self._base])
        mujoco.mju_mulQuat(result, inverse, self._data.xquat[self._hand])
        if self._tool is not None:
            # From the body's quaternion, not from the site's matrix, with which the sign would jump.
            mujoco.mju_mulQuat(result, result.copy(), self._model.site_quat[self._tool])
        return np.roll(result, -1)

    def _twist(self) -> tuple[np.ndarray, np.ndarray]:
        """Linear and angular velocity of the end effector along world axes."""
        kind, index = mujoco.mjtObj.mjOBJ_XBODY, self._hand
        if self._tool is not None:
            kind, index = mujoco.mjtObj.mjOBJ_SITE, self._tool
        twist = np.empty(6)
        mujoco.mj_objectVelocity(self._model, self._data, kind, index, twist, 0)
        return twist[3:], twist[:3]

    def _wrench(self) -> np.ndarray:
        """Force and torque that contacts put on the hand, about the end effector, along world axes (6,)."""
        total = np.zeros(6)
        geoms = self._data.contact.geom
        touching = np.isin(geoms, self._hand_geoms)
        for index in np.flatnonzero(touching[:, 0] != touching[:, 1]):
            sign = 1.0 if touching[index, 1] else -1.0
            total += sign * self._contact_wrench(int(index))
        return total

    def _contact_wrench(self, index: int) -> np.ndarray:
        """Force and torque of one contact on its second geom, about the end effector, along world axes (6,)."""
        local, contact = np.zeros(6), self._data.contact[index]
        mujoco.mj_contactForce(self._model, self._data, index, local)
        axes = contact.frame.reshape(3, 3).T
        force = axes @ local[:3]
        torque = axes @ local[3:] + np.cross(contact.pos - self._point, force)
        return np.concatenate([force, torque])

    def _external_torque(self, wrench: np.ndarray) -> np.ndarray:
        """Joint torques (n,) that `wrench` on the hand causes: the transposed Jacobian times the wrench."""
        linear, angular = np.zeros((3, self._model.nv)), np.zeros((3, self._model.nv))
        mujoco.mj_jac(self._model, self._data, linear, angular, self._point, self._hand)
        return (linear.T @ wrench[:3] + angular.T @ wrench[3:])[self._velocity]


def joint_names(prefix: str, numbers: Sequence[int]) -> tuple[str, ...]:
    """Return `prefix` followed by each number."""
    return tuple(f"{prefix}{number}" for number in numbers)
