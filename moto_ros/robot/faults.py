"""Fault recovery: a few attempts with back-off, a retreat after a contact; if they fail, a person is asked. No ROS."""

from __future__ import annotations

import numpy as np

from moto_ros.contract.log import Log
from moto_ros.robot.interface import Arm, ArmFault, FaultKind
from moto_ros.robot.interruptible_wait import InterruptibleWait
from moto_ros.robot.kinematics import Pose
from moto_ros.robot.limits import RobotSettings
from moto_ros.robot.mover import Mover

FOR_A_PERSON = (FaultKind.SELF_COLLISION, FaultKind.JOINT_LIMIT)
"""Faults after which no autonomous motion is safe: the arm has to be guided by hand."""

CONTACT = (FaultKind.REFLEX, FaultKind.OTHER)
"""Faults after which something may be in the way: the arm retreats before it continues."""

HOUR = 3600.0
RETREAT_TIMEOUT = 15.0
MIN_RETREAT = 0.01
"""m; with less room above, the arm does not retreat."""


class FaultRecovery:
    """Recovers an arm from faults, and counts the recoveries."""

    def __init__(
        self,
        settings: RobotSettings,
        arm: Arm,
        mover: Mover,
        wait: InterruptibleWait,
        log: Log,
    ) -> None:
        """Use an arm and what moves it; `log` gets a sentence for each recovery."""
        self._settings, self._arm, self._mover, self._wait, self._log = settings, arm, mover, wait, log
        self._times: list[float] = []
        self.recoveries = 0

    def handle(self, fault: ArmFault) -> str:
        """Recover from a fault; return nothing, or the sentence that asks a person for help. Raises Interrupted."""
        why = self._person_needed(fault)
        if why:
            return f"{fault}; {why}, then call robot/recover"
        retries, contact = self._settings.recovery.retries, fault.kind in CONTACT
        for attempt in range(retries):
            self._wait.pause(self._settings.recovery.back_off * 2**attempt)
            try:
                self._arm.recover()
                if contact:
                    self._retreat()
                self._arm.state()
            except ArmFault as again:
                fault, contact = again, contact or again.kind in CONTACT
            else:
                self.recoveries += 1
                self._times.append(self._wait.now())
                times = f"{self.hourly()} times within the last hour"
                self._log.info(f"robot: recovered at attempt {attempt + 1}; {times}")
                return ""
        return f"{fault}; {retries} attempts to recover failed: check that the arm can move, then call robot/recover"

    def hourly(self) -> int:
        """Return how many recoveries there were in the last hour."""
        self._times = [time for time in self._times if self._wait.now() - time < HOUR]
        return len(self._times)

    def _person_needed(self, fault: ArmFault) -> str:
        recovery = self._settings.recovery
        if fault.kind in FOR_A_PERSON:
            return "the arm does not recover from this by itself: guide it by hand to a free posture"
        if recovery.retries == 0 or (fault.kind in CONTACT and recovery.retreat_height == 0.0):
            return "the robot's configuration leaves this recovery to a person: make room"
        if self.hourly() >= recovery.per_hour:
            return f"the arm has recovered {self.hourly()} times within the last hour: find out why"
        return ""

    def _retreat(self) -> None:
        """Move straight up, slowly. Raises ArmFault if there is no room above."""
        here, recovery = self._mover.pose(), self._settings.recovery
        top = max(self._settings.box_high[2], self._settings.safe_height)
        height = min(recovery.retreat_height, top - here.position[2])
        if height < MIN_RETREAT:
            raise ArmFault(FaultKind.OTHER, "robot: no room to retreat upwards; guide it by hand to a free position")
        goal = Pose(here.position + np.array([0.0, 0.0, height]), here.rotation)
        self._mover.straight(goal, recovery.retreat_speed, RETREAT_TIMEOUT)
