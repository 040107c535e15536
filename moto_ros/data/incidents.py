"""What went wrong at robot and cameras while messages were taken: faults, stops, camera losses."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from moto_ros.contract.stamps import NSEC_PER_SEC

MODE_STOPPED, MODE_FAULT = 4, 5
"""RobotState.MODE_*."""

ROBOT = "robot"


@dataclass(frozen=True)
class Incident:
    """One trouble of the robot or a camera, from its first sign (ns) on, `duration` s long as far as was seen."""

    source: str
    start: int
    duration: float
    text: str

    def sentence(self) -> str:
        """Return what happened, for a person."""
        return f"{self.source}: in trouble for {self.duration:.2f} s: {self.text}"


class Incidents:
    """Collects who was well when; the result does not depend on the order of messages."""

    def __init__(self) -> None:
        self._signs: defaultdict[str, dict[int, str]] = defaultdict(dict)

    def robot(self, stamp: int, message: Any) -> None:
        """Take a moto_msgs/RobotState; states of other types say nothing about faults."""
        mode = getattr(message, "mode", None)
        if mode is not None:
            bad = int(mode) in (MODE_STOPPED, MODE_FAULT)
            self._add(ROBOT, stamp, (str(getattr(message, "fault", "")) or "stopped") if bad else "")

    def camera(self, stamp: int, message: Any) -> None:
        """Take a moto_msgs/CameraHealth."""
        self._add(f"camera {message.camera}", stamp, "" if message.healthy else str(message.reason) or "not well")

    def _add(self, source: str, stamp: int, text: str) -> None:
        signs = self._signs[source]
        signs[stamp] = max(signs.get(stamp, ""), text)

    def found(self) -> list[Incident]:
        """Return every incident in the order of time."""
        found = [incident for source, signs in self._signs.items() for incident in _runs(source, signs)]
        return sorted(found, key=lambda incident: (incident.start, incident.source))

    def count(self, *, robot: bool) -> int:
        """Return how many incidents the robot, or all cameras together, had."""
        return sum((incident.source == ROBOT) == robot for incident in self.found())


def _runs(source: str, signs: dict[int, str]) -> list[Incident]:
    """Return one incident for each run of bad signs, under its first text, up to the next good sign."""
    found: list[Incident] = []
    begun: tuple[int, str] | None = None
    stamps = sorted(signs)
    for stamp in stamps:
        if signs[stamp] and begun is None:
            begun = stamp, signs[stamp]
        elif not signs[stamp] and begun is not None:
            found.append(Incident(source, begun[0], (stamp - begun[0]) / NSEC_PER_SEC, begun[1]))
            begun = None
    if begun is not None:
        found.append(Incident(source, begun[0], (stamps[-1] - begun[0]) / NSEC_PER_SEC, begun[1]))
    return found
