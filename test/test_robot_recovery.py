"""Recovery and resets on a virtual clock: bounded, with back-off, and never blindly back into an obstacle."""

from __future__ import annotations

import numpy as np
import pytest
from support.arm import MemoryArm, MemoryGripper, VirtualClock, robot_settings
from support.log import KeptLog

from moto_ros.robot.faults import FOR_A_PERSON, FaultRecovery
from moto_ros.robot.interface import ArmFault, FaultKind
from moto_ros.robot.interruptible_wait import Interrupted, InterruptibleWait
from moto_ros.robot.mover import Mover
from moto_ros.robot.reset import Resetter, SceneSettings


class Rig:
    """Fault recovery and a resetter over an arm in memory; `why` interrupts them."""

    def __init__(self, scene: SceneSettings | None = None, **changes: object) -> None:
        self.settings = robot_settings(**changes)
        self.arm, self.clock, self.why = MemoryArm(self.settings), VirtualClock(), ""
        self.wait = InterruptibleWait(lambda: self.why, self.clock.now, self.clock.sleep)
        mover = Mover(self.settings, self.arm, self.wait)
        self.log = KeptLog()
        self.recovery = FaultRecovery(self.settings, self.arm, mover, self.wait, self.log)
        self.resetter = Resetter(self.settings, scene or SceneSettings(), self.arm, mover, self.wait)

    def fault(self, kind: FaultKind) -> str:
        """Have a fault handled."""
        self.arm.fault = ArmFault(kind, f"arm: {kind.value}; do something")
        return self.recovery.handle(self.arm.fault)


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind not in FOR_A_PERSON])
def test_a_fault_is_recovered_from(kind: FaultKind) -> None:
    rig = Rig()
    assert rig.fault(kind) == ""
    assert rig.recovery.recoveries == 1
    ((severity, text),) = rig.log.lines
    assert severity == "info"
    assert "recovered" in text


def test_after_a_contact_it_goes_straight_up_and_slowly() -> None:
    """Breaks what it touched: a restart into the obstacle."""
    rig = Rig()
    rig.arm.place(position=np.array([0.5, 0.0, 0.1]))
    before = rig.arm.state().position
    rig.fault(FaultKind.REFLEX)
    way = np.array([target.position for target in rig.arm.targets])
    assert rig.arm.state().position - before == pytest.approx([0.0, 0.0, 0.05], abs=2e-3)
    assert np.abs(way[:, :2] - before[:2]).max() < 1e-9
    assert np.abs(np.diff(way[:, 2])).max() <= rig.settings.recovery.retreat_speed * 0.02 + 1e-9
    assert rig.arm.control is None


@pytest.mark.parametrize("kind", FOR_A_PERSON)
def test_it_does_not_move_after_a_self_collision_or_at_a_joint_limit(kind: FaultKind) -> None:
    rig = Rig()
    assert "robot/recover" in rig.fault(kind)
    assert "recover" not in rig.arm.calls


def test_without_room_above_a_person_is_asked() -> None:
    rig = Rig()
    rig.arm.place(position=np.array([0.5, 0.0, 0.6]))
    assert "robot/recover" in rig.fault(FaultKind.REFLEX)
    assert not rig.arm.targets


def test_attempts_are_bounded_and_have_a_growing_back_off() -> None:
    rig = Rig()
    rig.arm.incurable = 100
    sentence = rig.fault(FaultKind.COMMUNICATION)
    assert "3 attempts" in sentence
    assert "robot/recover" in sentence
    assert rig.arm.calls.count("recover") == 3
    assert rig.clock.time == pytest.approx(0.5 + 1.0 + 2.0)


def test_recoveries_within_an_hour_are_bounded() -> None:
    """A run that hits something every minute must not continue all night."""
    rig = Rig(**{"recovery.per_hour": 2})
    answers = [rig.fault(FaultKind.COMMUNICATION) for _ in range(3)]
    assert answers[:2] == ["", ""]
    assert "within the last hour" in answers[2]
    rig.clock.sleep(3601.0)
    assert rig.fault(FaultKind.COMMUNICATION) == ""


def test_a_person_interrupts_a_recovery() -> None:
    rig = Rig()
    rig.why = "stopped"
    with pytest.raises(Interrupted, match="stopped"):
        rig.fault(FaultKind.REFLEX)
    assert "recover" not in rig.arm.calls


def test_a_reset_opens_the_hand_rises_and_goes_home_with_a_spread_that_the_seed_draws() -> None:
    rig = Rig(home_spread_position=(0.02, 0.02, 0.02))
    ends = []
    for seed in (1, 1, 2):
        rig.arm.place(position=np.array([0.5, 0.1, 0.1]))
        rig.arm.calls.clear()
        rig.arm.targets.clear()
        rig.resetter.run(seed)
        up = [target.position for target in rig.arm.targets if target.position is not None]
        assert max(abs(up[0] - [0.5, 0.1, 0.1])) < 0.01
        assert rig.arm.calls.index("move_joints") > rig.arm.calls.index("start")
        ends.append(rig.arm.state().position)
    assert ends[0] == pytest.approx(ends[1], abs=1e-6)
    assert np.linalg.norm(ends[0] - ends[2]) > 0.001
    assert rig.arm.gripper is not None
    assert rig.arm.gripper.told[0] == "move"
    assert rig.arm.control is None


class SlowGripper(MemoryGripper):
    """A hand whose first motion lasts `seconds` of a clock."""

    def __init__(self, clock: VirtualClock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        super().__init__()

    @property
    def busy(self) -> bool:
        return self._clock.time < self._seconds

    @busy.setter
    def busy(self, value: bool) -> None:
        assert not value


def test_a_hand_that_is_slow_on_a_busy_machine_does_not_fail_a_reset() -> None:
    """Breaks runs: an episode was aborted because the fingers needed more than five seconds."""
    rig = Rig()
    rig.arm.gripper = SlowGripper(rig.clock, 12.0)
    rig.resetter.run(0)
    assert rig.clock.time >= 12.0


def test_a_hand_that_never_ends_its_motion_fails_the_reset_by_name_within_the_resets_time_out() -> None:
    """Breaks nights: a stuck hand that stalls the episode, or whose reset fails without naming it."""
    rig = Rig()
    rig.arm.gripper = SlowGripper(rig.clock, float("inf"))
    with pytest.raises(ArmFault, match="hand: still moving"):
        rig.resetter.run(0)
    assert rig.clock.time < 0.9 * rig.settings.reset_timeout


@pytest.mark.parametrize(("answer", "outcome"), [("continue", ""), ("abort", "operator/ready")])
def test_a_reset_by_the_operator_has_a_time_out_and_an_answer_without_a_person(answer: str, outcome: str) -> None:
    """Breaks nights: a reset that waits indefinitely for a person."""
    rig = Rig(SceneSettings(scene_reset="operator", scene_timeout=30.0, on_scene_timeout=answer))
    if outcome:
        with pytest.raises(Interrupted, match=outcome):
            rig.resetter.run(0)
    else:
        rig.resetter.run(0)
    assert rig.clock.time >= 30.0


def test_a_reset_by_script_plays_its_waypoints() -> None:
    scene = SceneSettings(scene_reset="script", script_waypoints=(0.5, 0.1, 0.1, -1.0, 0.5, -0.1, 0.1, 1.0))
    rig = Rig(scene)
    rig.resetter.run(0)
    way = np.array([target.position for target in rig.arm.targets])
    for place in ((0.5, 0.1, 0.1), (0.5, -0.1, 0.1)):
        assert np.linalg.norm(way - place, axis=1).min() < 0.005
    assert rig.arm.gripper is not None
    assert rig.arm.gripper.told == ["move", "grasp", "move"]


def test_a_blocked_motion_ends_by_its_time_out_with_the_arm_stopped() -> None:
    rig = Rig()
    rig.arm.share = 0.0
    rig.arm.place(position=np.array([0.5, 0.1, 0.1]))
    with pytest.raises(ArmFault, match="not at its goal"):
        rig.resetter.run(0)
    assert rig.arm.control is None
    assert rig.clock.time < 40.0
