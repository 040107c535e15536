"""Human input as normalised actions: joystick axes, and twists in SI units. No ROS."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from moto_ros.config import group, parameter
from moto_ros.contract import topics
from moto_ros.teleop.buttons import ButtonNumbers, Buttons

DIRECTIONS = ("x", "y", "z", "rx", "ry", "rz")
"""Directions of human input, along and about the axes of the robot's base (REP-103: x forward, y left, z up)."""

GRIPPER = "gripper"


def _axis(default: int, what: str) -> Any:
    return parameter(default, f"index in Joy.axes of the axis for {what}; -1: none", low=-1, high=255)


def _scale(what: str) -> Any:
    return parameter(
        1.0, f"share of full speed at full deflection of the axis for {what}; below 0: reversed", low=-1, high=1
    )


@dataclass(frozen=True)
class AxisNumbers:
    """Indices in sensor_msgs/Joy.axes, in the order of DIRECTIONS, and the gripper's."""

    x: int = _axis(1, "motion along x")
    y: int = _axis(0, "motion along y")
    z: int = _axis(4, "motion along z")
    rx: int = _axis(-1, "rotation about x")
    ry: int = _axis(-1, "rotation about y")
    rz: int = _axis(3, "rotation about z")
    gripper: int = _axis(-1, "the gripper, in place of its button")


@dataclass(frozen=True)
class AxisScales:
    """Scale of each axis, in the order of AxisNumbers."""

    x: float = _scale("motion along x")
    y: float = _scale("motion along y")
    z: float = _scale("motion along z")
    rx: float = _scale("rotation about x")
    ry: float = _scale("rotation about y")
    rz: float = _scale("rotation about z")
    gripper: float = _scale("the gripper")


@dataclass(frozen=True)
class JoySettings:
    """How sensor_msgs/Joy is read."""

    topic: str = parameter(topics.OPERATOR_JOY, "topic of sensor_msgs/Joy")
    axis: AxisNumbers = group(AxisNumbers)
    scale: AxisScales = group(AxisScales)
    button: ButtonNumbers = group(ButtonNumbers)
    dead_band: float = parameter(0.1, "share of an axis around its middle that counts as zero", low=0.0, high=0.9)
    expo: float = parameter(0.5, "finer control near the middle: 0 linear, 1 cubic", low=0.0, high=1.0)


@dataclass(frozen=True)
class TwistSettings:
    """How geometry_msgs/TwistStamped is read; it is in the frame of the robot's base."""

    topic: str = parameter(topics.OPERATOR_TWIST, "topic of geometry_msgs/TwistStamped")
    frame: str = parameter(
        "", "frame_id that is taken for the robot's base, besides that of robot/state and an empty one"
    )
    full_speed: float = parameter(
        0.0, "speed of action 1; 0: translation_step x control_rate", unit="m/s", low=0.0, high=10.0
    )
    full_rotation: float = parameter(
        0.0, "angular speed of action 1; 0: rotation_step x control_rate", unit="rad/s", low=0.0, high=30.0
    )
    dead_band: float = parameter(0.03, "share of full speed that counts as zero", low=0.0, high=0.9)


@dataclass(frozen=True)
class HumanSettings:
    """Parameters of human input: its scaling and its time-outs."""

    joy: JoySettings = group(JoySettings)
    twist: TwistSettings = group(TwistSettings)
    action_axes: tuple[str, ...] = parameter(
        ("x", "y", "z", GRIPPER),
        f"what each entry of an action moves; a person can control {', '.join(DIRECTIONS)}, {GRIPPER}",
    )
    translation_step: float = parameter(
        0.02, "distance moved in one control period at action 1", unit="m", low=0.0001, high=1.0
    )
    rotation_step: float = parameter(
        0.1, "rotation in one control period at action 1", unit="rad", low=0.0001, high=3.0
    )
    gripper_start: float = parameter(1.0, "gripper command that an episode begins with", low=-1.0, high=1.0)
    human_timeout: float = parameter(
        0.25, "input that arrived, or is stamped, longer ago than this is ignored", unit="s", low=0.01, high=10.0
    )
    release_after: float = parameter(
        0.5,
        "without a dead-man button: a person who has moved nothing for this long has let go",
        unit="s",
        low=0.0,
        high=60.0,
    )


@dataclass
class Device:
    """The newest input of one device: motion (6,) as shares of full speed; times are seconds of a steady clock."""

    motion: np.ndarray
    arrived: float = -math.inf
    moved: float = -math.inf
    held: bool = False

    def update(self, motion: np.ndarray, now: float, *, held: bool = False) -> None:
        """Store an input."""
        self.motion, self.arrived, self.held = motion, now, held
        if motion.any():
            self.moved = now


class Human:
    """Human input from any device.

    A joystick with a dead-man button is in control while the button is held; without one, and with twists, a person
    takes over by moving, and lets go by not moving for `release_after`. `take_over` lasts until `let_go`. Input older
    than `human_timeout` never moves the robot. `counts` and `refusal` describe rejected input.
    """

    def __init__(self, settings: HumanSettings, control_rate: float) -> None:
        """Start without input."""
        self._settings = settings
        full_speed = settings.twist.full_speed or settings.translation_step * control_rate
        full_rotation = settings.twist.full_rotation or settings.rotation_step * control_rate
        self._full = np.repeat([full_speed, full_rotation], 3)
        self._entries = [DIRECTIONS.index(name) if name in DIRECTIONS else -1 for name in settings.action_axes]
        self.gripper_entry = settings.action_axes.index(GRIPPER) if GRIPPER in settings.action_axes else None
        self._buttons = Buttons(settings.joy.button)
        self._joy, self._twist = Device(np.zeros(6)), Device(np.zeros(6))
        self._taken = False
        self._grip = settings.gripper_start
        self.counts: Counter[str] = Counter()
        self.refusal = ""

    # Input.

    def joy(self, axes: Sequence[float], states: Sequence[int], now: float, *, late: bool = False) -> list[str]:
        """Take a joystick's axes and buttons; return the events of pressed buttons, see `buttons.EVENTS`.

        Of a late message only a stop is used.
        """
        pressed = self._buttons.pressed(states)
        if late:
            return [name for name in pressed if name == "stop"]
        joy = self._settings.joy
        numbers = zip((*DIRECTIONS, GRIPPER), astuple(joy.axis), strict=True)
        found = np.array([self._read(axes, number, name) for name, number in numbers])
        found = shaped(found, joy.dead_band, joy.expo) * np.array(astuple(joy.scale))
        self._joy.update(found[:6], now, held=self._buttons.held("dead_man", states))
        if joy.axis.gripper >= 0:
            self._grip = float(found[6])
        elif GRIPPER in pressed:
            self._toggle(now)
        return [name for name in pressed if name not in (GRIPPER, "dead_man")]

    def _read(self, axes: Sequence[float], number: int, name: str) -> float:
        if number < 0:
            return 0.0
        if number >= len(axes):
            self.refusal = f"joystick: has {len(axes)} axes, but joy.axis.{name} is {number}; set it, or -1 for none"
            return 0.0
        return float(axes[number]) if math.isfinite(axes[number]) else 0.0

    def _toggle(self, now: float) -> None:
        if not self._buttons.has("dead_man"):
            self._joy.moved = now
        if self.control_source(now):
            self._grip = -self._grip

    def twist(self, linear: Sequence[float], angular: Sequence[float], now: float) -> None:
        """Take a twist in m/s and rad/s, in the frame of the robot's base; one that is not finite is refused."""
        found = np.array([*linear, *angular]) / self._full
        if not np.isfinite(found).all():
            self.refuse("not_finite", "twist: contains NaN or infinity, expected m/s and rad/s; fix its publisher")
            return
        found[np.abs(found) < self._settings.twist.dead_band] = 0.0
        self._twist.update(np.clip(found, -1.0, 1.0), now)

    def is_late(self, age: float, topic: str) -> bool:
        """Return whether an input stamped `age` seconds before its arrival is too old; if so, count it as refused."""
        late = abs(age) > self._settings.human_timeout
        if late:
            limit = self._settings.human_timeout
            hint = "synchronise the clocks, or leave the stamp 0"
            self.refuse("stale", f"{topic}: stamped {age:.2f} s before it arrived, expected within {limit:g} s; {hint}")
        return late

    def refuse(self, why: str, sentence: str) -> None:
        """Count a rejected input, and store the reason."""
        self.counts[f"human_{why}"] += 1
        self.refusal = sentence

    # Who is in control.

    def take_over(self) -> None:
        """Take control until `let_go`, also without motion."""
        self._taken = True

    def let_go(self) -> None:
        """Give control back, unless a device is still moved or held."""
        self._taken = False

    def control_source(self, now: float) -> str:
        """Return how the person is in control: joy, twist, service, or empty if not."""
        return self._device_name(now) or ("service" if self._taken else "")

    def _device_name(self, now: float) -> str:
        dead_man = self._buttons.has("dead_man")
        if self._fresh(self._joy, now) and (self._joy.held if dead_man else self._moving(self._joy, now)):
            return "joy"
        return "twist" if self._fresh(self._twist, now) and self._moving(self._twist, now) else ""

    def _fresh(self, device: Device, now: float) -> bool:
        return now - device.arrived <= self._settings.human_timeout

    def _moving(self, device: Device, now: float) -> bool:
        return now - device.moved <= self._settings.release_after

    def action(self, now: float) -> np.ndarray:
        """Return the person's action, float32 (A,) in [-1, 1]; zero motion without fresh input."""
        device = {"joy": self._joy, "twist": self._twist}.get(self._device_name(now))
        motion = np.zeros(6) if device is None else device.motion
        values = np.array([motion[entry] if entry >= 0 else 0.0 for entry in self._entries], np.float32)
        if self.gripper_entry is not None:
            values[self.gripper_entry] = self._grip
        return values

    def hold_gripper(self, command: float) -> None:
        """Continue from the gripper command of the previous source."""
        if self._settings.joy.axis.gripper < 0 and command:
            self._grip = math.copysign(1.0, command)

    def begin(self) -> None:
        """Start an episode with the configured gripper command."""
        self._grip = self._settings.gripper_start


def shaped(values: np.ndarray, dead_band: float, expo: float) -> np.ndarray:
    """Return axes in [-1, 1] with a dead band, and finer near the middle: (1 - expo) v + expo v^3, which is 1 at 1."""
    beyond = np.clip((np.abs(values) - dead_band) / (1.0 - dead_band), 0.0, 1.0)
    return np.sign(values) * ((1.0 - expo) * beyond + expo * beyond**3)
