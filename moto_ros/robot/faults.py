"""What is done about a fault: a few patient attempts, a retreat after a contact, then a person is asked. No ROS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moto_ros.robot.interface import Arm, ArmFault, FaultKind
from moto_ros.robot.interruptible_wait import InterruptibleWait
from moto_ros.robot.kinematics import Pose
from moto_ros.robot.limits import RobotSettings
from moto_ros.robot.mover import Mover

FOR_A_PERSON = (FaultKind.SELF_COLLISION, FaultKind.JOINT_LIMIT)
"""Faults out of which no motion of its own is safe: the arm has to be led by hand."""

CONTACT = (FaultKind.REFLEX, FaultKind.OTHER)
"""Faults after which something may be in the way: it has to go back before it goes on."""

HOUR = 3600.0
RETREAT_TIMEOUT = 15.0
LEAST = 0.01
"""m; a retreat with less room than that is none."""


class Supervisor:
    """Recovers an arm, and counts how often it had to."""

    def __init__(
        self,
        settings: RobotSettings,
        arm: Arm,
        mover: Mover,
        patience: InterruptibleWait,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`tell` hears a sentence for each recovery."""
        self._settings, self._arm, self._mover, self._patience, self._tell = settings, arm, mover, patience, tell
        self._times: list[float] = []
        self.recoveries = 0

    def handle(self, fault: ArmFault) -> str:
        """Recover from a fault; return nothing, or the sentence that asks for a person. Raises Interrupted."""
        why = self._person_needed(fault)
        if why:
            return f"{fault}; {why}, then call robot/recover"
        retries, contact = self._settings.recovery.retries, fault.kind in CONTACT
        for attempt in range(retries):
            self._patience.pause(self._settings.recovery.back_off * 2**attempt)
            try:
                self._attempt(contact)
            except ArmFault as again:
                fault, contact = again, contact or again.kind in CONTACT
            else:
                self._note(attempt + 1)
                return ""
        return f"{fault}; {retries} attempts to recover failed: make sure that it can move, then call robot/recover"

    def hourly(self) -> int:
        """Return how many recoveries there were in the last hour."""
        self._times = [time for time in self._times if self._patience.now() - time < HOUR]
        return len(self._times)

    def _person_needed(self, fault: ArmFault) -> str:
        recovery = self._settings.recovery
        if fault.kind in FOR_A_PERSON:
            return "it does not move out of this by itself: lead it by hand into a free posture"
        if recovery.retries == 0 or (fault.kind in CONTACT and recovery.retreat_height == 0.0):
            return "recovery is left to a person by the robot's configuration: make room"
        if self.hourly() >= recovery.per_hour:
            return f"it has recovered {self.hourly()} times within the hour: find out why"
        return ""

    def _attempt(self, contact: bool) -> None:
        self._arm.recover()
        if contact:
            self._retreat()
        self._arm.state()

    def _retreat(self) -> None:
        """Go straight up, slowly. Raises ArmFault where there is no room for that."""
        here, recovery = self._mover.pose(), self._settings.recovery
        top = max(self._settings.box_high[2], self._settings.safe_height)
        height = min(recovery.retreat_height, top - here.position[2])
        if height < LEAST:
            raise ArmFault(FaultKind.OTHER, "robot: no room to retreat upwards; lead it by hand to a free place")
        goal = Pose(here.position + np.array([0.0, 0.0, height]), here.rotation)
        self._mover.straight(goal, recovery.retreat_speed, RETREAT_TIMEOUT)

    def _note(self, attempts: int) -> None:
        self.recoveries += 1
        self._times.append(self._patience.now())
        self._tell(f"robot: recovered at attempt {attempts}, {self.hourly()} times within the hour")
