"""A robot: an arm with its safety thread, and a job thread for connecting, resets and fault recovery. No ROS."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from moto_ros.contract.log import Log
from moto_ros.errors import MotoError
from moto_ros.robot.envelope import Box
from moto_ros.robot.faults import FaultRecovery
from moto_ros.robot.interface import Arm, ArmFault, ArmState
from moto_ros.robot.interruptible_wait import Interrupted, InterruptibleWait
from moto_ros.robot.job_thread import JobThread
from moto_ros.robot.kinematics import Kinematics
from moto_ros.robot.limits import RobotSettings
from moto_ros.robot.mover import Mover
from moto_ros.robot.reset import Resetter, SceneSettings
from moto_ros.robot.safety import ArmReading, Command, SafetySupervisor, SafetyThread

CONNECT_RETRY_PERIOD = 0.5
"""Seconds between two attempts to connect."""

SHUTDOWN = "the robot node shuts down"

CLOSE_TIMEOUT = 2.0
"""Seconds that a running job is given to end when the node shuts down."""

EXPECTED_ERRORS = (ArmFault, Interrupted)
"""Exceptions by which a job may end; their text is shown to the user."""


@dataclass
class ResetJob:
    """A reset that a service call waits for."""

    episode: int
    seed: int
    cancelled: str = ""


class Robot:
    """An arm with its threads. A job returns an empty text when done, else a sentence: what failed, and what to do."""

    def __init__(
        self,
        settings: RobotSettings,
        scene: SceneSettings,
        arm: Arm,
        log: Log,
        on_crash: Callable[[Exception], None],
    ) -> None:
        """Take an arm; `connect` begins. `log` and `on_crash` are called by other threads."""
        self._settings, self._arm, self._log, self._on_crash = settings, arm, log, on_crash
        self._wait = InterruptibleWait(self._interrupted)
        self._resetter = Resetter(settings, scene, arm, Mover(settings, arm, self._wait), self._wait)
        retreat = InterruptibleWait(self._stopped)  # a fault does not interrupt a retreat
        self._recovery = FaultRecovery(settings, arm, Mover(settings, arm, retreat), retreat, log)
        self._jobs = JobThread("robot")
        self._safety: SafetyThread | None = None
        self._job: ResetJob | None = None
        self._closing = False

    # Connecting.

    def connect(self) -> Future[None]:
        """Begin to connect; the future raises MotoError after `connect_timeout`."""
        return self._jobs.do(self._connect)

    def _connect(self) -> None:
        self._open(time.monotonic() + self._settings.connect_timeout)
        state = self._arm.measured()
        if state is None:
            raise MotoError(f"{self._settings.title}: no measurement arrived; check its cable and start again")
        self._check_home(state)
        self._safety = SafetyThread(SafetySupervisor(self._settings, self._arm, state, self._on_fault), self._on_crash)
        gripper = self._arm.gripper
        if gripper is not None and self._settings.gripper.homing:
            gripper.home()

    def _open(self, end: float) -> None:
        while True:
            try:
                self._arm.connect()
                return
            except ArmFault as fault:
                if self._closing or time.monotonic() + CONNECT_RETRY_PERIOD > end:
                    raise MotoError(f"{fault} (tried for {self._settings.connect_timeout:g} s)") from fault
                time.sleep(CONNECT_RETRY_PERIOD)

    def _check_home(self, state: ArmState) -> None:
        settings = self._settings
        home = Kinematics(state, self._arm.chain).pose(settings.home).position
        if Box.of(settings.box_low, settings.box_high).outside(home) > 0.0:
            raise MotoError(
                f"{settings.title}: parameter 'home' brings the end effector to {home.round(3).tolist()} m, "
                f"expected one inside the box {list(settings.box_low)}..{list(settings.box_high)}; fix one of them"
            )

    @property
    def connected(self) -> bool:
        """Whether the arm is connected and supervised."""
        return self._safety is not None

    @property
    def safety(self) -> SafetyThread:
        """Return the safety thread. Raises MotoError before the arm is connected."""
        if self._safety is None:
            raise MotoError(f"{self._settings.title}: not connected yet; ask again")
        return self._safety

    @property
    def reading(self) -> ArmReading | None:
        """Return the newest measurement with mode and fault, None before the arm is connected."""
        return self._safety.reading if self._safety is not None else None

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Return the names of the joints."""
        return self._arm.joint_names

    # Commands.

    def submit(self, command: Command) -> None:
        """Submit the newest action to the safety thread."""
        if self._safety is not None:
            self._safety.submit(command)

    def stop(self, reason: str) -> None:
        """Stop now and interrupt any job; latched until `recover`."""
        if self._safety is not None:
            self._safety.stop(reason)
        else:
            self._arm.stop()

    def ready(self) -> None:
        """Confirm, for the operator, that the scene is prepared."""
        self._resetter.ready()

    def reset(self, job: ResetJob) -> Future[str]:
        """Begin to reset arm and scene; the episode's actions are accepted after it."""
        return self._jobs.do(partial(self._reset, job))

    def cancel(self, job: ResetJob, why: str) -> None:
        """Cancel a reset whose caller no longer waits for it."""
        job.cancelled = why
        if self._job is job:
            self._arm.stop()

    def recover(self) -> Future[str]:
        """Begin to clear the stop and the fault, at a person's request."""
        return self._jobs.do(self._recover)

    def close(self) -> None:
        """Stop the arm, end all threads, close the connection."""
        self._closing = True
        if self._safety is not None:
            self._safety.close()
        self._arm.stop()
        self._jobs.close(CLOSE_TIMEOUT)
        self._arm.close()

    def figures(self) -> dict[str, object]:
        """Return diagnostics: counts of executed and rejected actions, by reason, and of recoveries."""
        own = {"recoveries": self._recovery.recoveries, "recoveries_per_hour": self._recovery.hourly()}
        return own | (self._safety.figures() if self._safety is not None else {})

    @property
    def waits_for(self) -> str:
        """Return what the robot waits for, empty if nothing."""
        if self._safety is None:
            return f"connects to the {self._settings.title}"
        return "waits for operator/ready: prepare the scene, then call it" if self._resetter.waiting else ""

    # Jobs, on their own thread.

    def _stopped(self) -> str:
        return SHUTDOWN if self._closing else self.safety.stopped

    def _interrupted(self) -> str:
        cancelled = self._job.cancelled if self._job is not None else ""
        return cancelled or (SHUTDOWN if self._closing else self.safety.stop_or_fault)

    def _reset(self, job: ResetJob) -> str:
        why = job.cancelled or self.safety.release()
        if why:
            return why
        self._job = job
        try:
            self._resetter.run(job.seed)
            self._wait.check()
        except EXPECTED_ERRORS as ended:
            return self._interrupted() or str(ended)  # the driver knows that it was stopped, not why
        finally:
            self._job = None
            self.safety.reclaim()
        return self.safety.begin(job.episode)

    def _recover(self) -> str:
        try:
            self._arm.recover()
            self._arm.state()
        except ArmFault as fault:
            return str(fault)
        self.safety.recovered()
        return ""

    def _on_fault(self, fault: ArmFault) -> None:
        """Queue the recovery from a fault; called by the safety thread."""
        self._log.warning(f"fault ({fault.kind.value}): {fault}")
        if not self._closing:
            self._jobs.do(partial(self._handle, fault)).add_done_callback(partial(_raise_on, self._on_crash))

    def _handle(self, fault: ArmFault) -> None:
        if self.safety.fault is not fault or self.safety.stopped:
            return  # a person has already stopped or recovered it
        try:
            unsolved = self._recovery.handle(fault)
        except Interrupted:
            return
        if unsolved:
            self._log.error(unsolved)
            self.safety.stop(unsolved)
        else:
            self.safety.fault_cleared()


def _raise_on(on_crash: Callable[[Exception], None], done: Future[None]) -> None:
    error = done.exception()
    if isinstance(error, Exception):
        on_crash(error)
