"""Connection to a Franka arm: one thread makes all calls to the driver, because many of them can block.

Other threads read the newest measurement and submit requests without waiting for this thread. A connection that lost
its arm, or whose thread hangs in the driver, is abandoned and replaced.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import franky
import numpy as np

from moto_ros.robot.franka_clock import RobotClock
from moto_ros.robot.franka_faults import LOST, fault_of_exception, fault_of_flags, fault_of_mode, flags
from moto_ros.robot.franka_steering import Steering
from moto_ros.robot.interface import ArmFault, ArmState, FaultKind

POLL_PERIOD = 0.004
"""Seconds between two measurements; a request is processed without this delay."""


@dataclass(frozen=True)
class Measurement:
    """The newest state, and when it arrived."""

    state: ArmState
    arrival: float  # s of the monotonic clock


class ThreadCall:
    """A call that the connection's thread makes for another thread."""

    def __init__(self, call: Callable[[franky.Robot], object]) -> None:
        """Keep the call."""
        self.call, self.done = call, False
        self.fault: ArmFault | None = None

    def run(self, host: str, robot: franky.Robot) -> None:
        """Make the call and store the fault it raised; a lost connection is raised here too."""
        try:
            self.call(robot)
        except ArmFault as fault:
            self.fault = fault
        except Exception as error:  # raised again in the caller
            self.fault = fault_of_exception(host, error)
            if isinstance(error, LOST):
                raise
        finally:
            self.done = True


class FrankaConnection:
    """One connection: it is being opened, open, or lost, and never opened again."""

    def __init__(self, host: str, connect: Callable[[], franky.Robot], first: int = 0) -> None:
        """Begin to connect by calling `connect` in the connection's thread; sequence numbers begin at `first`."""
        self.host, self._connect, self._first = host, connect, first
        self._change = threading.Condition()
        self._clock = RobotClock()
        self._jobs: list[ThreadCall] = []
        self._pending: Steering | None = None
        self._current: Steering | None = None
        self._stop, self._braking, self._closing = False, False, False
        self.measurement: Measurement | None = None
        self.fault: ArmFault | None = None
        self.lost = False
        self._thread = threading.Thread(target=self._run, name=f"arm {host}", daemon=True)
        self._thread.start()

    @property
    def steering(self) -> Steering | None:
        """Return what the arm follows now; None while the arm is not controlled."""
        return None if self._stop else self._current

    @property
    def idle(self) -> bool:
        """Whether nothing moves the arm or is about to."""
        return self._current is None and self._pending is None

    def runs(self, steering: Steering) -> bool:
        """Return whether `steering` moves the arm or is about to."""
        return steering is self._current or steering is self._pending

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until `condition` holds; return whether it did within `timeout` seconds."""
        with self._change:
            return self._change.wait_for(condition, timeout)

    def start(self, steering: Steering) -> None:
        """Control the arm by `steering` once any current motion has ended."""
        self._request(steering)

    def stop(self) -> None:
        """Brake and end control."""
        self._request(None)

    def _request(self, steering: Steering | None) -> None:
        with self._change:
            for replaced in (self._pending, self._current):
                if replaced is not None:
                    replaced.stopped = True
            self._pending, self._stop = steering, self._current is not None
            self._change.notify_all()

    def do(self, call: Callable[[franky.Robot], object], timeout: float) -> None:
        """Have the thread make `call`. Raises its error as ArmFault, and ArmFault after `timeout` seconds."""
        job = ThreadCall(call)
        with self._change:
            self._jobs.append(job)
            self._change.notify_all()
        if not self.wait(lambda: job.done or self.lost, timeout):
            sentence = f"arm {self.host}: no answer within {timeout:g} s; check power and cable, then recover"
            raise ArmFault(FaultKind.CONNECTION, sentence)
        fault = job.fault if job.done else self.fault
        if fault is not None:
            raise fault

    def fail(self, fault: ArmFault) -> None:
        """Set `fault` until it is cleared, unless there is one already, and end control."""
        self.fault = self.fault or fault
        self.stop()

    def clear(self) -> None:
        """Clear the fault."""
        self.fault = None

    def close(self, timeout: float) -> None:
        """Brake, then end the thread and the connection; abandon a thread that hangs in the driver."""
        self.stop()
        self.wait(lambda: self.idle or self.lost, timeout)
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            robot = self._connect()
            while not self._closing:
                self._cycle(robot)
        except Exception as error:  # any exception of the driver ends the connection, never the process
            with self._change:
                self.fault = fault_of_exception(self.host, error)
                self.lost, self._current, self._pending = True, None, None
                self._change.notify_all()

    def _cycle(self, robot: franky.Robot) -> None:
        with self._change:
            jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.run(self.host, robot)
        self._steer(robot)
        self._measure(robot)
        with self._change:
            self._change.notify_all()
            self._change.wait_for(self._wanted, POLL_PERIOD)

    def _wanted(self) -> bool:
        begin = self._pending is not None and self._current is None and self.fault is None
        return bool(self._jobs) or self._closing or begin or (self._stop and not self._braking)

    def _steer(self, robot: franky.Robot) -> None:
        """Process the requests to stop and to start, and the end of a motion."""
        try:
            if self._current is not None:
                self._continue(robot, self._current)
            elif self._pending is not None and self.fault is None:
                self._begin(robot, self._pending)
        except LOST:
            raise
        except Exception as error:  # refused or aborted by the arm: it can be recovered on this connection
            self.fail(fault_of_exception(self.host, error))

    def _begin(self, robot: franky.Robot, steering: Steering) -> None:
        steering.seed(robot.state)
        robot.move(steering.motion, asynchronous=True)
        with self._change:
            self._pending = None if self._pending is steering else self._pending
            self._current, self._stop, self._braking = steering, steering.stopped, False

    def _continue(self, robot: franky.Robot, steering: Steering) -> None:
        if not robot.is_in_control:
            self._end(robot, steering)
        elif self._stop and not self._braking:
            robot.move(steering.brake(), asynchronous=True)
            self._braking = True
        elif not self._braking:
            steering.tick(robot)

    def _end(self, robot: franky.Robot, steering: Steering) -> None:
        expected = self._braking or steering.finite
        with self._change:
            self._current, self._stop, self._braking = None, False, False
        robot.poll_motion()  # raises what ended the motion
        if not expected:
            self.fail(ArmFault(FaultKind.OTHER, f"arm {self.host}: control ended by itself; call robot/recover"))

    def _measure(self, robot: franky.Robot) -> None:
        """Read the newest state and its errors."""
        state = robot.state
        arrival, system = time.monotonic(), time.time_ns()
        sequence = self._first + state.time.to_msec()
        if self.measurement is None or sequence != self.measurement.state.sequence:
            stamp = self._clock.stamp(state.time.to_msec() * 1_000_000, system)
            self.measurement = Measurement(arm_state(robot, state, stamp, sequence), arrival)
        names = flags(state.current_errors)
        fault = fault_of_flags(self.host, names) if names else fault_of_mode(self.host, state.robot_mode, self.idle)
        if fault is not None and self.fault is None:
            self.fail(fault)


def arm_state(robot: franky.Robot, state: franky.RobotState, stamp: int, sequence: int) -> ArmState:
    """Return the driver's state in the interface's terms; torques and wrench with the driver's sign, filtered by it."""
    twist = robot.model.zero_jacobian(franky.Frame.EndEffector, state) @ state.dq
    wrench = state.O_F_ext_hat_K
    return ArmState(
        stamp=stamp,
        sequence=sequence,
        joint_position=np.array(state.q),
        joint_velocity=np.array(state.dq),
        joint_effort=np.array(state.tau_ext_hat_filtered),
        position=np.array(state.O_T_EE.translation),
        quaternion=np.array(state.O_T_EE.quaternion),
        linear_velocity=twist[:3],
        angular_velocity=twist[3:],
        force=wrench[:3].copy(),
        torque=wrench[3:].copy(),
    )
