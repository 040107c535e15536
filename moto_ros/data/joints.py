"""The order of joints by their names: within a bag, across bags, and between bags and live topics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moto_ros.errors import MotoError

NAME_FIELDS = ("joint_names", "name", "names", "dof_names")
"""Fields in which JointTrajectory, RobotState, JointJog, JointState and MultiDOFCommand name their joints."""

STATE = "state"
"""The joints of the robot state, configured as `joint_names`."""

ACTION = "action"
"""The joints of a command, configured as `action_names`; those of a message inside it are `action/<field>`."""

OR = "|"
"""Separates the names that robots have for the same joint, e.g. panda_joint1|fr3_joint1."""

Names = tuple[str, ...]


class JointOrder:
    """The order of joints in a run, by role: `state`, `action`, `action/<field>`.

    The configured order holds; else that of the first usable message. It is saved with the run, so that later bags,
    live topics, a resumed run and the acting policy have the same one.
    """

    def __init__(self, known: Mapping[str, Sequence[str]] | None = None) -> None:
        """Start with the known order of the run."""
        self.known: dict[str, Names] = {role: tuple(names) for role, names in (known or {}).items()}

    def expected(self, role: str, configured: Names) -> Names:
        """Return the joints in the order of the run, empty where the next message sets it.

        Raises MotoError where the `configured` joints differ from those that the run has learned with.
        """
        known = self.known.get(role, ())
        if configured and known and not _same(configured, known):
            text = (
                f"parameter '{_parameter(role)}' is {_list(configured)}, but this run has learned with {_list(known)}"
            )
            raise MotoError(f"{text}; set it as it was, or start another run")
        return configured or known

    def settle(self, role: str, names: Names) -> None:
        """Set the order of a role, unless it is already set."""
        self.known.setdefault(role, names)

    def state(self) -> dict[str, list[str]]:
        """Return the order as plain JSON values."""
        return {role: list(names) for role, names in sorted(self.known.items())}


def names_in(message: Any) -> Names:
    """Return the names of a message's joints, empty for a message without names."""
    return next((names for names in _name_fields(message) if names), ())


def can_name(message: Any) -> bool:
    """Whether messages of this type name joints, though this one may not."""
    return any(True for _ in _name_fields(message))


def _name_fields(message: Any) -> Iterator[Names]:
    for field in NAME_FIELDS:
        found = getattr(message, field, None)
        if found is not None and not isinstance(found, str):
            yield tuple(map(str, found))


def positions(names: Names, expected: Names, role: str) -> list[int]:
    """Return where in `names` each of the expected joints is; others are ignored.

    Raises MotoError where one is missing or named twice.
    """
    if not names:
        raise MotoError(f"names no joints, expected {_list(expected)}")
    found = []
    for joint in expected:
        which = [index for index, name in enumerate(names) if name in joint.split(OR)]
        if len(which) != 1:
            wrong = f"has joint '{joint}' {len(which)} times" if which else f"has no joint '{joint}'"
            raise MotoError(f"{wrong}: it names {_list(names)}, expected {_list(expected)}; set {_parameter(role)}")
        found.append(which[0])
    return found


def _parameter(role: str) -> str:
    return "joint_names" if role == STATE else "action_names"


def _same(names: Names, others: Names) -> bool:
    pairs = zip(names, others, strict=False)
    return len(names) == len(others) and all(set(a.split(OR)) & set(b.split(OR)) for a, b in pairs)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:16]) + (f" and {len(names) - 16} more" if len(names) > 16 else "")
