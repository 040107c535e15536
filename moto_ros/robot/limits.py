"""Parameters that every arm has: action scales, limits and time-outs, in one YAML file for each robot. No ROS.

Limits have safe defaults, tighter than the arm's own; workspace box, joint limits and home have none and must be given.
Poses are in the arm's base frame (REP-103/105), SI units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moto_ros.config import REQUIRED, group, parameter
from moto_ros.errors import MotoError

AXES = ("x", "y", "z", "rx", "ry", "rz", "gripper")
"""Axes of an action in Cartesian control: translation along and rotation about the base frame's axes, and the hand."""

GRIPPER = "gripper"


@dataclass(frozen=True)
class GripperSettings:
    """The hand."""

    present: bool = parameter(True, "whether a hand is mounted")
    max_width: float = parameter(0.08, "maximum distance between the fingers", unit="m", low=0.0, high=0.5)
    open_width: float = parameter(0.08, "distance between the fingers when open", unit="m", low=0.0, high=0.5)
    speed: float = parameter(0.1, "speed of the fingers", unit="m/s", low=0.001, high=0.5)
    force: float = parameter(20.0, "force of a grasp", unit="N", low=0.1, high=140.0)
    hysteresis: float = parameter(
        0.1, "gripper actions closer to 0 than this leave the hand as it is", low=0.0, high=0.9
    )
    homing: bool = parameter(False, "home the hand at the start: the fingers move to their end stops")


@dataclass(frozen=True)
class RecoverySettings:
    """Fault recovery before a person is asked."""

    retries: int = parameter(3, "attempts to recover from one fault; 0: a person is asked at once", low=0, high=20)
    back_off: float = parameter(
        0.5, "pause before the first attempt, doubled before each further one", unit="s", low=0.0
    )
    per_hour: int = parameter(20, "recoveries within an hour after which a person is asked", low=0)
    retreat_height: float = parameter(
        0.05,
        "distance to retreat straight up after a contact; 0: a person is asked instead",
        unit="m",
        low=0.0,
        high=0.5,
    )
    retreat_speed: float = parameter(0.05, "speed of the retreat", unit="m/s", low=0.005, high=0.25)


@dataclass(frozen=True, kw_only=True)
class RobotSettings:
    """Parameters of any arm; those of one maker's arms are in a derived class, which the driver names."""

    base_frame: str = parameter("base", "frame_id of poses: the arm's base")

    # What an action means.
    control: str = parameter(
        "cartesian", "control mode: what an action moves", choices=("cartesian", "joint", "joint_velocity")
    )
    control_rate: float = parameter(10.0, "actions per second", unit="Hz", low=1.0, high=30.0)
    action_axes: tuple[str, ...] = parameter(
        ("x", "y", "z", "gripper"),
        "meaning of each entry of an action: x y z rx ry rz gripper; with joint control joint1.. and gripper",
    )
    translation_step: float = parameter(
        0.02, "distance moved in one control step at action 1", unit="m", low=0.0001, high=0.2
    )
    rotation_step: float = parameter(0.1, "rotation in one control step at action 1", unit="rad", low=0.001, high=1.0)
    joint_step: float = parameter(
        0.05, "rotation of a joint in one control step at action 1 (joint)", unit="rad", low=0.001, high=1.0
    )
    joint_velocity_scale: float = parameter(
        0.3, "speed of a joint at action 1 (joint_velocity)", unit="rad/s", low=0.001, high=3.0
    )

    # Where it may be and how fast it may move.
    box_low: tuple[float, ...] = parameter(REQUIRED, "lower corner of the workspace box: x, y, z", unit="m")
    box_high: tuple[float, ...] = parameter(REQUIRED, "upper corner of the workspace box: x, y, z", unit="m")
    max_tilt: float = parameter(
        0.6, "maximum angle between the tool's axis and its direction at home", unit="rad", low=0.0, high=3.15
    )
    translation_speed: float = parameter(0.4, "maximum linear speed of the target", unit="m/s", low=0.005, high=1.7)
    rotation_speed: float = parameter(1.5, "maximum angular speed of the target", unit="rad/s", low=0.01, high=2.5)
    translation_acceleration: float = parameter(
        3.0, "maximum linear acceleration of the target", unit="m/s^2", low=0.05, high=13.0
    )
    rotation_acceleration: float = parameter(
        10.0, "maximum angular acceleration of the target", unit="rad/s^2", low=0.1, high=25.0
    )
    joint_speed: float = parameter(0.8, "maximum speed of a joint's target", unit="rad/s", low=0.01, high=2.6)
    joint_acceleration: float = parameter(
        5.0, "maximum acceleration of a joint's target", unit="rad/s^2", low=0.05, high=10.0
    )
    translation_lead: float = parameter(
        0.08, "maximum distance between the target and the measured pose", unit="m", low=0.005, high=0.3
    )
    rotation_lead: float = parameter(
        0.4, "maximum angle between the target and the measured pose", unit="rad", low=0.02, high=1.5
    )
    joint_lead: float = parameter(
        0.2, "maximum difference between a joint's target and its measured position", unit="rad", low=0.02, high=1.0
    )

    joint_low: tuple[float, ...] = parameter(REQUIRED, "lower limit of each joint", unit="rad")
    joint_high: tuple[float, ...] = parameter(REQUIRED, "upper limit of each joint", unit="rad")

    # Where it starts, and how it gets there.
    home: tuple[float, ...] = parameter(REQUIRED, "joint positions at home", unit="rad")
    home_spread: tuple[float, ...] = parameter(
        (), "random spread around home, plus or minus, of each joint; empty: none", unit="rad"
    )
    home_spread_position: tuple[float, ...] = parameter(
        (), "random spread around home, plus or minus, along x, y, z; empty: none", unit="m"
    )
    safe_height: float = parameter(0.35, "height that a reset rises to before it moves home", unit="m")
    reset_speed: float = parameter(
        0.15, "speed of joint motions in resets, as a share of the arm's limits", low=0.01, high=1.0
    )
    reset_translation_speed: float = parameter(
        0.15, "speed of straight motions in resets", unit="m/s", low=0.01, high=0.5
    )
    reset_opens: bool = parameter(True, "open the hand before a reset")

    # How long anything may take.
    connect_timeout: float = parameter(30.0, "give up connecting at the start after this long", unit="s", low=0.5)
    state_timeout: float = parameter(0.1, "no new measurement for this long is a fault", unit="s", low=0.02, high=2.0)
    action_lifespan: float = parameter(0.5, "actions older than this are not executed", unit="s", low=0.01, high=5.0)
    hold_periods: float = parameter(
        2.0, "control periods without a fresh action after which it holds the measured pose", low=1.0, high=10.0
    )
    stop_after: float = parameter(
        0.5, "time without a fresh action after which control of the arm ends", unit="s", low=0.05, high=5.0
    )
    recover_timeout: float = parameter(
        10.0, "give up one attempt to recover after this long", unit="s", low=0.5, high=60.0
    )
    reset_timeout: float = parameter(
        30.0, "give up a reset after this long, even if its caller waits longer", unit="s", low=1.0
    )

    gripper: GripperSettings = group(GripperSettings)
    recovery: RecoverySettings = group(RecoverySettings)

    @property
    def title(self) -> str:
        """Return what messages call the arm; with its address where the driver has one."""
        return "robot"

    @property
    def joints(self) -> int:
        """Return how many joints the arm has."""
        return len(self.home)

    @property
    def period(self) -> float:
        """Return the control period in seconds."""
        return 1.0 / self.control_rate

    def check(self, source: str) -> None:
        """Raise MotoError, naming `source`, where the settings contradict one another; drivers add to it."""
        check_robot(self, source)


def check_robot(settings: RobotSettings, source: str) -> None:
    """Raise MotoError, naming `source`, where the settings contradict one another."""
    joints = settings.joints
    check_sizes(settings, source, {"box_low": 3, "box_high": 3, "joint_low": joints, "joint_high": joints})
    check_sizes(settings, source, {"home_spread": joints, "home_spread_position": 3}, optional=True)
    _check_axes(settings, source)
    check_order(settings, source, "box_low", "box_high", "x y z")
    check_order(settings, source, "joint_low", "joint_high", "joint 1.. ")
    _check_home(settings, source)
    _check_speeds(settings, source)
    _check_times(settings, source)


def check_sizes(settings: RobotSettings, source: str, sizes: Mapping[str, int], optional: bool = False) -> None:
    """Raise MotoError where a list has another number of entries than `sizes` says; `optional` ones may be empty."""
    for name, size in sizes.items():
        found = len(getattr(settings, name))
        if found != size and (found or not optional):
            raise MotoError(f"{source}: parameter '{name}' has {found} entries, expected {size}; fix the robot's file")


def _check_axes(settings: RobotSettings, source: str) -> None:
    joints = tuple(f"joint{number + 1}" for number in range(settings.joints))
    known = AXES if settings.control == "cartesian" else (*joints, GRIPPER)
    axes = settings.action_axes
    if not axes or len(set(axes)) != len(axes) or not set(axes) <= set(known):
        raise MotoError(
            f"{source}: parameter 'action_axes' is {list(axes)}, expected some of {', '.join(known)}, each once, "
            f"for control '{settings.control}'; fix the robot's or the task's file"
        )
    if GRIPPER in axes and not settings.gripper.present:
        raise MotoError(
            f"{source}: parameter 'action_axes' names the gripper, but 'gripper.present' is false; drop one of them"
        )


def check_order(settings: RobotSettings, source: str, low: str, high: str, entries: str) -> None:
    """Raise MotoError where an entry of parameter `low` is not below that of `high`."""
    lows: Sequence[float] = getattr(settings, low)
    highs: Sequence[float] = getattr(settings, high)
    if any(lower >= upper for lower, upper in zip(lows, highs, strict=True)):
        raise MotoError(
            f"{source}: parameter '{low}' is {list(lows)} and '{high}' is {list(highs)}, expected each entry "
            f"({entries}) of the first below that of the second; fix the robot's file"
        )


def _check_home(settings: RobotSettings, source: str) -> None:
    spread = settings.home_spread or (0.0,) * settings.joints
    limits = zip(settings.joint_low, settings.home, spread, settings.joint_high, strict=True)
    for joint, (low, home, part, high) in enumerate(limits, 1):
        if part < 0.0 or not low < home - part <= home + part < high:
            raise MotoError(
                f"{source}: parameter 'home' of joint {joint} is {home:g} rad with a spread of {part:g} rad, expected "
                f"both ends inside {low:g}..{high:g} rad; move home or make 'home_spread' smaller"
            )
    if not settings.box_low[2] < settings.safe_height < settings.box_high[2]:
        raise MotoError(
            f"{source}: parameter 'safe_height' is {settings.safe_height:g} m, expected a height inside the box, "
            f"{settings.box_low[2]:g}..{settings.box_high[2]:g} m; fix one of them"
        )


def _check_speeds(settings: RobotSettings, source: str) -> None:
    ways, turns = (math.sqrt(len(set(axes) & set(settings.action_axes))) for axes in (AXES[:3], AXES[3:6]))
    steps = {
        "cartesian": [("translation_step", ways, "translation_speed"), ("rotation_step", turns, "rotation_speed")],
        "joint": [("joint_step", 1.0, "joint_speed")],
        "joint_velocity": [],
    }[settings.control]
    for step, diagonal, speed in steps:
        needed = getattr(settings, step) * diagonal * settings.control_rate
        if needed > getattr(settings, speed) + 1e-9:
            raise MotoError(
                f"{source}: parameter '{step}' {getattr(settings, step):g} at {settings.control_rate:g} Hz needs a "
                f"speed of {needed:.3g} (all axes at 1), but '{speed}' is {getattr(settings, speed):g}; "
                "make the step smaller"
            )
    if settings.control == "joint_velocity" and settings.joint_velocity_scale > settings.joint_speed:
        raise MotoError(
            f"{source}: parameter 'joint_velocity_scale' is {settings.joint_velocity_scale:g} rad/s, expected at upper "
            f"'joint_speed' {settings.joint_speed:g} rad/s; make it smaller"
        )


def _check_times(settings: RobotSettings, source: str) -> None:
    hold = settings.hold_periods * settings.period
    if settings.stop_after < hold:
        raise MotoError(
            f"{source}: parameter 'stop_after' is {settings.stop_after:g} s, expected at lower the {hold:g} s after "
            "which it holds; make it longer or the control rate higher"
        )
    if settings.gripper.open_width > settings.gripper.max_width:
        raise MotoError(
            f"{source}: parameter 'gripper.open_width' is {settings.gripper.open_width:g} m, expected at upper "
            f"'gripper.max_width' {settings.gripper.max_width:g} m; make it smaller"
        )
