"""The last guard before the arm: fresh command or hold, hold too long or anything wrong: stop. No ROS.

`SafetySupervisor` decides, a state machine on given times; `SafetyThread` runs it in a thread of its own in the
driver's process, apart from the executor and from every callback.
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
from moto_ros.robot.gate import Gate
from moto_ros.robot.interface import Arm, ArmFault, ArmState, Control, FaultKind
from moto_ros.robot.kinematics import Kinematics
from moto_ros.robot.limits import RobotSettings
from moto_ros.robot.setpoint import setpoint_for
from moto_ros.robot.standstill import Standstill

TICK = 0.005
"""Seconds between two looks of the guard."""

LONGEST = 0.02
"""Seconds that a target moves on at most in one tick, however late that is."""


class Mode(IntEnum):
    """What the robot does; the numbers are those of moto_msgs/RobotState."""

    IDLE = 0
    HOLD = 1
    TRACK = 2
    RESET = 3
    STOPPED = 4
    FAULT = 5


@dataclass(frozen=True)
class Command:
    """One action; `sent` is when, in seconds of the guard's clock."""

    episode: int
    step: int
    values: np.ndarray
    sent: float
    source: int = 0


@dataclass(frozen=True)
class ArmReading:
    """How the robot is: the newest measurement, and what the guard makes of it."""

    state: ArmState
    width: float
    mode: Mode
    episode: int
    step: int
    fault: str


class SafetySupervisor:
    """Decides, tick by tick, what the arm follows. Any fault of the arm ends control at once and calls `on_fault`."""

    def __init__(
        self, settings: RobotSettings, arm: Arm, state: ArmState, on_fault: Callable[[ArmFault], None] = lambda _: None
    ) -> None:
        """Take a connected arm, and a measurement of it."""
        self._settings, self._arm, self._on_fault = settings, arm, on_fault
        self._scale = ActionScale(settings)
        self._control = Control(settings.control)
        self._setpoint = setpoint_for(self._control, settings, Kinematics(state, arm.chain))
        self.gate = Gate(self._scale.size)
        self.counts: Counter[str] = self.gate.counts
        self.mode, self.episode = Mode.IDLE, 0
        self.fault: ArmFault | None = None
        self.hindrance = ""
        self.last_hold = ""
        self.delay = 0.0
        self._state, self._width = state, 0.0
        self._new, self._last, self._taken = -np.inf, -np.inf, -np.inf
        self._controlled = self._lent = False
        self._standstill = Standstill()
        self._fingers, self._source = Fingers.LEFT_ALONE, -1

    # What others say.

    def begin(self, episode: int) -> str:
        """Take the actions of an episode, from step 0 on; return why not, or nothing."""
        if not self.trouble:
            self.gate.begin(episode)
            self.episode, self._fingers, self._source = episode, Fingers.LEFT_ALONE, -1
        return self.trouble

    def end(self) -> None:
        """End control: no action counts until the next episode."""
        self.gate.end()
        self._let_go()

    def stop(self, reason: str) -> None:
        """Brake now, and refuse everything until `recovered`."""
        self.gate.stop(reason)
        self._let_go()
        self._arm.stop()
        self.mode = Mode.STOPPED

    def lend(self) -> str:
        """Leave the arm to a reset, which moves it; return why not, or nothing."""
        if self.trouble:
            return self.trouble
        self.end()
        self._lent = True
        return ""

    def give_back(self) -> None:
        """Take the arm back; after a reset that was cut short it still brakes."""
        self._lent = False
        self._standstill.begin()

    def healed(self) -> None:
        """Forget the fault; a stop lasts."""
        self.fault, self._new = None, -np.inf

    def recovered(self) -> None:
        """Forget fault and stop, because a person says so."""
        self.healed()
        self.gate.recover()

    @property
    def trouble(self) -> str:
        """Return the sentence of the stop or fault that lasts, empty without one."""
        return self.gate.stopped or (str(self.fault) if self.fault is not None else "")

    @property
    def seen(self) -> ArmReading:
        """Return how the robot is."""
        return ArmReading(self._state, self._width, self.mode, self.episode, self.gate.step, self.trouble)

    # What happens.

    def tick(self, now: float, command: Command | None = None) -> None:
        """Look at the arm, take up the command if there is a fresh one, and move the target on."""
        dt = min(max(now - self._last, 0.0), LONGEST)
        self.counts["late_ticks"] += np.isfinite(self._last) and now - self._last > LONGEST
        self._last = now
        try:
            self._look(now)
            if self.trouble:
                self._rest(Mode.STOPPED if self.gate.stopped else Mode.FAULT)
            elif self._lent:
                self.mode = Mode.RESET
            else:
                self._serve(now, dt, command)
        except ArmFault as fault:
            self._fail(fault)

    def _look(self, now: float) -> None:
        """Take the newest measurement. Raises ArmFault for a fault, and for one that is too old."""
        try:
            state = self._arm.state()
        except ArmFault:
            self._state = self._arm.measured() or self._state
            raise
        if state.sequence != self._state.sequence or not np.isfinite(self._new):
            self._new = now
        elif now - self._new > self._settings.state_timeout:
            age = now - self._new
            raise ArmFault(FaultKind.FROZEN, f"robot/state: no new measurement for {age:.2f} s; check the arm's cable")
        self._state = state
        gripper = self._arm.gripper
        self._width = gripper.width if gripper is not None else 0.0

    def _fail(self, fault: ArmFault) -> None:
        """End control for a fault; those that follow while it lasts say nothing new."""
        fault.__traceback__ = None  # the driver raises the same object again and again, and it would grow
        self._rest(Mode.STOPPED if self.gate.stopped else Mode.FAULT)
        if self.fault is None:
            self.fault = fault
            self.counts["faults"] += 1
            self._arm.stop()
            self._on_fault(fault)

    def _rest(self, mode: Mode) -> None:
        self._let_go()
        self.mode = mode

    def _let_go(self) -> None:
        """End control of the arm."""
        if self._controlled:
            self._controlled = False
            self._arm.stop()
            self._standstill.begin()

    def _serve(self, now: float, dt: float, command: Command | None) -> None:
        started = False
        if command is not None:
            values = self._admitted(now, command)
            if values is not None:
                started = self._take(now, command, values)
        if not self._controlled:
            # While it brakes it is not idle: whoever reads "idle" takes the place for the one where it stays.
            stands = self._standstill.look(self._state.position, self._state.stamp)
            self.mode = Mode.HOLD if self.gate.open or not stands else Mode.IDLE
            return
        self._watch(now)
        if self._controlled:
            self._arm.follow(self._setpoint.advance(self._state, 0.0 if started else dt))

    def _admitted(self, now: float, command: Command) -> np.ndarray | None:
        """Return the action if it may move the arm, else count why not."""
        if self.hindrance:
            self.counts["ignored_hindrance"] += 1
            return None
        if abs(now - command.sent) > self._settings.action_lifespan:
            self.counts["stale_actions"] += 1
            return None
        return self.gate.admit(command.episode, command.step, command.values)

    def _take(self, now: float, command: Command, values: np.ndarray) -> bool:
        """Aim at where the action leads; return whether the target begins anew at the measured pose."""
        anew = self.mode is not Mode.TRACK or command.source != self._source
        self.counts["executed"] += 1
        self.counts["late"] += self.mode is Mode.HOLD and self.gate.step > 1
        if not self._controlled:
            self._arm.start(self._control)
            self._controlled = True
        if anew:
            self._setpoint.restart(self._state)
        self.counts["clipped_by_envelope"] += self._setpoint.aim(
            self._scale.move(values), self._state, self._settings.period
        )
        self.mode, self._source, self._taken, self.delay = Mode.TRACK, command.source, now, now - command.sent
        self._close_or_open(self._scale.fingers(values, self._fingers))
        return anew

    def _close_or_open(self, fingers: Fingers) -> None:
        gripper = self._arm.gripper
        if gripper is None or fingers is self._fingers:
            return
        self._fingers = fingers
        if fingers is Fingers.OPEN:
            gripper.move(self._settings.gripper.open_width)
        else:
            gripper.grasp(self._settings.gripper.force)

    def _watch(self, now: float) -> None:
        """Hold without a fresh command or with a hindrance; end control when that lasts."""
        silent = now - self._taken
        late = silent > self._settings.hold_periods * self._settings.period
        if self.mode is Mode.TRACK and (late or self.hindrance):
            self._setpoint.restart(self._state)
            self.mode = Mode.HOLD
            self.counts["holds"] += 1
            self.last_hold = self.hindrance or f"no action for {silent:.2f} s after step {self.gate.step}"
        if silent > self._settings.stop_after:
            self.counts["ended_by_silence"] += 1
            self._let_go()


class SafetyThread:
    """Runs a ladder in a thread of its own; any thread may call."""

    def __init__(self, ladder: SafetySupervisor, on_crash: Callable[[Exception], None] = lambda _: None) -> None:
        """Start the thread; `on_crash` hears what ended it, should it ever end by itself: the arm is stopped then."""
        self._ladder, self._on_crash = ladder, on_crash
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._pending: Command | None = None
        self._closing = False
        self.seen = ladder.seen
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)
        self._thread.start()

    def submit(self, command: Command) -> None:
        """Leave the newest command; it is taken up at once."""
        self._pending = command
        self._wake.set()

    def begin(self, episode: int) -> str:
        """Take the actions of an episode, from step 0 on; return why not, or nothing."""
        with self._lock:
            return self._ladder.begin(episode)

    def end(self, episode: int) -> None:
        """End control if that episode is under way."""
        with self._lock:
            if self._ladder.gate.open and self._ladder.gate.episode == episode:
                self._ladder.end()

    def stop(self, reason: str) -> None:
        """Brake now, and refuse everything until `recovered`."""
        with self._lock:
            self._ladder.stop(reason)
        self._wake.set()

    def lend(self) -> str:
        """Leave the arm to a reset; return why not, or nothing."""
        with self._lock:
            return self._ladder.lend()

    def give_back(self) -> None:
        """Take the arm back."""
        with self._lock:
            self._ladder.give_back()

    def healed(self) -> None:
        """Forget the fault; a stop lasts."""
        with self._lock:
            self._ladder.healed()

    def recovered(self) -> None:
        """Forget fault and stop, because a person says so."""
        with self._lock:
            self._ladder.recovered()

    def hinder(self, reason: str) -> None:
        """Hold at once, and as long as there is a reason."""
        if reason != self._ladder.hindrance:
            self._ladder.hindrance = reason
            self._wake.set()

    @property
    def trouble(self) -> str:
        """Return the sentence of the stop or fault that lasts, empty without one."""
        return self._ladder.trouble

    @property
    def stopped(self) -> str:
        """Return the sentence of the stop that lasts, empty without one."""
        return self._ladder.gate.stopped

    @property
    def fault(self) -> ArmFault | None:
        """Return the fault that lasts."""
        return self._ladder.fault

    def figures(self) -> dict[str, object]:
        """Return what was executed and what was not, and why."""
        ladder = self._ladder
        return {"last_hold": ladder.last_hold, "action_delay": ladder.delay, **dict(ladder.counts)}

    @property
    def refusal(self) -> str:
        """Return the sentence of the last action that was none."""
        return self._ladder.gate.refusal

    def close(self) -> None:
        """Stop the arm and end the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join(1.0)
        with self._lock:
            self._ladder.end()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._wake.wait(TICK)
                self._wake.clear()
                self._tick()
        except Exception as error:  # whatever it is: nobody guards the arm any more
            self._ladder.stop(f"the guard ended by {type(error).__name__}: {error}; restart the node")
            self.seen = self._ladder.seen
            self._on_crash(error)

    def _tick(self) -> None:
        command, self._pending = self._pending, None
        with self._lock:
            self._ladder.tick(time.monotonic(), command)
            self.seen = self._ladder.seen
