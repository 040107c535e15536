"""The envelope: no target outside it, whatever the actions are, and no jump."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation
from support.arm import TOOL, MemoryArm, robot_settings

from moto_ros.robot.actions import ActionScale, Fingers
from moto_ros.robot.envelope import Box, clip_lead, clip_tilt, clip_turn, tilt
from moto_ros.robot.interface import ArmState, Control, Target
from moto_ros.robot.kinematics import FRANKA, Kinematics, last_joint
from moto_ros.robot.motion_profile import Bounds, next_velocity
from moto_ros.robot.setpoint_limiter import setpoint_for

NUMBERS = st.floats(-3.0, 3.0)
VECTORS = arrays(float, 3, elements=NUMBERS)
ACTIONS = st.lists(arrays(float, 6, elements=st.floats(-1.0, 1.0)), min_size=1, max_size=6)
TICK = 0.005
PERIOD_TICKS = 20


@given(VECTORS)
def test_the_box_holds_every_position_and_leaves_those_inside(position: np.ndarray) -> None:
    box = Box.of((0.3, -0.3, 0.05), (0.65, 0.3, 0.6))
    clipped = box.clip(position)
    assert box.outside(clipped) == 0.0
    assert np.array_equal(box.clip(clipped), clipped)


@given(VECTORS, st.floats(0.0, 3.0))
def test_tilt_is_clipped_to_the_cone_and_no_further(vector: np.ndarray, most: float) -> None:
    home = Rotation.from_euler("x", np.pi)
    clipped = clip_tilt(Rotation.from_rotvec(vector) * home, home, most)
    assert tilt(clipped, home) <= most + 1e-6
    again = clip_tilt(clipped, home, most)
    assert (again * clipped.inv()).magnitude() < 1e-6


@given(st.floats(-3.1, 3.1))
def test_turning_about_the_tools_axis_is_no_tilt(angle: float) -> None:
    home = Rotation.from_euler("x", np.pi)
    assert tilt(home * Rotation.from_euler("z", angle), home) == pytest.approx(0.0, abs=1e-6)


@given(VECTORS, VECTORS, st.floats(0.01, 1.0))
def test_a_target_leads_the_measured_pose_by_a_bounded_distance(
    there: np.ndarray, way: np.ndarray, most: float
) -> None:
    clipped = clip_lead(there + way, there, most)
    assert np.linalg.norm(clipped - there) <= most + 1e-9
    measured = Rotation.from_rotvec(there)
    turned = clip_turn(Rotation.from_rotvec(way) * measured, measured, most)
    assert (turned * measured.inv()).magnitude() <= most + 1e-6


@given(VECTORS, VECTORS, st.floats(0.0, 0.2))
def test_speed_and_acceleration_are_bounded(way: np.ndarray, velocity: np.ndarray, remaining: float) -> None:
    bounds = Bounds(0.4, 3.0)
    before = velocity * min(1.0, 0.4 / max(float(np.linalg.norm(velocity)), 1e-9))
    after = next_velocity(before, way, remaining, TICK, bounds)
    assert np.linalg.norm(after) <= 0.4 + 1e-9
    assert np.linalg.norm(after - before) <= 3.0 * TICK + 1e-9


@settings(max_examples=15)
@given(ACTIONS)
def test_no_action_moves_the_target_out_of_the_envelope_or_makes_it_jump(actions: list[np.ndarray]) -> None:
    axes = ("x", "y", "z", "rx", "ry", "rz")
    chosen = robot_settings(action_axes=axes, max_tilt=0.2)
    arm = MemoryArm(chosen)
    arm.start(Control.CARTESIAN)
    scale, kinematics = ActionScale(chosen), Kinematics(arm.state(), FRANKA)
    setpoint, home = setpoint_for(Control.CARTESIAN, chosen, kinematics), kinematics.pose(chosen.home).rotation
    box, before = Box.of(chosen.box_low, chosen.box_high), arm.state().position
    setpoint.restart(arm.state())
    for action in actions:
        setpoint.aim(scale.move(action), arm.state(), chosen.period)
        for _ in range(PERIOD_TICKS):
            target = setpoint.advance(arm.state(), TICK)
            arm.follow(target)
            assert target.position is not None
            assert box.outside(target.position) < 1e-9
            assert np.linalg.norm(target.position - before) <= chosen.translation_speed * TICK + 1e-9
            assert tilt(Rotation.from_quat(target.quaternion), home) <= 0.2 + 1e-6
            before = target.position


@pytest.mark.parametrize("control", list(Control), ids=lambda control: control.value)
def test_the_first_target_is_the_measured_pose(control: Control) -> None:
    """Breaks robots: a jump at the first command."""
    axes = ("x", "y", "z") if control is Control.CARTESIAN else tuple(f"joint{n}" for n in range(1, 8))
    chosen = robot_settings(control=control.value, action_axes=axes)
    state = MemoryArm(chosen).state()
    setpoint = setpoint_for(control, chosen, Kinematics(state, FRANKA))
    setpoint.restart(state)
    setpoint.aim(ActionScale(chosen).move(np.ones(len(axes))), state, chosen.period)
    assert _same_as_measured(setpoint.advance(state, 0.0), state)


def _same_as_measured(target: Target, state: ArmState) -> bool:
    pairs = (
        (target.position, state.position),
        (target.joint_position, state.joint_position),
        (target.joint_velocity, np.zeros(7)),
    )
    return all(told is None or np.allclose(told, measured, atol=1e-12) for told, measured in pairs)


@pytest.mark.parametrize("control", ["joint", "joint_velocity"])
def test_joint_targets_do_not_move_the_hand_out_of_the_box(control: str) -> None:
    """Breaks tables: a joint target does not show whether the hand leaves the box."""
    axes = tuple(f"joint{n}" for n in range(1, 8))
    chosen = robot_settings(control=control, action_axes=axes)
    arm = MemoryArm(chosen)
    kinematics, box = Kinematics(arm.state(), FRANKA), Box.of(chosen.box_low, chosen.box_high)
    arm.start(Control(control))
    setpoint = setpoint_for(Control(control), chosen, kinematics)
    setpoint.restart(arm.state())
    down = ActionScale(chosen).move(np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    for _ in range(60):
        setpoint.aim(down, arm.state(), chosen.period)
        for _ in range(PERIOD_TICKS):
            target = setpoint.advance(arm.state(), TICK)
            if target.joint_velocity is not None:
                arm.place(joint_position=arm.state().joint_position + target.joint_velocity * TICK)
            else:
                arm.follow(target)
            assert box.outside(kinematics.pose(arm.state().joint_position).position) < 1e-6
    assert abs(arm.state().joint_position[1] - chosen.home[1]) > 0.1  # it did move


def test_an_action_moves_by_its_step_along_its_axis() -> None:
    """Breaks learning and tables: another sign, another unit."""
    chosen = robot_settings(action_axes=("y", "rz", "gripper"), translation_step=0.01, rotation_step=0.2)
    move = ActionScale(chosen).move(np.array([-0.5, 1.0, 0.0]))
    assert np.allclose(move.translation, [0.0, -0.005, 0.0])
    assert np.allclose(move.rotation, [0.0, 0.0, 0.2])


def test_the_hand_closes_below_zero_and_does_not_chatter_near_it() -> None:
    """Breaks hands: noise about zero would open and close it at the control rate."""
    scale = ActionScale(robot_settings())
    told, fingers = [], Fingers.LEFT_ALONE
    for value in (0.05, -0.05, -0.5, -0.05, 0.05, 0.5, 0.05, -0.09):
        fingers = scale.fingers(np.array([0.0, 0.0, 0.0, value]), fingers)
        told.append(fingers)
    assert told == [Fingers.LEFT_ALONE] * 2 + [Fingers.CLOSED] * 3 + [Fingers.OPEN] * 3


def test_kinematics_agree_with_the_makers_figures() -> None:
    """The pose that Franka's documentation and its simulation give for the ready posture."""
    pose = last_joint(robot_settings().home, FRANKA) @ TOOL
    assert np.allclose(pose.position, [0.3069, 0.0, 0.4869], atol=2e-3)
    assert np.allclose(pose.rotation.apply([0.0, 0.0, 1.0]), [0.0, 0.0, -1.0], atol=1e-3)
