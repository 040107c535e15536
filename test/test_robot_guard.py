"""The safety supervisor on a virtual clock: it holds without a fresh command, ends control, and stops on a fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.arm import MemoryArm, robot_settings

from moto_ros.robot.interface import ArmFault, ArmState, FaultKind
from moto_ros.robot.safety import Command, Mode, SafetySupervisor, SafetyThread

TICK = 0.005
DOWN = (0.0, 0.0, -1.0, 0.0)
STILL = (0.0, 0.0, 0.0, 0.0)
REFLEX = ArmFault(FaultKind.REFLEX, "arm: cartesian reflex; make room")


class Rig:
    """A supervisor on an arm in memory, ticked by the test."""

    def __init__(self, share: float = 1.0, **changes: Any) -> None:
        self.settings = robot_settings(**changes)
        self.arm = MemoryArm(self.settings, share)
        self.faults: list[ArmFault] = []
        self.supervisor = SafetySupervisor(self.settings, self.arm, self.arm.state(), self.faults.append)
        self.now = 100.0
        self.step = 0

    def begin(self, episode: int = 1) -> None:
        """Start an episode."""
        self.supervisor.begin(episode)
        self.step = 0

    def run(self, seconds: float) -> None:
        """Let time pass without a command."""
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.supervisor.tick(self.now)

    def act(self, values: Sequence[float], seconds: float = 0.1, age: float = 0.0, **changes: int) -> None:
        """Send the next action and let a period pass."""
        fields = {"episode": 1, "step": self.step} | changes
        self.now += TICK
        taken = self.supervisor.checks.step
        self.supervisor.tick(self.now, Command(values=np.array(values), sent=self.now - age, **fields))
        self.step += self.supervisor.checks.step - taken
        self.run(seconds - TICK)

    @property
    def height(self) -> float:
        """Return the measured height."""
        return float(self.arm.state().position[2])


def test_an_action_moves_by_its_step_within_its_period() -> None:
    rig = Rig()
    rig.begin()
    before = rig.height
    for _ in range(4):
        rig.act(DOWN)
    rig.run(0.05)
    assert rig.height - before == pytest.approx(-4 * rig.settings.translation_step, rel=0.02)
    assert rig.supervisor.mode is Mode.TRACK


@pytest.mark.parametrize("interruption", ["start", "hold", "stop of control", "hand-over", "stop and recover", "fault"])
def test_the_first_target_after_an_interruption_is_the_measured_pose(interruption: str) -> None:
    """Breaks robots: an arm that was moved meanwhile, or lags behind, would jump to its old target."""
    rig = Rig(share=0.5)
    rig.begin()
    if interruption != "start":
        rig.act(DOWN)
        rig.act(DOWN)
    source = _interrupt(rig, interruption)
    rig.arm.place(position=rig.arm.state().position + np.array([0.03, 0.0, 0.02]))
    here = rig.arm.state().position
    rig.arm.targets.clear()
    rig.act(DOWN, seconds=TICK, source=source)
    first = rig.arm.targets[0].position
    assert first is not None
    assert np.abs(first - here).max() < 1e-9


def _interrupt(rig: Rig, interruption: str) -> int:
    if interruption == "hold":
        rig.run(0.25)
        assert rig.supervisor.mode is Mode.HOLD
        assert rig.arm.control is not None
    elif interruption == "stop of control":
        rig.run(1.0)
        assert rig.arm.control is None
    elif interruption == "stop and recover":
        rig.supervisor.stop("stopped")
        rig.supervisor.recovered()
        rig.begin()
    elif interruption == "fault":
        rig.arm.fault = REFLEX
        rig.run(0.05)
        rig.arm.fault = None
        rig.supervisor.recovered()
    return 1 if interruption == "hand-over" else 0


def test_without_a_fresh_action_it_holds_the_measured_pose_and_then_ends_control() -> None:
    """A dead or frozen policy: the driver alone would pull towards the last target indefinitely."""
    rig = Rig(share=0.3)
    rig.begin()
    rig.act(DOWN)
    rig.run(0.09)
    assert rig.supervisor.mode is Mode.TRACK
    rig.run(0.03)
    assert rig.supervisor.mode is Mode.HOLD
    held = rig.height
    assert rig.arm.control is not None
    rig.run(0.25)
    assert rig.arm.control is not None
    rig.run(0.1)
    assert rig.arm.control is None
    assert abs(rig.height - held) < 1e-3
    assert (rig.supervisor.counts["holds"], rig.supervisor.counts["ended_by_silence"]) == (1, 1)


@pytest.mark.parametrize(
    ("values", "changes", "count"),
    [
        ((np.nan, 0.0, 0.0, 0.0), {}, "refused"),
        ((0.0, 0.0, np.inf, 0.0), {}, "refused"),
        ((0.0, 0.0), {}, "refused"),
        ((), {}, "refused"),
        (DOWN, {"episode": 7}, "ignored_other_episode"),
        (DOWN, {"step": 5}, "ignored_other_step"),
        (DOWN, {"step": 0}, "ignored_other_step"),
    ],
)
def test_an_invalid_action_does_not_move_the_arm_and_is_counted(
    values: Sequence[float], changes: dict[str, int], count: str
) -> None:
    rig = Rig()
    rig.begin()
    rig.act(STILL)
    before = rig.height
    rig.act(values, **changes)
    assert rig.supervisor.counts[count] == 1
    assert (rig.supervisor.checks.step, rig.height) == (1, before)


@pytest.mark.parametrize("age", [0.6, -0.6], ids=["old", "of a clock ahead"])
def test_an_action_beyond_its_lifespan_does_not_move_it(age: float) -> None:
    """Breaks robots: what a stalled network delivers in a burst."""
    rig = Rig()
    rig.begin()
    before = rig.height
    rig.act(DOWN, age=age)
    assert rig.supervisor.counts["stale_actions"] == 1
    assert (rig.supervisor.checks.step, rig.height) == (0, before)


def test_a_robot_without_healthy_cameras_holds_at_once_and_executes_no_action() -> None:
    rig = Rig()
    rig.begin()
    rig.act(DOWN, seconds=0.03)
    rig.supervisor.hold_reason = "camera wrist: no frame"
    rig.run(TICK)
    held = rig.height
    assert rig.supervisor.mode is Mode.HOLD
    rig.act(DOWN)
    assert rig.supervisor.counts["ignored_while_held"] == 1
    assert rig.height == pytest.approx(held, abs=1e-9)
    rig.supervisor.hold_reason = ""
    rig.act(DOWN)
    assert rig.supervisor.mode is Mode.TRACK


def test_a_stop_is_latched_and_ends_the_episode() -> None:
    """Breaks people: a stop that the next action or the next reset ends."""
    rig = Rig()
    rig.begin()
    rig.act(DOWN)
    rig.supervisor.stop("stopped; call robot/recover")
    assert rig.arm.control is None
    rig.act(DOWN)
    assert (rig.supervisor.mode, rig.arm.control) == (Mode.STOPPED, None)
    assert rig.supervisor.release() == "stopped; call robot/recover"
    rig.supervisor.recovered()
    rig.act(DOWN)
    assert (rig.supervisor.mode, rig.arm.control) == (Mode.IDLE, None)


def test_a_cleared_fault_does_not_end_a_stop() -> None:
    """Breaks people: a stop pressed while the robot recovers by itself."""
    rig = Rig()
    rig.begin()
    rig.arm.fault = REFLEX
    rig.run(TICK)
    rig.supervisor.stop("stopped; call robot/recover")
    rig.arm.fault = None
    rig.supervisor.fault_cleared()
    rig.run(TICK)
    assert rig.supervisor.mode is Mode.STOPPED
    assert rig.supervisor.begin(2) == "stopped; call robot/recover"
    rig.supervisor.recovered()
    rig.run(TICK)
    assert rig.supervisor.mode is Mode.IDLE


def test_the_end_of_an_episode_ends_control() -> None:
    rig = Rig()
    rig.begin()
    rig.act(DOWN)
    rig.supervisor.end()
    rig.act(DOWN)
    assert (rig.supervisor.mode, rig.arm.control) == (Mode.IDLE, None)


class Braking(MemoryArm):
    """Keeps moving for a while after the end of control, as a real arm does."""

    speed = 0.0

    def stop(self) -> None:
        super().stop()
        self.speed = 0.001

    def state(self) -> ArmState:
        if self.speed > 1e-6:
            self.place(position=self._state.position + np.array([0.0, self.speed, 0.0]))
            self.speed *= 0.8
        return super().state()


@pytest.mark.parametrize("ending", ["end", "reset that is cut short", "stop and recover"])
def test_an_arm_that_still_brakes_is_not_idle(ending: str) -> None:
    """Breaks what relies on an idle arm to stay where it is: a camera's calibration, a guided box."""
    rig = Rig()
    rig.arm = rig.supervisor._arm = Braking(rig.settings)
    rig.begin()
    rig.act(DOWN)
    if ending == "reset that is cut short":
        rig.supervisor.release()
        rig.run(0.2)
        rig.arm.stop()
        rig.supervisor.reclaim()
    elif ending == "stop and recover":
        rig.supervisor.stop("stopped; call robot/recover")
        rig.supervisor.recovered()
    else:
        rig.supervisor.end()
    places = []
    for _ in range(200):
        rig.run(TICK)
        places.append((rig.supervisor.mode, rig.supervisor.reading.state.position))
    moving = [mode for mode, place in places if np.linalg.norm(place - places[-1][1]) > 5e-4]
    assert len(moving) > 5
    assert set(moving) == {Mode.HOLD}
    assert places[-1][0] is Mode.IDLE


@pytest.mark.parametrize("situation", ["idle", "home", "acting", "holding", "reset"])
def test_a_fault_is_seen_within_one_tick_in_every_situation(situation: str) -> None:
    rig = Rig()
    if situation in ("home", "acting", "holding"):
        rig.begin()
    if situation in ("acting", "holding"):
        rig.act(DOWN)
    if situation == "holding":
        rig.run(0.15)
    if situation == "reset":
        assert rig.supervisor.release() == ""
    rig.arm.fault = REFLEX
    rig.run(TICK)
    assert (rig.supervisor.mode, rig.supervisor.reading.fault) == (Mode.FAULT, str(REFLEX))
    assert rig.arm.calls[-1] == "stop"
    rig.run(0.5)
    assert rig.faults == [REFLEX]


def test_a_frozen_measurement_is_a_fault() -> None:
    """Breaks robots: a state that no longer changes looks like an arm that does not move."""
    rig = Rig()
    rig.begin()
    rig.act(DOWN)
    rig.arm.frozen = True
    rig.run(rig.settings.state_timeout + 0.02)
    assert rig.supervisor.mode is Mode.FAULT
    assert [fault.kind for fault in rig.faults] == [FaultKind.FROZEN]


def test_a_late_thread_does_not_catch_up_in_one_jump() -> None:
    """A paused process that resumes: its target may not jump by the time that has passed."""
    rig = Rig()
    rig.begin()
    rig.act(DOWN, seconds=0.02)
    before = rig.height
    rig.now += 0.08
    rig.supervisor.tick(rig.now)
    assert abs(rig.height - before) <= rig.settings.translation_speed * 0.02 + 1e-9


def test_a_target_that_the_arm_does_not_reach_runs_no_further_ahead_than_its_lead() -> None:
    """Breaks tables and fingers: an arm that is held would be pulled at harder with every action."""
    rig = Rig(share=0.0)
    rig.begin()
    for _ in range(20):
        rig.act(DOWN)
    told = [target.position for target in rig.arm.targets if target.position is not None]
    lead = max(np.linalg.norm(target - rig.arm.state().position) for target in told)
    assert lead <= rig.settings.translation_lead + 1e-9
    assert rig.supervisor.counts["clipped_by_envelope"] > 0


def test_the_hand_gets_one_command_for_many_actions() -> None:
    """Breaks hands: a grasp that begins again at the control rate never ends."""
    rig = Rig()
    rig.begin()
    for value in (1.0, 1.0, 0.05, -1.0, -1.0, -0.05, 1.0):
        rig.act((0.0, 0.0, 0.0, value))
    assert rig.arm.gripper is not None
    assert rig.arm.gripper.told == ["move", "grasp", "move"]


@pytest.mark.parametrize("control", ["joint", "joint_velocity"])
def test_joint_control_moves_the_right_joint_and_holds(control: str) -> None:
    rig = Rig(control=control, action_axes=("joint1", "joint7"))
    rig.begin()
    rig.act((0.0, 1.0), seconds=0.18)
    last = rig.arm.targets[-1]
    told = last.joint_position - np.array(rig.settings.home) if control == "joint" else last.joint_velocity
    assert told is not None
    assert told[6] > 0.04
    assert np.abs(told[:6]).max() < 1e-9
    rig.run(0.2)
    assert rig.supervisor.mode is Mode.HOLD
    if control == "joint_velocity":
        assert np.abs(rig.arm.targets[-1].joint_velocity).max() == 0.0


def test_a_safety_thread_that_ends_by_an_error_stops_the_arm_and_is_reported() -> None:
    """Breaks arms: a thread that dies silently, after which the arm is unsupervised."""
    rig = Rig()
    heard, crash = threading.Event(), ValueError("a bug")

    def fail() -> None:
        raise crash

    def hear(error: Exception) -> None:
        assert error is crash
        heard.set()

    safety = SafetyThread(rig.supervisor, hear)
    safety.begin(1)
    rig.arm.state = fail  # type: ignore[method-assign, assignment]
    assert heard.wait(10.0)
    assert rig.arm.calls[-1] == "stop"
    assert "a bug" in safety.stop_or_fault
    safety.close()


def test_the_safety_thread_executes_an_action_and_ends_control_when_it_is_closed() -> None:
    rig = Rig()
    safety = SafetyThread(rig.supervisor)
    safety.begin(1)
    now = time.monotonic()
    safety.submit(Command(1, 0, np.array(DOWN), now))
    while safety.reading.step == 0 and time.monotonic() < now + 10.0:
        time.sleep(0.001)
    assert safety.reading.step == 1
    safety.close()
    assert rig.arm.control is None
