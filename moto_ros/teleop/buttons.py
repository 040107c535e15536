"""Joystick buttons: the event of each, and the detection of presses. No ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from moto_ros.config import parameter

EVENTS = ("start", "success", "failure", "discard", "ready", "take_over", "let_go", "stop")
"""Operator events, in the order of OperatorEvent's numbers: each has a button and a service."""


def _button(default: int, doc: str) -> Any:
    return parameter(default, f"index in Joy.buttons of the button that {doc}; -1: none", low=-1, high=255)


@dataclass(frozen=True)
class ButtonNumbers:
    """Indices in sensor_msgs/Joy.buttons."""

    dead_man: int = _button(5, "must be held for the axes to be used (without one, moving them is enough)")
    gripper: int = _button(0, "toggles the gripper")
    start: int = _button(7, "begins the next episode")
    success: int = _button(3, "ends the episode as a success")
    failure: int = _button(1, "ends the episode as a failure")
    discard: int = _button(2, "ends the episode, which is then not learned from")
    ready: int = _button(6, "says that the scene is prepared")
    take_over: int = _button(-1, "takes over from the policy, until it is given control back")
    let_go: int = _button(-1, "gives control back to the policy")
    stop: int = _button(8, "stops the robot until it is recovered")


class Buttons:
    """Detects presses from the states of buttons; a held button is one press."""

    def __init__(self, numbers: ButtonNumbers) -> None:
        """Take the button numbers; all buttons start released."""
        found = {field.name: getattr(numbers, field.name) for field in fields(numbers)}
        self._numbers = {name: number for name, number in found.items() if number >= 0}
        self._down: frozenset[str] = frozenset()

    def pressed(self, states: Sequence[int]) -> list[str]:
        """Update the states; return the names of newly pressed buttons, a stop first."""
        before, self._down = self._down, frozenset(name for name in self._numbers if self.held(name, states))
        return sorted(self._down - before, key=lambda name: (name != "stop", name))

    def held(self, name: str, states: Sequence[int]) -> bool:
        """Return whether a button is down in `states`; False for one that the device lacks."""
        number = self._numbers.get(name, -1)
        return 0 <= number < len(states) and bool(states[number])

    def has(self, name: str) -> bool:
        """Return whether a button is configured."""
        return name in self._numbers
