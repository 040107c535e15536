"""Franka arm (FR3 or Panda): implements `interface.Arm` with the driver franky."""

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

CLOSE_TIMEOUT = 3.0
"""Seconds that braking and closing a connection may take."""

LOAD_INERTIA = 0.4 * 0.03**2
"""m^2, inertia of a load per kg: that of a ball of 3 cm radius."""

FAULT_POLL_PERIOD = 0.05
"""Seconds between two checks for a fault during a planned motion."""


class FrankaArm:
    """An arm, with its hand if it has one. Any thread may call it; only the connection's thread calls the driver."""

    chain: tuple[tuple[float, float, float], ...] = FRANKA

    def __init__(self, settings: FrankaSettings) -> None:
        """Keep the settings; `connect` opens the connection."""
        self._settings = settings
        self._connection: FrankaConnection | None = None
        self._gripper: FrankaGripper | None = None
        self._sequence = 0
        self.joint_names = tuple(f"{settings.joint_prefix}{number}" for number in range(1, 8))

    def connect(self) -> None:
        """Open the connections to arm and hand. Raises ArmFault, saying what to check."""
        try:
            self._open(self._settings.connect_timeout)
            self._open_gripper(self._settings.connect_timeout)
        except ArmFault:
            self.close()  # the arm accepts one connection
            raise

    @property
    def gripper(self) -> FrankaGripper | None:
        """Return the hand, None without one."""
        return self._gripper

    def state(self) -> ArmState:
        """Return the newest measurement. Raises ArmFault as soon as the driver knows of a fault."""
        newest = self._require_alive().measurement
        if newest is None:
            raise self._not_connected()
        return newest.state

    def measured(self) -> ArmState | None:
        """Return the newest measurement, also during a fault; None before the first."""
        newest = self._connection.measurement if self._connection is not None else None
        return newest.state if newest is not None else None

    def start(self, control: Control) -> None:
        """Begin control, after a motion that is still being braked has ended."""
        self._require_alive().start(steering_for(control, self._settings))

    def follow(self, target: Target) -> None:
        """Replace the target; without effect before control has begun and after it has been stopped."""
        connection = self._require_alive()
        steering, newest = connection.steering, connection.measurement
        if steering is not None and newest is not None:
            steering.follow(target, newest.state)

    def stop(self) -> None:
        """Brake and end control."""
        if self._connection is not None:
            self._connection.stop()

    def move_joints(self, positions: np.ndarray, speed: float, timeout: float) -> None:
        """Move to joint positions (7,) rad at `speed` (share of the limits) and wait for the end. Raises ArmFault."""
        connection, move = self._require_alive(), JointMove(positions, speed)
        connection.start(move)
        end = time.monotonic() + timeout
        while connection.runs(move):
            if time.monotonic() > end:
                connection.stop()
                sentence = f"not at its goal after {timeout:g} s; give it more time or more speed"
                raise ArmFault(FaultKind.OTHER, f"arm {connection.host}: {sentence}")
            connection.wait(lambda: not connection.runs(move), FAULT_POLL_PERIOD)
            self._require_alive()
        self._require_alive()
        if move.stopped:
            raise ArmFault(FaultKind.OTHER, f"arm {connection.host}: stopped before its goal; start the motion again")

    def recover(self) -> None:
        """Clear a fault that can be cleared, reconnect after a lost connection. Raises ArmFault if it cannot."""
        connection, timeout = self._connection, self._settings.recover_timeout
        if connection is None or connection.lost or self._age(connection) > self._settings.state_timeout:
            self._open(timeout)
            self._open_gripper(timeout)  # both connections are usually lost together
            return
        connection.do(lambda robot: _recover(connection, robot), timeout)
        if self._gripper is not None and self._gripper.lost:
            self._open_gripper(timeout)

    def close(self) -> None:
        """Stop and close the connections."""
        if self._gripper is not None:
            self._gripper.close()
        if self._connection is not None:
            self._connection.close(CLOSE_TIMEOUT)

    def _require_alive(self) -> FrankaConnection:
        """Return the connection. Raises ArmFault for its fault, and if the newest state is too old."""
        connection = self._connection
        if connection is None or (connection.measurement is None and connection.fault is None):
            raise self._not_connected()
        age = self._age(connection)
        if connection.fault is None and age > self._settings.state_timeout:
            connection.fail(frozen(connection.host, age))
        if connection.fault is not None:
            raise connection.fault
        return connection

    @staticmethod
    def _age(connection: FrankaConnection) -> float:
        newest = connection.measurement
        return time.monotonic() - newest.arrival if newest is not None else np.inf

    def _not_connected(self) -> ArmFault:
        sentence = f"arm {self._settings.host}: not connected; check power, cable, address and that FCI is active"
        return ArmFault(FaultKind.CONNECTION, sentence)

    def _open(self, timeout: float) -> None:
        """Open a new connection and wait at most `timeout` seconds for its first state."""
        old = self._connection
        if old is not None:
            old.close(CLOSE_TIMEOUT)
            self._sequence = old.measurement.state.sequence + 1 if old.measurement is not None else self._sequence
        connection = FrankaConnection(self._settings.host, self._connect, self._sequence)
        self._connection = connection
        if not connection.wait(lambda: connection.measurement is not None or connection.lost, timeout):
            connection.close(0.0)
            raise self._not_connected()
        if connection.lost and connection.fault is not None:
            raise connection.fault

    def _open_gripper(self, timeout: float) -> None:
        if self._gripper is not None:
            self._gripper.close()
        settings = self._settings
        if settings.gripper.present:
            self._gripper = connect_gripper(settings.host, settings.gripper.speed, timeout)

    def _connect(self) -> franky.Robot:
        """Return the connected driver with thresholds and limits set; may block, called by the connection's thread."""
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


def _recover(connection: FrankaConnection, robot: franky.Robot) -> None:
    """Ask the arm to clear its errors, and check that it did. Raises the driver's exceptions and ArmFault."""
    if flags(robot.state.current_errors):
        robot.recover_from_errors()
    state = robot.state
    names = flags(state.current_errors)
    fault = fault_of_flags(connection.host, names) if names else fault_of_mode(connection.host, state.robot_mode, True)
    if fault is not None:
        raise fault
    connection.clear()
