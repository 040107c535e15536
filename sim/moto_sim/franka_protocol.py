"""Extends franky-sim's server by what a real arm does too: errors, reflexes, and aborted motions of the hand."""

from __future__ import annotations

import queue
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from franky_sim.base_simulator import BaseRobot, BaseSimulator
from franky_sim.franka_gripper_protocol import GripperCommandStatus
from franky_sim.franka_gripper_server import FrankaGripperServer, GripperCommand
from franky_sim.franka_robot_protocol import (
    AutomaticErrorRecoveryCommand,
    AutomaticErrorRecoveryStatus,
    BaseCommand,
    MoveStatus,
    RobotCommand,
    RobotMode,
)
from franky_sim.franka_robot_server import FrankaRobotServer
from franky_sim.simulation_server import SimulationServer

ERRORS = (
    "joint_position_limits_violation",
    "cartesian_position_limits_violation",
    "self_collision_avoidance_violation",
    "joint_velocity_violation",
    "cartesian_velocity_violation",
    "force_control_safety_violation",
    "joint_reflex",
    "cartesian_reflex",
    "max_goal_pose_deviation_violation",
    "max_path_pose_deviation_violation",
    "cartesian_velocity_profile_safety_violation",
    "joint_position_motion_generator_start_pose_invalid",
    "joint_motion_generator_position_limits_violation",
    "joint_motion_generator_velocity_limits_violation",
    "joint_motion_generator_velocity_discontinuity",
    "joint_motion_generator_acceleration_discontinuity",
    "cartesian_position_motion_generator_start_pose_invalid",
    "cartesian_motion_generator_elbow_limit_violation",
    "cartesian_motion_generator_velocity_limits_violation",
    "cartesian_motion_generator_velocity_discontinuity",
    "cartesian_motion_generator_acceleration_discontinuity",
    "cartesian_motion_generator_elbow_sign_inconsistent",
    "cartesian_motion_generator_start_elbow_invalid",
    "force_controller_desired_force_tolerance_violation",
    "start_elbow_sign_inconsistent",
    "communication_constraints_violation",
    "power_limit_violation",
    "cartesian_motion_generator_joint_position_limits_violation",
    "cartesian_motion_generator_joint_velocity_limits_violation",
    "cartesian_motion_generator_joint_velocity_discontinuity",
    "cartesian_motion_generator_joint_acceleration_discontinuity",
    "cartesian_position_motion_generator_invalid_frame",
    "controller_torque_discontinuity",
    "joint_p2p_insufficient_torque_for_planning",
    "tau_j_range_violation",
    "instability_detected",
    "joint_move_in_wrong_direction",
    "cartesian_spline_motion_generator_violation",
    "joint_via_motion_generator_planning_joint_limit_violation",
    "base_acceleration_initialization_timeout",
    "base_acceleration_invalid_reading",
)
"""Error flags of a state, in the order of the protocol."""

MAX_SILENT_CYCLES = 150
"""ms without a command after which a motion is aborted. A real arm allows 20, and needs a dedicated computer."""

TICK = 0.001
"""Seconds of the arm's time in one tick."""

GAP = 0.0002
"""Minimum time in seconds that a client is given to answer a state."""

BEHIND = 0.1
"""Seconds by which the arm's clock may be late; time beyond it is skipped."""

LINGER = 4.0
"""Seconds that an ending server waits for its client, which must stop the arm first, to disconnect."""


class ArmServer(FrankaRobotServer):
    """The arm's side of the protocol; `fault` has the effects of a reflex of a real arm."""

    def __init__(self, robot: BaseRobot, hostname_candidates: Iterable[str]) -> None:
        """Start without an error."""
        super().__init__(robot, hostname_candidates)
        self._error, self._stubborn, self._silent = "", False, 0
        # franky-sim has no hook for this: its own class reports success for every request for recovery.
        commands: dict[Any, Any] = vars(self)["_FrankaServer__command_class_map"]
        commands[RobotCommand.kAutomaticErrorRecovery] = Recovery

    def fault(self, error: str, stubborn: bool = False) -> None:
        """Raise one of ERRORS: abort the motion, refuse others until recovered; a `stubborn` one refuses recovery."""
        self._error, self._stubborn = error, stubborn
        motion = self.current_motion_id
        self.stop_motion(send_preemption_signal=False)
        self.reset_current_motion_id()
        self.send_state()  # as a real arm does: the state with the reason comes before the answer
        if motion and self._tcp_socket is not None:
            BaseCommand.send_response(self._tcp_socket, RobotCommand.kMove, motion, MoveStatus.kReflexAborted)

    def recover(self) -> bool:
        """Clear the error and return True; False for an error that only a person can clear."""
        if not self._stubborn:
            self._error = ""
        return not self._stubborn

    def clear(self) -> None:
        """Clear the error as a person at the arm would."""
        self._error, self._stubborn = "", False

    def start_motion(self, *modes: Any) -> None:
        """Begin a motion; with an error raised the request is refused."""
        if self._error:
            raise RuntimeError(f"no motion while {self._error}")
        self._silent = 0
        super().start_motion(*modes)

    def _handle_udp_command(self, command_data: bytes) -> None:
        self._silent = 0
        super()._handle_udp_command(command_data)

    def _post_process_commands(self) -> None:
        self._silent += 1
        if self.current_motion_id and self._silent > MAX_SILENT_CYCLES:
            self.fault("communication_constraints_violation")
        super()._post_process_commands()

    def _get_state_bytes(self) -> bytes:
        state = self.robot_state
        if self._error:
            flags = tuple(error == self._error for error in ERRORS)
            state = state.replace(errors=flags, reflex_reason=flags, robot_mode=RobotMode.kReflex)
        return bytes(state.pack_state())

    def _bind_children(self, hostname: str) -> None:
        if self.robot.has_gripper:
            hand = HandServer(self.robot, hostname)
            hand.init()
            self._FrankaRobotServer__gripper_server = hand


class Recovery(AutomaticErrorRecoveryCommand):
    """A request to clear errors."""

    def handle(self, server: ArmServer) -> None:
        """Answer it."""
        rejected = AutomaticErrorRecoveryStatus.kManualErrorRecoveryRequiredRejected
        self.reply(AutomaticErrorRecoveryStatus.kSuccess if server.recover() else rejected)


class HandServer(FrankaGripperServer):
    """The hand's side of the protocol: a motion that is stopped or replaced is answered, as by a real hand."""

    _pending_command_id: int | None

    def stop(self, command_id: int, tcp_socket: socket.socket) -> None:
        """End the motion under way, and answer both requests."""
        self._abort()
        super().stop(command_id, tcp_socket)

    def _start_motion(self, motion: Any, command: GripperCommand, number: int, tcp_socket: socket.socket) -> None:
        self._abort()
        super()._start_motion(motion, command, number, tcp_socket)

    def _abort(self) -> None:
        if self._pending_command_id is None:
            return
        BaseCommand.send_response(
            self._pending_tcp_socket,
            self._pending_command_type,
            self._pending_command_id,
            GripperCommandStatus.kAborted,
            command_type_struct="H",
            status_type_struct="H",
        )
        self._pending_command_id = None


class Simulation(SimulationServer):
    """The loop of franky-sim around an ArmServer; other threads have it make calls by `post`."""

    def __init__(self, sim: BaseSimulator, address: str) -> None:
        """Serve on one loopback address."""
        super().__init__(sim, [address])
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._due = time.monotonic()
        self._end: float | None = None

    @property
    def arm(self) -> ArmServer:
        """Return the one arm's server."""
        return self.robot_servers[0]

    def post(self, call: Callable[[], None]) -> None:
        """Have the loop make `call` before its next tick."""
        self._calls.put(call)

    def leave(self) -> None:
        """End the loop as soon as no client is connected: a control box outlives the driver's process."""
        if self._end is None:
            self._end = time.monotonic() + LINGER

    def run_once(self, realtime: bool | float = True) -> None:
        """Make the queued calls and one tick, then wait for the next; a late tick is made up for."""
        if self._end is not None and (not self.arm.tcp_connected or time.monotonic() > self._end):
            self.running = False
            return
        while not self._calls.empty():
            self._calls.get()()
        super().run_once(realtime=False)
        now = time.monotonic()
        self._due = max(self._due + TICK, now - BEHIND)
        time.sleep(max(self._due - now, GAP))

    def init(self) -> None:
        """Bind the ports of the arm and its hand. Raises OSError if the address is in use."""
        for robot in self.sim.robots:
            server = ArmServer(robot, self._remaining_hostname_candidates)
            server.init()
            self.robot_servers.append(server)
        self.sim.start()
