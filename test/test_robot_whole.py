"""A robot with its safety and job threads: connecting, cancelled resets, automatic recovery."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from support.arm import MemoryArm, robot_settings
from support.log import KeptLog

from moto_ros.errors import MotoError
from moto_ros.robot import arms
from moto_ros.robot.interface import ArmFault, FaultKind
from moto_ros.robot.reset import SceneSettings
from moto_ros.robot.robot import ResetJob, Robot
from moto_ros.robot.safety import Command, Mode

WAIT = 20.0


class Absent(MemoryArm):
    """An arm that is switched off."""

    def connect(self) -> None:
        raise ArmFault(FaultKind.CONNECTION, "arm nowhere: no answer; check its cable")


class Rig:
    """A robot over an arm in memory; `log` and `crashes` fill."""

    def __init__(self, arm: MemoryArm, scene: SceneSettings) -> None:
        self.arm = arm
        self.log = KeptLog()
        self.crashes: list[Exception] = []
        self.robot = Robot(arm.settings, scene, arm, self.log, self.crashes.append)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition."""
        end = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < end, f"still waiting for {what}"
            time.sleep(0.005)

    def mode(self, mode: Mode) -> None:
        """Wait for a mode."""
        self.until(lambda: self.robot.reading is not None and self.robot.reading.mode is mode, mode.name)


Make = Callable[..., Rig]


@pytest.fixture
def make() -> Iterator[Make]:
    """Return a function that makes a robot; all are closed at the end, and none may have crashed."""
    made: list[Rig] = []

    def begin(arm: MemoryArm | None = None, scene: SceneSettings | None = None) -> Rig:
        made.append(Rig(arm or MemoryArm(robot_settings()), scene or SceneSettings()))
        return made[-1]

    yield begin
    for rig in made:
        rig.robot.close()
        assert rig.crashes == []


def test_an_arm_that_does_not_answer_ends_the_start_with_its_error(make: Make) -> None:
    rig = make(Absent(robot_settings(connect_timeout=0.6)))
    with pytest.raises(MotoError, match=r"no answer; check its cable .tried for 0\.6 s"):
        rig.robot.connect().result(WAIT)
    assert not rig.robot.connected


def test_a_home_outside_the_box_does_not_start(make: Make) -> None:
    """Breaks tables: the first reset would move the hand out of the box."""
    rig = make(MemoryArm(robot_settings(box_low=(0.4, -0.3, 0.05))))
    with pytest.raises(MotoError, match="'home'"):
        rig.robot.connect().result(WAIT)


def test_a_reset_whose_caller_no_longer_waits_ends(make: Make) -> None:
    rig = make(scene=SceneSettings(scene_reset="operator", scene_timeout=100.0))
    rig.robot.connect().result(WAIT)
    job = ResetJob(1, 0)
    answer = rig.robot.reset(job)
    rig.until(lambda: "operator/ready" in rig.robot.waits_for, "the question")
    rig.robot.cancel(job, "too late")
    assert answer.result(WAIT) == "too late"
    rig.mode(Mode.IDLE)


def test_the_reset_continues_after_operator_ready(make: Make) -> None:
    rig = make(scene=SceneSettings(scene_reset="operator", scene_timeout=100.0))
    rig.robot.connect().result(WAIT)
    answer = rig.robot.reset(ResetJob(1, 0))
    rig.until(lambda: "operator/ready" in rig.robot.waits_for, "the question")
    rig.robot.ready()
    assert answer.result(WAIT) == ""
    rig.robot.submit(Command(1, 0, np.zeros(4), time.monotonic()))
    rig.mode(Mode.TRACK)


def test_a_stop_ends_a_reset_and_refuses_the_next(make: Make) -> None:
    rig = make(scene=SceneSettings(scene_reset="operator", scene_timeout=100.0))
    rig.robot.connect().result(WAIT)
    answer = rig.robot.reset(ResetJob(1, 0))
    rig.until(lambda: "operator/ready" in rig.robot.waits_for, "the question")
    rig.robot.stop("stopped; call robot/recover")
    assert "robot/recover" in answer.result(WAIT)
    assert "robot/recover" in rig.robot.reset(ResetJob(2, 0)).result(WAIT)
    assert rig.robot.recover().result(WAIT) == ""
    rig.mode(Mode.IDLE)


def test_it_recovers_by_itself_and_the_episode_resumes(make: Make) -> None:
    rig = make(MemoryArm(robot_settings(**{"recovery.back_off": 0.0})))
    rig.robot.connect().result(WAIT)
    assert rig.robot.reset(ResetJob(1, 0)).result(WAIT) == ""
    rig.robot.submit(Command(1, 0, np.zeros(4), time.monotonic()))
    rig.mode(Mode.TRACK)
    rig.arm.fault = ArmFault(FaultKind.COMMUNICATION, "arm: too late")
    rig.mode(Mode.HOLD)
    assert rig.robot.figures()["recoveries"] == 1
    assert [severity for severity, _ in rig.log.lines] == ["warning", "info"]
    rig.robot.submit(Command(1, 1, np.zeros(4), time.monotonic()))
    rig.mode(Mode.TRACK)


def test_a_fault_that_needs_a_person_is_logged_as_an_error(make: Make) -> None:
    """Breaks whoever filters /rosout by severity: a robot that stands still until somebody comes is an error."""
    rig = make()
    rig.robot.connect().result(WAIT)
    rig.arm.fault = ArmFault(FaultKind.JOINT_LIMIT, "arm: at a limit")
    rig.mode(Mode.STOPPED)
    assert [severity for severity, _ in rig.log.lines] == ["warning", "error"]
    assert "robot/recover" in rig.log.lines[1][1]


def test_a_stop_pressed_while_it_recovers_lasts(make: Make) -> None:
    """Breaks people: the robot's own recovery would end the stop of a person."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(MemoryArm):
        def recover(self) -> None:
            begun.set()
            assert go_on.wait(WAIT)
            super().recover()

    rig = make(Slow(robot_settings(**{"recovery.back_off": 0.0})))
    rig.robot.connect().result(WAIT)
    rig.arm.fault = ArmFault(FaultKind.COMMUNICATION, "arm: too late")
    assert begun.wait(WAIT)
    rig.robot.stop("stopped; call robot/recover")
    go_on.set()
    rig.until(lambda: rig.arm.fault is None, "the end of the fault")
    time.sleep(0.05)
    rig.mode(Mode.STOPPED)
    assert "robot/recover" in rig.robot.reset(ResetJob(2, 0)).result(WAIT)


def test_an_arm_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "franky", None)
    with pytest.raises(MotoError, match=r"franky is not installed; pip install 'moto_ros\[franka\]'"):
        arms.make_arm("franka", robot_settings())
