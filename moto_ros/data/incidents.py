"""Incidents during a recording: faults and stops of the robot, losses of cameras."""

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
    """A fault of the robot or a camera: when it began (ns), and for how long it was seen (s)."""

    source: str
    start: int
    duration: float
    text: str

    def sentence(self) -> str:
        """Return the incident as text."""
        return f"{self.source}: fault for {self.duration:.2f} s: {self.text}"


class Incidents:
    """Collects faults by time; the result does not depend on the order of messages."""

    def __init__(self) -> None:
        self._faults: defaultdict[str, dict[int, str]] = defaultdict(dict)

    def robot(self, stamp: int, message: Any) -> None:
        """Add a moto_msgs/RobotState; states of other types have no faults."""
        mode = getattr(message, "mode", None)
        if mode is not None:
            bad = int(mode) in (MODE_STOPPED, MODE_FAULT)
            self._add(ROBOT, stamp, (str(getattr(message, "fault", "")) or "stopped") if bad else "")

    def camera(self, stamp: int, message: Any) -> None:
        """Add a moto_msgs/CameraHealth."""
        self._add(f"camera {message.camera}", stamp, "" if message.healthy else str(message.reason) or "unhealthy")

    def _add(self, source: str, stamp: int, text: str) -> None:
        faults = self._faults[source]
        faults[stamp] = max(faults.get(stamp, ""), text)

    def found(self) -> list[Incident]:
        """Return every incident in the order of time."""
        found = [incident for source, faults in self._faults.items() for incident in _runs(source, faults)]
        return sorted(found, key=lambda incident: (incident.start, incident.source))

    def count(self, *, robot: bool) -> int:
        """Return how many incidents the robot, or all cameras together, had."""
        return sum((incident.source == ROBOT) == robot for incident in self.found())


def _runs(source: str, faults: dict[int, str]) -> list[Incident]:
    """Return one incident for each run of faults, with its first text, up to the next message without one."""
    found: list[Incident] = []
    begun: tuple[int, str] | None = None
    stamps = sorted(faults)
    for stamp in stamps:
        if faults[stamp] and begun is None:
            begun = stamp, faults[stamp]
        elif not faults[stamp] and begun is not None:
            found.append(Incident(source, begun[0], (stamp - begun[0]) / NSEC_PER_SEC, begun[1]))
            begun = None
    if begun is not None:
        found.append(Incident(source, begun[0], (stamps[-1] - begun[0]) / NSEC_PER_SEC, begun[1]))
    return found
