"""A Franka arm (FR3 or Panda) as the robot node sees one: `interface.Arm` over the driver franky."""

from __future__ import annotations

import time

import franky
import numpy as np

from moto_ros.robot.franka_connection import FrankaConnection
from moto_ros.robot.franka_faults import fault_of_flags, fault_of_mode, flags, frozen
from moto_ros.robot.franka_gripper import FrankaGripper, connect_gripper
from moto_ros.robot.franka_settings import FrankaSettings
from moto_ros.robot.franka_steering import JointMove, steering_for
from moto_ros.robot.interface import ArmFault, ArmState, Control, FaultKind, Target
from moto_ros.robot.kinematics import FRANKA

CLOSE = 3.0
"""Seconds that braking and letting go of a connection may take."""

LOAD_INERTIA = 0.4 * 0.03**2
"""m^2, inertia of a load for each kg, as that of a ball of 3 cm radius."""

LOOK = 0.05
"""Seconds between two looks for a fault while a planned motion is waited for."""


class FrankaArm:
    """One arm, and its hand where there is one. Any thread may call; the driver itself is touched by the session's."""

    chain = FRANKA

    def __init__(self, settings: FrankaSettings) -> None:
        """Keep the settings; `connect` opens the connection."""
        self._settings = settings
        self._session: FrankaConnection | None = None
        self._gripper: FrankaGripper | None = None
        self._sequence = 0
        self.joint_names = tuple(f"{settings.joint_prefix}{number}" for number in range(1, 8))

    def connect(self) -> None:
        """Open the connections to arm and hand. Raises ArmFault, saying what to check."""
        try:
            self._open(self._settings.connect_timeout)
            self._open_gripper(self._settings.connect_timeout)
        except ArmFault:
            self.close()  # the arm serves one connection
            raise

    @property
    def gripper(self) -> FrankaGripper | None:
        """Return the hand, None without one."""
        return self._gripper

    def state(self) -> ArmState:
        """Return the newest measurement. Raises ArmFault as soon as the driver knows of a fault."""
        newest = self._alive().measurement
        if newest is None:
            raise self._unconnected()
        return newest.state

    def measured(self) -> ArmState | None:
        """Return the newest measurement, also during a fault; None before the first."""
        newest = self._session.measurement if self._session is not None else None
        return newest.state if newest is not None else None

    def start(self, control: Control) -> None:
        """Begin to be controlled, once a motion that is still being braked has ended."""
        self._alive().start(steering_for(control, self._settings))

    def follow(self, target: Target) -> None:
        """Replace the target; before control has begun, and when it has been stopped, there is none to replace."""
        session = self._alive()
        steering, newest = session.steering, session.measurement
        if steering is not None and newest is not None:
            steering.follow(target, newest.state)

    def stop(self) -> None:
        """Brake and end control."""
        if self._session is not None:
            self._session.stop()

    def move_joints(self, positions: np.ndarray, speed: float, timeout: float) -> None:
        """Move to joint positions (7,) rad at `speed` (share of the limits) and wait for the end. Raises ArmFault."""
        session, move = self._alive(), JointMove(positions, speed)
        session.start(move)
        end = time.monotonic() + timeout
        while session.runs(move):
            if time.monotonic() > end:
                session.stop()
                sentence = f"not at its goal after {timeout:g} s; give it more time or more speed"
                raise ArmFault(FaultKind.OTHER, f"arm {session.host}: {sentence}")
            session.wait(lambda: not session.runs(move), LOOK)
            self._alive()
        self._alive()
        if move.stopped:
            raise ArmFault(FaultKind.OTHER, f"arm {session.host}: stopped on its way; start the motion again")

    def recover(self) -> None:
        """Clear a fault that can be cleared, re-open a lost connection. Raises ArmFault where it cannot."""
        session, timeout = self._session, self._settings.recover_timeout
        if session is None or session.lost or self._age(session) > self._settings.state_timeout:
            self._open(timeout)
            self._open_gripper(timeout)  # what broke the one connection has mostly broken the other
            return
        session.do(lambda robot: _recover(session, robot), timeout)
        if self._gripper is not None and self._gripper.lost:
            self._open_gripper(timeout)

    def close(self) -> None:
        """Stop and let go of the connections."""
        if self._gripper is not None:
            self._gripper.close()
        if self._session is not None:
            self._session.close(CLOSE)

    def _alive(self) -> FrankaConnection:
        """Return the session. Raises ArmFault for its fault, and for a newest state that is too old."""
        session = self._session
        if session is None or (session.measurement is None and session.fault is None):
            raise self._unconnected()
        age = self._age(session)
        if session.fault is None and age > self._settings.state_timeout:
            session.fail(frozen(session.host, age))
        if session.fault is not None:
            raise session.fault
        return session

    @staticmethod
    def _age(session: FrankaConnection) -> float:
        newest = session.measurement
        return time.monotonic() - newest.arrival if newest is not None else np.inf

    def _unconnected(self) -> ArmFault:
        sentence = f"arm {self._settings.host}: not connected; check power, cable, address and that FCI is active"
        return ArmFault(FaultKind.CONNECTION, sentence)

    def _open(self, timeout: float) -> None:
        """Make a new session and wait for its first state, at most `timeout` seconds."""
        old = self._session
        if old is not None:
            old.close(CLOSE)
            self._sequence = old.measurement.state.sequence + 1 if old.measurement is not None else self._sequence
        session = FrankaConnection(self._settings.host, self._connect, self._sequence)
        self._session = session
        if not session.wait(lambda: session.measurement is not None or session.lost, timeout):
            session.close(0.0)
            raise self._unconnected()
        if session.lost and session.fault is not None:
            raise session.fault

    def _open_gripper(self, timeout: float) -> None:
        if self._gripper is not None:
            self._gripper.close()
        settings = self._settings
        if settings.gripper.present:
            self._gripper = connect_gripper(settings.host, settings.gripper.speed, timeout)

    def _connect(self) -> franky.Robot:
        """Return the connected driver with thresholds and limits set; may wait, called by the session's thread."""
        settings = self._settings
        realtime = franky.RealtimeConfig.Enforce if settings.realtime else franky.RealtimeConfig.Ignore
        robot = franky.Robot(settings.host, realtime_config=realtime)
        robot.set_collision_behavior(
            lower_torque_threshold=settings.contact_torque,
            upper_torque_threshold=settings.collision_torque,
            lower_force_threshold=settings.contact_force,
            upper_force_threshold=settings.collision_force,
        )
        if settings.load_mass > 0.0:
            inertia = LOAD_INERTIA * settings.load_mass * np.eye(3)
            robot.set_load(settings.load_mass, settings.load_center, inertia.ravel())
        limit = robot.joint_acceleration_limit
        limit.set(np.minimum(limit.max, settings.joint_acceleration))
        return robot


def _recover(session: FrankaConnection, robot: franky.Robot) -> None:
    """Ask the arm to clear its errors, and look whether it did. Raises the driver's exceptions and ArmFault."""
    if flags(robot.state.current_errors):
        robot.recover_from_errors()
    state = robot.state
    names = flags(state.current_errors)
    fault = fault_of_flags(session.host, names) if names else fault_of_mode(session.host, state.robot_mode, True)
    if fault is not None:
        raise fault
    session.clear()
