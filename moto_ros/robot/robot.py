"""One arm, whole: its guard, and a thread for all that has to wait (connecting, resets, recovery). No ROS."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from moto_ros.errors import MotoError
from moto_ros.robot.envelope import Box
from moto_ros.robot.faults import Supervisor
from moto_ros.robot.interface import Arm, ArmFault, ArmState
from moto_ros.robot.interruptible_wait import Interrupted, InterruptibleWait
from moto_ros.robot.job_thread import JobThread
from moto_ros.robot.kinematics import Kinematics
from moto_ros.robot.limits import RobotSettings
from moto_ros.robot.mover import Mover
from moto_ros.robot.reset import Resetter, SceneSettings
from moto_ros.robot.safety import ArmReading, Command, SafetySupervisor, SafetyThread

RETRY = 0.5
"""Seconds between two attempts to connect."""

CLOSING = "the robot's node ends"

CLOSE = 2.0
"""Seconds that a job gets to end when the node does."""

CONTENT = (ArmFault, Interrupted)
"""What a job of the arm may end by; its text is for a person."""


@dataclass
class ResetJob:
    """A reset that somebody waits for."""

    episode: int
    seed: int
    cancelled: str = ""


class Robot:
    """Answers of jobs are sentences: empty when done, else why not and what to do."""

    def __init__(
        self,
        settings: RobotSettings,
        scene: SceneSettings,
        arm: Arm,
        tell: Callable[[str], None],
        on_crash: Callable[[Exception], None],
    ) -> None:
        """Take an arm; `connect` begins. `tell` and `on_crash` are called from other threads."""
        self._settings, self._arm, self._tell, self._on_crash = settings, arm, tell, on_crash
        self._patience = InterruptibleWait(self._interrupted)
        self._resetter = Resetter(settings, scene, arm, Mover(settings, arm, self._patience), self._patience)
        retreat = InterruptibleWait(self._stopped)  # a retreat goes on although there is a fault
        self._supervisor = Supervisor(settings, arm, Mover(settings, arm, retreat), retreat, tell)
        self._jobs = JobThread("robot")
        self._guard: SafetyThread | None = None
        self._job: ResetJob | None = None
        self._closing = False

    # Connecting.

    def connect(self) -> Future[None]:
        """Begin to connect; the future raises MotoError where that cannot be done in time."""
        return self._jobs.do(self._connect)

    def _connect(self) -> None:
        self._open(time.monotonic() + self._settings.connect_timeout)
        state = self._first()
        self._check_home(state)
        self._guard = SafetyThread(SafetySupervisor(self._settings, self._arm, state, self._fault), self._on_crash)
        gripper = self._arm.gripper
        if gripper is not None and self._settings.gripper.homing:
            gripper.home()

    def _open(self, end: float) -> None:
        while True:
            try:
                self._arm.connect()
                return
            except ArmFault as fault:
                if self._closing or time.monotonic() + RETRY > end:
                    raise MotoError(f"{fault} (tried for {self._settings.connect_timeout:g} s)") from fault
                time.sleep(RETRY)

    def _first(self) -> ArmState:
        state = self._arm.measured()
        if state is None:
            raise MotoError(f"{self._settings.title}: no measurement arrived; check its cable and start again")
        return state

    def _check_home(self, state: ArmState) -> None:
        settings = self._settings
        home = Kinematics(state, self._arm.chain).pose(settings.home).position
        if Box.of(settings.box_low, settings.box_high).outside(home) > 0.0:
            raise MotoError(
                f"{settings.title}: parameter 'home' brings the end effector to {home.round(3).tolist()} m, "
                f"expected a place inside the box {list(settings.box_low)}..{list(settings.box_high)}; mend one of them"
            )

    @property
    def connected(self) -> bool:
        """Whether the arm is connected and guarded."""
        return self._guard is not None

    @property
    def guard(self) -> SafetyThread:
        """Return the guard; only once connected."""
        if self._guard is None:
            raise MotoError(f"{self._settings.title}: not connected yet; ask again")
        return self._guard

    @property
    def seen(self) -> ArmReading | None:
        """Return how the robot is, None before it is connected."""
        return self._guard.seen if self._guard is not None else None

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Return the names of the joints."""
        return self._arm.joint_names

    # Commands.

    def submit(self, command: Command) -> None:
        """Leave the newest action with the guard."""
        if self._guard is not None:
            self._guard.submit(command)

    def stop(self, reason: str) -> None:
        """Stop now, whatever is under way; latched until `recover`."""
        if self._guard is not None:
            self._guard.stop(reason)
        else:
            self._arm.stop()

    def ready(self) -> None:
        """Take the operator's word that the scene is prepared."""
        self._resetter.ready()

    def reset(self, job: ResetJob) -> Future[str]:
        """Begin to bring arm and scene to a start state; the episode's actions count from then on."""
        return self._jobs.do(partial(self._reset, job))

    def cancel(self, job: ResetJob, why: str) -> None:
        """End a reset that nobody waits for any more."""
        job.cancelled = why
        if self._job is job:
            self._arm.stop()

    def recover(self) -> Future[str]:
        """Begin to clear stop and fault, because a person says that it can move."""
        return self._jobs.do(self._recover)

    def close(self) -> None:
        """Stop the arm, end all threads, let go of the connection."""
        self._closing = True
        if self._guard is not None:
            self._guard.close()
        self._arm.stop()
        self._jobs.close(CLOSE)
        self._arm.close()

    def figures(self) -> dict[str, object]:
        """Return what was executed, what was not and why, and recoveries."""
        own = {"recoveries": self._supervisor.recoveries, "recoveries_per_hour": self._supervisor.hourly()}
        return own | (self._guard.figures() if self._guard is not None else {})

    @property
    def waits(self) -> str:
        """Return what the robot waits for, empty when for nothing."""
        if self._guard is None:
            return f"connects with the {self._settings.title}"
        return "waits for operator/ready: prepare the scene and say it" if self._resetter.waits else ""

    # Jobs, on their own thread.

    def _stopped(self) -> str:
        return CLOSING if self._closing else self.guard.stopped

    def _interrupted(self) -> str:
        cancelled = self._job.cancelled if self._job is not None else ""
        return cancelled or (CLOSING if self._closing else self.guard.trouble)

    def _reset(self, job: ResetJob) -> str:
        why = job.cancelled or self.guard.lend()
        if why:
            return why
        self._job = job
        try:
            self._resetter.run(job.seed)
            self._patience.check()
        except CONTENT as ended:
            return self._interrupted() or str(ended)  # the driver only knows that it was stopped, not why
        finally:
            self._job = None
            self.guard.give_back()
        return self.guard.begin(job.episode)

    def _recover(self) -> str:
        try:
            self._arm.recover()
            self._arm.state()
        except ArmFault as fault:
            return str(fault)
        self.guard.recovered()
        return ""

    def _fault(self, fault: ArmFault) -> None:
        """Called by the guard's thread: have the fault seen to."""
        self._tell(f"fault ({fault.kind.value}): {fault}")
        if not self._closing:
            self._jobs.do(partial(self._handle, fault)).add_done_callback(partial(_raise_on, self._on_crash))

    def _handle(self, fault: ArmFault) -> None:
        if self.guard.fault is not fault or self.guard.stopped:
            return  # a person was quicker
        try:
            unsolved = self._supervisor.handle(fault)
        except Interrupted:
            return
        if unsolved:
            self._tell(unsolved)
            self.guard.stop(unsolved)
        else:
            self.guard.healed()


def _raise_on(on_crash: Callable[[Exception], None], done: Future[None]) -> None:
    error = done.exception()
    if isinstance(error, Exception):
        on_crash(error)
