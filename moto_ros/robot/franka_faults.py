"""Faults of a Franka arm: maps the driver's exceptions and error flags to a kind of fault and a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable

import franky

from moto_ros.robot.interface import ArmFault, FaultKind

FLAGS = {
    FaultKind.REFLEX: (
        "joint_reflex",
        "cartesian_reflex",
        "force_control_safety_violation",
        "force_controller_desired_force_tolerance_violation",
        "tau_j_range_violation",
        "power_limit_violation",
    ),
    FaultKind.SELF_COLLISION: ("self_collision_avoidance_violation",),
    FaultKind.JOINT_LIMIT: (
        "joint_position_limits_violation",
        "joint_motion_generator_position_limits_violation",
        "cartesian_motion_generator_joint_position_limits_violation",
        "cartesian_motion_generator_elbow_limit_violation",
        "cartesian_spline_motion_generator_violation",
        "joint_via_motion_generator_planning_joint_limit_violation",
        "joint_move_in_wrong_direction",
    ),
    FaultKind.COMMUNICATION: ("communication_constraints_violation",),
}
"""Error flags by kind; of several kinds the first one counts. Flags that are not named here are FaultKind.OTHER."""

ADVICE = {
    FaultKind.REFLEX: "check what it touched and make room before it continues",
    FaultKind.SELF_COLLISION: "guide it by hand into a free posture, then recover",
    FaultKind.JOINT_LIMIT: "guide the joint back by hand, then recover; make the workspace box smaller",
    FaultKind.COMMUNICATION: "recover; if it occurs again, use a real-time kernel or a network card for the arm alone",
    FaultKind.CONNECTION: "check power, cable, address and that FCI is active in Desk, then recover",
    FaultKind.FROZEN: "check cable and load of this computer, then recover",
    FaultKind.OTHER: "look at the arm's status in Desk, then recover",
}

NAMES = tuple(sorted(name for name in dir(franky.Errors) if not name.startswith("_")))
MODES = {
    franky.RobotMode.UserStopped: "its stop button is pressed; release it, then recover",
    franky.RobotMode.Guiding: "it is being guided by hand; end guiding, then recover",
}
"""Modes in which a person controls the arm."""

LOST = (franky.NetworkException, franky.ProtocolException, RuntimeError)
"""Exceptions after which only a new connection helps; the SDK's network library raises bare RuntimeErrors."""


def flags(errors: franky.Errors) -> tuple[str, ...]:
    """Return the names of the flags that are set."""
    return tuple(name for name in NAMES if getattr(errors, name))


def kind_of(names: Iterable[str]) -> FaultKind:
    """Return the kind of fault that a set of error flags stands for."""
    found = set(names)
    return next((kind for kind, members in FLAGS.items() if found.intersection(members)), FaultKind.OTHER)


def fault_of_flags(host: str, names: Iterable[str]) -> ArmFault:
    """Return the fault for error flags of the arm at `host`."""
    names = tuple(names)
    kind = kind_of(names)
    return ArmFault(kind, f"arm {host}: {', '.join(names).replace('_', ' ')}; {ADVICE[kind]}")


def fault_of_exception(host: str, error: Exception) -> ArmFault:
    """Return the fault for an exception that a call of the SDK raised."""
    text = " ".join(str(error).split()).removeprefix("libfranka: ")
    named = [name for name in NAMES if re.search(rf'"{name}"', text)]
    if named:
        return fault_of_flags(host, named)
    if isinstance(error, franky.IncompatibleVersionException):
        return ArmFault(FaultKind.CONNECTION, f"arm {host}: {text}; `moto doctor` says which driver wheel fits")
    if isinstance(error, franky.RealtimeException):
        return ArmFault(
            FaultKind.CONNECTION, f"arm {host}: {text}; install a real-time kernel, or set realtime to false"
        )
    kind = FaultKind.CONNECTION if isinstance(error, LOST) else FaultKind.OTHER
    return ArmFault(kind, f"arm {host}: {text}; {ADVICE[kind]}")


def fault_of_mode(host: str, mode: franky.RobotMode, idle: bool) -> ArmFault | None:
    """Return the fault for a mode in which a person controls the arm, else None; an `idle` arm may be guided."""
    if mode not in MODES or (idle and mode == franky.RobotMode.Guiding):
        return None
    return ArmFault(FaultKind.OTHER, f"arm {host}: {MODES[mode]}")


def frozen(host: str, age: float) -> ArmFault:
    """Return the fault for a newest state that is `age` seconds old."""
    advice = ADVICE[FaultKind.FROZEN]
    return ArmFault(FaultKind.FROZEN, f"arm {host}: no new state for {age:.2f} s; {advice}")
