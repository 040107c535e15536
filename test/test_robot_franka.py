"""The Franka driver with the real franky over the real protocol: it follows, brakes, and reports faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("franky")
pytest.importorskip("franky_sim")

import franky
from moto_sim.franka_protocol import ERRORS
from support.franka import (
    HOME,
    along_x,
    at_home,
    at_rest,
    fault_of,
    follow,
    franka_arm,
    in_control,
    pause,
    robot_settings,
)
from support.franky_server import FrankyServer, franky_server

from moto_ros.robot.franka_arm import FrankaArm
from moto_ros.robot.franka_clock import RobotClock
from moto_ros.robot.franka_faults import NAMES, fault_of_exception, kind_of
from moto_ros.robot.interface import ArmFault, Control, FaultKind, Target

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def server() -> Iterator[FrankyServer]:
    """One simulated arm for the tests that leave it alive."""
    with franky_server() as running:
        yield running


@pytest.fixture(scope="module")
def shared(server: FrankyServer) -> Iterator[FrankaArm]:
    """One connected arm for the tests that leave it alive."""
    with franka_arm(server) as connected:
        yield connected


@pytest.fixture
def arm(shared: FrankaArm) -> FrankaArm:
    """The arm, at home and not controlled."""
    at_home(shared)
    return shared


def test_state_is_measured_now_and_in_the_interface_s_terms(arm: FrankaArm) -> None:
    """Stamps of another clock would pair wrong images with the arm's pose."""
    state = arm.state()
    assert abs(time.time_ns() - state.stamp) < 0.5e9
    assert np.allclose(state.joint_position, HOME, atol=0.02)
    assert np.allclose(state.position, [0.307, 0.0, 0.487], atol=0.02), "the end effector of a Franka at home"
    assert abs(np.linalg.norm(state.quaternion) - 1.0) < 1e-6
    time.sleep(0.1)
    assert arm.state().sequence > state.sequence
    assert arm.state().stamp > state.stamp


def test_control_begins_at_the_measured_pose(arm: FrankaArm) -> None:
    """A jump at the start of control is what throws arms."""
    before = arm.state()
    after = in_control(arm, Control.CARTESIAN)
    moved = np.linalg.norm(after.position - before.position)
    print(f"moved {1e3 * moved:.3f} mm at the start of control")
    arm.stop()
    assert moved < 1e-3


def test_a_target_along_x_moves_the_hand_along_x(arm: FrankaArm) -> None:
    """A wrong sign or frame would drive into the table."""
    begin = in_control(arm, Control.CARTESIAN)
    follow(arm, along_x(begin, 0.05), 0.5)
    velocity = arm.state().linear_velocity
    pause(arm, 1.0)
    moved = arm.state().position - begin.position
    arm.stop()
    print(f"asked for 50 mm along x, moved {np.round(1e3 * moved, 1)} mm")
    assert velocity[0] > 0.02
    assert abs(moved[0] - 0.05) < 0.01
    assert np.abs(moved[1:]).max() < 0.01


def test_a_moving_target_s_velocity_ends_with_its_targets(arm: FrankaArm) -> None:
    """A velocity that is sent once and never replaced would act indefinitely."""
    begin = in_control(arm, Control.CARTESIAN)
    speed, still = np.array([0.2, 0.0, 0.0]), np.zeros(3)
    arm.follow(Target(begin.position, begin.quaternion, linear_velocity=speed, angular_velocity=still))
    pause(arm, 1.5)
    moved = np.linalg.norm(arm.state().position - begin.position)
    arm.stop()
    assert moved < 0.01


def test_a_far_target_pulls_with_bounded_force(arm: FrankaArm) -> None:
    """The driver's own tracking would throw the arm at a target half a metre away."""
    begin = in_control(arm, Control.CARTESIAN)
    far = Target(position=begin.position + np.array([0.0, 0.0, -0.3]), quaternion=begin.quaternion)
    arm.follow(far)
    speed = np.linalg.norm(pause(arm, 0.1).linear_velocity)
    arm.stop()
    print(f"{speed:.2f} m/s 0.1 s after a target 0.3 m away")
    assert speed < 1.0
    at_rest(arm)


@pytest.mark.parametrize("joint", [0, 3, 5])
def test_joint_control_moves_the_joint_that_is_meant(arm: FrankaArm, joint: int) -> None:
    """Joints in another order would turn the wrong one."""
    way = np.zeros(7)
    way[joint] = 0.15
    begin = in_control(arm, Control.JOINT)
    follow(arm, lambda share: Target(joint_position=begin.joint_position + share * way), 0.5)
    pause(arm, 1.0)
    moved = arm.state().joint_position - begin.joint_position
    arm.stop()
    assert abs(moved[joint] - 0.15) < 0.05
    assert np.abs(np.delete(moved, joint)).max() < 0.05


def test_joint_velocity_is_kept_at_the_rate_asked_for_and_ends_without_new_ones(arm: FrankaArm) -> None:
    """A velocity that outlives the process which asked for it never ends."""
    asked = np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.0, -0.1])
    begin = in_control(arm, Control.JOINT_VELOCITY)
    follow(arm, lambda _: Target(joint_velocity=asked), 0.5)
    first = arm.state()
    follow(arm, lambda _: Target(joint_velocity=asked), 0.5)
    second = arm.state()
    elapsed = (second.sequence - first.sequence) * 1e-3  # the arm's own ms, whatever this machine's load
    rate = (second.joint_position - first.joint_position) / elapsed
    pause(arm, 1.0)
    at_end = arm.state()
    pause(arm, 0.5)
    later = arm.state()
    arm.stop()
    assert np.abs(rate - asked).max() < 0.03
    assert np.abs(later.joint_position - at_end.joint_position).max() < 5e-3
    assert np.all((at_end.joint_position - begin.joint_position)[[0, 6]] * asked[[0, 6]] > 0)


def test_hand_opens_and_closes_while_the_arm_moves(arm: FrankaArm) -> None:
    """A call that waits for the fingers would stall the safety thread."""
    hand = arm.gripper
    assert hand is not None
    begin = in_control(arm, Control.CARTESIAN)
    hand.move(0.08)
    follow(arm, along_x(begin, 0.03), 0.3)
    assert _reaches(arm, 0.08)
    hand.grasp(20.0)
    hand.grasp(20.0)
    follow(arm, along_x(begin, 0.0), 0.3)
    assert hand.busy
    hand.move(0.04)  # the motion asked for last wins
    assert _reaches(arm, 0.04)
    arm.stop()
    assert hand.motion_error == ""


def test_hand_finds_its_end_stops_and_stops_on_its_way(arm: FrankaArm) -> None:
    """A stop that waits for the end of the motion is not a stop."""
    hand = arm.gripper
    assert hand is not None
    hand.move(0.0)
    assert _reaches(arm, 0.0)
    hand.home()
    assert hand.busy
    assert _reaches(arm, 0.0)
    hand.move(0.08)
    while hand.width < 0.02:
        time.sleep(0.005)
    hand.stop()
    pause(arm, 1.0)
    assert not hand.busy
    assert 0.015 < hand.width < 0.075
    hand.move(0.08)  # the same again is a motion once more, after a stop
    assert _reaches(arm, 0.08)


def _reaches(arm: FrankaArm, width: float, timeout: float = 30.0) -> bool:
    hand, end = arm.gripper, time.monotonic() + timeout
    assert hand is not None
    while time.monotonic() < end:
        if abs(hand.width - width) < 0.003 and not hand.busy:
            return True
        time.sleep(0.02)
    return False


def test_stop_brakes_within_a_bounded_distance(arm: FrankaArm) -> None:
    """A person who presses stop relies on a short braking distance."""
    begin = in_control(arm, Control.CARTESIAN)
    follow(arm, along_x(begin, 0.1), 0.5)
    at_stop = arm.state()
    arm.stop()
    end = at_rest(arm)
    way = np.linalg.norm(end.position - at_stop.position)
    speed = np.linalg.norm(at_stop.linear_velocity)
    print(f"stopped at {speed:.2f} m/s within {1e3 * way:.1f} mm")
    assert way < 0.08
    pause(arm, 0.3)
    assert np.linalg.norm(arm.state().position - end.position) < 2e-3
    arm.follow(along_x(begin, 0.2)(1.0))
    pause(arm, 0.3)
    assert np.linalg.norm(arm.state().position - end.position) < 2e-3, "a target after the stop moves nothing"


def test_control_can_begin_again_right_after_a_stop(arm: FrankaArm) -> None:
    """The pose measured when the brake has ended is the first target, not one from before."""
    begin = in_control(arm, Control.CARTESIAN)
    follow(arm, along_x(begin, 0.05), 0.25)
    arm.stop()
    arm.start(Control.JOINT)
    pause(arm, 1.0)
    first = arm.state()
    pause(arm, 0.3)
    assert np.linalg.norm(arm.state().position - first.position) < 2e-3
    arm.stop()


def test_planned_motion_ends_by_its_time_out(arm: FrankaArm) -> None:
    """A reset that cannot reach its goal must not wait indefinitely."""
    with pytest.raises(ArmFault, match=r"not at its goal after 0\.3 s"):
        arm.move_joints(HOME + 0.4, 0.05, 0.3)
    at_rest(arm)


def test_planned_motion_is_interrupted_by_stop(arm: FrankaArm) -> None:
    """A stop during a reset must end the reset, from any thread."""
    threading.Timer(0.5, arm.stop).start()
    start = time.monotonic()
    with pytest.raises(ArmFault, match="stopped before its goal"):
        arm.move_joints(HOME + 0.4, 0.05, 30.0)
    print(f"interrupted after {time.monotonic() - start:.2f} s")
    assert time.monotonic() - start < 10.0
    at_rest(arm)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("cartesian_reflex", FaultKind.REFLEX),
        ("self_collision_avoidance_violation", FaultKind.SELF_COLLISION),
        ("joint_position_limits_violation", FaultKind.JOINT_LIMIT),
        ("communication_constraints_violation", FaultKind.COMMUNICATION),
        ("joint_velocity_violation", FaultKind.OTHER),
    ],
)
def test_fault_during_control_is_reported_and_recovered(
    arm: FrankaArm, server: FrankyServer, error: str, kind: FaultKind
) -> None:
    """An error between two calls must neither wait for the next call nor kill the process."""
    in_control(arm, Control.CARTESIAN)
    server.fault(error)
    fault, after = fault_of(arm, 5.0)
    print(f"{error} heard after {1e3 * after:.0f} ms")
    assert fault.kind is kind
    assert error.replace("_", " ") in str(fault)
    with pytest.raises(ArmFault):
        arm.follow(Target())
    with pytest.raises(ArmFault):
        arm.start(Control.CARTESIAN)
    arm.recover()
    before = arm.state()
    after_recovery = in_control(arm, Control.CARTESIAN)
    arm.stop()
    assert np.linalg.norm(after_recovery.position - before.position) < 2e-3


def test_fault_while_idle_is_reported(arm: FrankaArm, server: FrankyServer) -> None:
    """A fault between episodes must not show only when the next one begins."""
    server.fault("joint_reflex")
    assert fault_of(arm, 5.0)[0].kind is FaultKind.REFLEX
    arm.recover()
    arm.state()


def test_fault_in_a_planned_motion_ends_it(arm: FrankaArm, server: FrankyServer) -> None:
    """A reflex on the way home must end the reset."""
    threading.Timer(0.5, lambda: server.fault("cartesian_reflex")).start()
    with pytest.raises(ArmFault) as raised:
        arm.move_joints(HOME + 0.4, 0.05, 30.0)
    assert raised.value.kind is FaultKind.REFLEX
    arm.recover()


def test_fault_that_needs_a_person_says_so(arm: FrankaArm, server: FrankyServer) -> None:
    """Recovery that did not help must not look like one that did."""
    server.fault("self_collision_avoidance_violation", stubborn=True)
    fault_of(arm, 5.0)
    with pytest.raises(ArmFault, match="manual error recovery required"):
        arm.recover()
    with pytest.raises(ArmFault):
        arm.state()
    server.clear()
    time.sleep(0.1)
    arm.recover()
    arm.state()


@pytest.mark.slow
@pytest.mark.realtime
def test_frozen_arm_is_noticed_and_reconnected() -> None:
    """Missing states on an open connection look like an arm at rest."""
    with franky_server() as own, franka_arm(own, recover_timeout=2.0, state_timeout=0.5) as arm:
        in_control(arm, Control.CARTESIAN)
        own.freeze()
        fault, after = fault_of(arm, 5.0)
        print(f"frozen: {fault} ({after:.2f} s)")
        assert fault.kind is FaultKind.FROZEN
        with pytest.raises(ArmFault):
            arm.recover()
        own.thaw()
        _recovers(arm)


@pytest.mark.slow
@pytest.mark.realtime
def test_lost_connection_is_noticed_and_reconnected() -> None:
    """A control box that restarts must not need a restart of everything else."""
    with franky_server() as own, franka_arm(own) as arm:
        last = arm.state().sequence
        own.kill()
        fault, after = fault_of(arm, 5.0)
        print(f"killed: {fault} ({after:.2f} s)")
        assert fault.kind in (FaultKind.CONNECTION, FaultKind.FROZEN)
        with pytest.raises(ArmFault) as raised:
            arm.recover()
        assert raised.value.kind is FaultKind.CONNECTION
        own.restart()
        _recovers(arm)
        assert arm.state().sequence > last, "the count of measurements never goes back"
        assert arm.gripper is not None
        assert arm.gripper.width > 0.0


def _recovers(arm: FrankaArm, timeout: float = 20.0) -> None:
    end = time.monotonic() + timeout
    while True:
        try:
            arm.recover()
            in_control(arm, Control.CARTESIAN)
            return
        except ArmFault:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_no_arm_at_the_address_is_reported_in_time() -> None:
    """The driver alone waits a minute, and its error says little."""
    arm = FrankaArm(robot_settings("127.9.9.9", connect_timeout=2.0))
    start = time.monotonic()
    with pytest.raises(ArmFault, match=r"127\.9\.9\.9.*FCI"):
        arm.connect()
    assert time.monotonic() - start < 20.0
    with pytest.raises(ArmFault, match=r"not connected|FCI"):
        arm.state()
    arm.close()


@pytest.mark.slow
@pytest.mark.realtime
def test_closed_arm_can_be_connected_again() -> None:
    """Arm and hand serve one connection each: one that stays open blocks every other."""
    with franky_server() as own:
        first = FrankaArm(robot_settings(own.address))
        first.connect()
        first.close()
        with franka_arm(own, connect_timeout=10.0) as second:
            assert second.gripper is not None
            assert second.gripper.width > 0.0
        assert first.measured() is not None


@pytest.mark.slow
@pytest.mark.realtime
def test_missing_hand_is_reported_and_an_arm_without_one_works() -> None:
    """An arm with a tool in place of the hand has no fingers to wait for."""
    with franky_server(hand=False) as own:
        with pytest.raises(ArmFault, match=r"gripper\.present"), franka_arm(own, connect_timeout=5.0):
            pass
        with franka_arm(own, gripper__present=False) as arm:
            assert arm.gripper is None
            in_control(arm, Control.CARTESIAN)


@pytest.mark.parametrize("error", NAMES)
def test_each_error_flag_has_a_kind_and_a_sentence(error: str) -> None:
    """A flag without a name in the sentence leaves people guessing."""
    exception = franky.ControlException(f'libfranka: Move command aborted: motion aborted by reflex! ["{error}"]')
    fault = fault_of_exception("172.16.0.2", exception)
    assert fault.kind is kind_of([error])
    assert error.replace("_", " ") in str(fault)
    assert "172.16.0.2" in str(fault)
    assert error in ERRORS, "the simulated arm can raise it"


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        (franky.NetworkException("libfranka: UDP receive: Timeout"), FaultKind.CONNECTION),
        (franky.ProtocolException("libfranka: incorrect object size"), FaultKind.CONNECTION),
        (RuntimeError("Net Exception"), FaultKind.CONNECTION),
        (franky.IncompatibleVersionException("libfranka: Incompatible library version"), FaultKind.CONNECTION),
        (franky.RealtimeException("libfranka: unable to set realtime scheduling"), FaultKind.CONNECTION),
        (franky.CommandException("libfranka: Move command rejected"), FaultKind.OTHER),
        (franky.InvalidOperationException("libfranka: another operation is running"), FaultKind.OTHER),
        (franky.ModelException("libfranka: model"), FaultKind.OTHER),
    ],
)
def test_each_exception_of_the_driver_has_a_kind(exception: Exception, kind: FaultKind) -> None:
    """An unexpected exception must be a fault too."""
    assert fault_of_exception("172.16.0.2", exception).kind is kind


def test_clock_follows_drift_and_never_runs_ahead_or_back() -> None:
    """The arm's clock and the computer's differ by some ms an hour; the network delays by some ms each time."""
    clock, random = RobotClock(), np.random.default_rng(0)
    made = 4_000_000 * np.arange(5000)
    truth = 10**15 + np.round(made * 1.001).astype(int)
    arrival = truth + np.round(random.exponential(1e6, len(made))).astype(int)
    stamps = np.array([clock.stamp(int(robot), int(system)) for robot, system in zip(made, arrival, strict=True)])
    assert (stamps <= arrival).all()
    assert (np.diff(stamps) > 0).all()
    assert np.abs(stamps - truth)[100:].max() < 5e6
