"""Safety supervisor of the arm: without a fresh command it holds, then ends control; a fault stops the arm. No ROS.

`SafetySupervisor` is the state machine; times are arguments. `SafetyThread` runs it in a thread of its own in the
driver's process, separate from the executor and from every callback.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from moto_ros.robot.actions import ActionScale, Fingers
from moto_ros.robot.command_checks import CommandChecks
from moto_ros.robot.interface import Arm, ArmFault, ArmState, Control, FaultKind
from moto_ros.robot.kinematics import Kinematics
from moto_ros.robot.limits import RobotSettings
from moto_ros.robot.setpoint_limiter import setpoint_for
from moto_ros.robot.standstill import Standstill

TICK_PERIOD = 0.005
"""Seconds between two ticks of the supervisor."""

MAX_TICK = 0.02
"""Maximum time in seconds by which one tick advances the target, however late the tick is."""


class Mode(IntEnum):
    """The robot's mode; the numbers are those of moto_msgs/RobotState."""

    IDLE = 0
    HOLD = 1
    TRACK = 2
    RESET = 3
    STOPPED = 4
    FAULT = 5


@dataclass(frozen=True)
class Command:
    """One action; `sent` is its time in seconds of the supervisor's clock."""

    episode: int
    step: int
    values: np.ndarray
    sent: float
    source: int = 0


@dataclass(frozen=True)
class ArmReading:
    """The newest measurement, and the mode and fault that the supervisor derives from it."""

    state: ArmState
    width: float
    mode: Mode
    episode: int
    step: int
    fault: str


class SafetySupervisor:
    """Decides at each tick what the arm follows. A fault of the arm ends control at once and calls `on_fault`."""

    def __init__(
        self, settings: RobotSettings, arm: Arm, state: ArmState, on_fault: Callable[[ArmFault], None] = lambda _: None
    ) -> None:
        """Take a connected arm, and a measurement of it."""
        self._settings, self._arm, self._on_fault = settings, arm, on_fault
        self._scale = ActionScale(settings)
        self._control = Control(settings.control)
        self._setpoint = setpoint_for(self._control, settings, Kinematics(state, arm.chain))
        self.checks = CommandChecks(self._scale.size)
        self.counts: Counter[str] = self.checks.counts
        self.mode, self.episode = Mode.IDLE, 0
        self.fault: ArmFault | None = None
        self.hold_reason = ""
        self.last_hold = ""
        self.delay = 0.0
        self._state, self._width = state, 0.0
        self._measured_at, self._ticked_at, self._action_at = -np.inf, -np.inf, -np.inf
        self._controlled = self._released = False
        self._standstill = Standstill()
        self._fingers, self._source = Fingers.LEFT_ALONE, -1

    # Requests.

    def begin(self, episode: int) -> str:
        """Accept the actions of an episode from step 0 on; return the reason for a refusal, or nothing."""
        if not self.stop_or_fault:
            self.checks.begin(episode)
            self.episode, self._fingers, self._source = episode, Fingers.LEFT_ALONE, -1
        return self.stop_or_fault

    def end(self) -> None:
        """End control: no action is accepted until the next episode."""
        self.checks.end()
        self._end_control()

    def stop(self, reason: str) -> None:
        """Brake now, and reject every command until `recovered`."""
        self.checks.stop(reason)
        self._end_control()
        self._arm.stop()
        self.mode = Mode.STOPPED

    def release(self) -> str:
        """Release control to a reset, which moves the arm; return the reason for a refusal, or nothing."""
        if self.stop_or_fault:
            return self.stop_or_fault
        self.end()
        self._released = True
        return ""

    def reclaim(self) -> None:
        """Reclaim control after a reset; the arm still brakes if the reset was cancelled."""
        self._released = False
        self._standstill.begin()

    def fault_cleared(self) -> None:
        """Clear the fault; a stop remains."""
        self.fault, self._measured_at = None, -np.inf

    def recovered(self) -> None:
        """Clear the fault and the stop, at a person's request."""
        self.fault_cleared()
        self.checks.recover()

    @property
    def stop_or_fault(self) -> str:
        """Return the sentence of the active stop or fault, empty without one."""
        return self.checks.stopped or (str(self.fault) if self.fault is not None else "")

    @property
    def reading(self) -> ArmReading:
        """Return the newest measurement with mode and fault."""
        return ArmReading(self._state, self._width, self.mode, self.episode, self.checks.step, self.stop_or_fault)

    # Control ticks.

    def tick(self, now: float, command: Command | None = None) -> None:
        """Measure, execute the command if it is fresh, and advance the target."""
        dt = min(max(now - self._ticked_at, 0.0), MAX_TICK)
        self.counts["late_ticks"] += np.isfinite(self._ticked_at) and now - self._ticked_at > MAX_TICK
        self._ticked_at = now
        try:
            self._measure(now)
            if self.stop_or_fault:
                self._end_control()
                self.mode = Mode.STOPPED if self.checks.stopped else Mode.FAULT
            elif self._released:
                self.mode = Mode.RESET
            else:
                self._track(now, dt, command)
        except ArmFault as fault:
            self._on_arm_fault(fault)

    def _measure(self, now: float) -> None:
        """Read the newest measurement. Raises ArmFault for a fault, and for a measurement that is too old."""
        try:
            state = self._arm.state()
        except ArmFault:
            self._state = self._arm.measured() or self._state
            raise
        if state.sequence != self._state.sequence or not np.isfinite(self._measured_at):
            self._measured_at = now
        elif now - self._measured_at > self._settings.state_timeout:
            age = now - self._measured_at
            raise ArmFault(FaultKind.FROZEN, f"robot/state: no new measurement for {age:.2f} s; check the arm's cable")
        self._state = state
        gripper = self._arm.gripper
        self._width = gripper.width if gripper is not None else 0.0

    def _on_arm_fault(self, fault: ArmFault) -> None:
        """End control; report the first fault only, until it is cleared."""
        fault.__traceback__ = None  # the driver raises the same object repeatedly, and the traceback would grow
        self._end_control()
        self.mode = Mode.STOPPED if self.checks.stopped else Mode.FAULT
        if self.fault is None:
            self.fault = fault
            self.counts["faults"] += 1
            self._arm.stop()
            self._on_fault(fault)

    def _end_control(self) -> None:
        """End control of the arm, if it is controlled."""
        if self._controlled:
            self._controlled = False
            self._arm.stop()
            self._standstill.begin()

    def _track(self, now: float, dt: float, command: Command | None) -> None:
        """Execute a command, hold or end control without one, and send the arm its target."""
        values = None if command is None else self._admitted(now, command)
        restarted = command is not None and values is not None and self._execute(now, command, values)
        if not self._controlled:
            # A braking arm is not idle: clients rely on an idle arm staying where it is.
            standing = self._standstill.update(self._state.position, self._state.stamp)
            self.mode = Mode.HOLD if self.checks.open or not standing else Mode.IDLE
            return
        self._check_freshness(now)
        if self._controlled:
            self._arm.follow(self._setpoint.advance(self._state, 0.0 if restarted else dt))

    def _admitted(self, now: float, command: Command) -> np.ndarray | None:
        """Return the action if it may move the arm; otherwise count the reason."""
        if self.hold_reason:
            self.counts["ignored_while_held"] += 1
            return None
        if abs(now - command.sent) > self._settings.action_lifespan:
            self.counts["stale_actions"] += 1
            return None
        return self.checks.admit(command.episode, command.step, command.values)

    def _execute(self, now: float, command: Command, values: np.ndarray) -> bool:
        """Move the goal by the action; return whether the target was restarted at the measured pose."""
        restarted = self.mode is not Mode.TRACK or command.source != self._source
        self.counts["executed"] += 1
        self.counts["late"] += self.mode is Mode.HOLD and self.checks.step > 1
        if not self._controlled:
            self._arm.start(self._control)
            self._controlled = True
        if restarted:
            self._setpoint.restart(self._state)
        self.counts["clipped_by_envelope"] += self._setpoint.aim(
            self._scale.move(values), self._state, self._settings.period
        )
        self.mode, self._source, self._action_at, self.delay = Mode.TRACK, command.source, now, now - command.sent
        self._command_gripper(self._scale.fingers(values, self._fingers))
        return restarted

    def _command_gripper(self, fingers: Fingers) -> None:
        gripper = self._arm.gripper
        if gripper is None or fingers is self._fingers:
            return
        self._fingers = fingers
        if fingers is Fingers.OPEN:
            gripper.move(self._settings.gripper.open_width)
        else:
            gripper.grasp(self._settings.gripper.force)

    def _check_freshness(self, now: float) -> None:
        """Hold without a fresh command or while a hold is requested; end control after `stop_after` without one."""
        silent = now - self._action_at
        late = silent > self._settings.hold_periods * self._settings.period
        if self.mode is Mode.TRACK and (late or self.hold_reason):
            self._setpoint.restart(self._state)
            self.mode = Mode.HOLD
            self.counts["holds"] += 1
            self.last_hold = self.hold_reason or f"no action for {silent:.2f} s after step {self.checks.step}"
        if silent > self._settings.stop_after:
            self.counts["ended_by_silence"] += 1
            self._end_control()


class SafetyThread:
    """Runs a supervisor in its own thread; all methods may be called from any thread."""

    def __init__(self, supervisor: SafetySupervisor, on_crash: Callable[[Exception], None] = lambda _: None) -> None:
        """Start the thread; if an exception ends it, the arm is stopped and `on_crash` is called."""
        self._supervisor, self._on_crash = supervisor, on_crash
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._pending: Command | None = None
        self._closing = False
        self.reading = supervisor.reading
        self._thread = threading.Thread(target=self._run, name="safety", daemon=True)
        self._thread.start()

    def submit(self, command: Command) -> None:
        """Submit the newest command; the thread executes it at once."""
        self._pending = command
        self._wake.set()

    def begin(self, episode: int) -> str:
        """Accept the actions of an episode from step 0 on; return the reason for a refusal, or nothing."""
        with self._lock:
            return self._supervisor.begin(episode)

    def end(self, episode: int) -> None:
        """End control if this episode is running."""
        with self._lock:
            if self._supervisor.checks.open and self._supervisor.checks.episode == episode:
                self._supervisor.end()

    def stop(self, reason: str) -> None:
        """Brake now, and reject every command until `recovered`."""
        with self._lock:
            self._supervisor.stop(reason)
        self._wake.set()

    def release(self) -> str:
        """Release control to a reset; return the reason for a refusal, or nothing."""
        with self._lock:
            return self._supervisor.release()

    def reclaim(self) -> None:
        """Reclaim control after a reset."""
        with self._lock:
            self._supervisor.reclaim()

    def fault_cleared(self) -> None:
        """Clear the fault; a stop remains."""
        with self._lock:
            self._supervisor.fault_cleared()

    def recovered(self) -> None:
        """Clear the fault and the stop, at a person's request."""
        with self._lock:
            self._supervisor.recovered()

    def request_hold(self, reason: str) -> None:
        """Hold at once, until this is called with an empty reason."""
        if reason != self._supervisor.hold_reason:
            self._supervisor.hold_reason = reason
            self._wake.set()

    @property
    def stop_or_fault(self) -> str:
        """Return the sentence of the active stop or fault, empty without one."""
        return self._supervisor.stop_or_fault

    @property
    def stopped(self) -> str:
        """Return the sentence of the active stop, empty without one."""
        return self._supervisor.checks.stopped

    @property
    def fault(self) -> ArmFault | None:
        """Return the active fault."""
        return self._supervisor.fault

    def figures(self) -> dict[str, object]:
        """Return diagnostics: counts of executed and rejected actions, by reason."""
        supervisor = self._supervisor
        return {"last_hold": supervisor.last_hold, "action_delay": supervisor.delay, **dict(supervisor.counts)}

    @property
    def refusal(self) -> str:
        """Return the error of the last malformed action."""
        return self._supervisor.checks.refusal

    def close(self) -> None:
        """Stop the arm and end the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join(1.0)
        with self._lock:
            self._supervisor.end()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._wake.wait(TICK_PERIOD)
                self._wake.clear()
                command, self._pending = self._pending, None
                with self._lock:
                    self._supervisor.tick(time.monotonic(), command)
                    self.reading = self._supervisor.reading
        except Exception as error:  # of any kind: the arm is no longer supervised
            self._supervisor.stop(f"the safety thread ended with {type(error).__name__}: {error}; restart the node")
            self.reading = self._supervisor.reading
            self._on_crash(error)
