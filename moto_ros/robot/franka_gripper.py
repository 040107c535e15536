"""Driver of the Franka hand, with its own connection and threads: its calls block until the fingers have moved."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import franky

from moto_ros.robot.franka_faults import LOST, fault_of_exception
from moto_ros.robot.interface import ArmFault, FaultKind

POLL_PERIOD = 0.02
"""Seconds between two measurements of the fingers."""

CLOSE_TIMEOUT = 2.0
"""Seconds that a motion has to end when the connection is closed."""

STATE_TIMEOUT = 1.0
"""Seconds without a state of the hand after which it counts as lost."""

ANY_WIDTH = 0.1
"""m, tolerance of a grasp: large enough that an object of any width counts as grasped."""


class FrankaGripper:
    """One hand. A new motion replaces the current one; a repeated request is ignored."""

    def __init__(self, host: str, speed: float) -> None:
        """Connect. Raises the driver's exceptions; may block."""
        self._host, self._speed = host, speed
        self._hand = franky.Gripper(host)
        self._change = threading.Condition()
        self._goal: object = None
        self._next: Callable[[], object] | None = None
        self._running = self._interrupt = self._stopping = self._closed = False
        self._fault: ArmFault | None = None
        self.motion_error = ""
        self._measure()
        works = (self._watch, self._move)
        self._threads = [threading.Thread(target=work, name=f"hand of {host}", daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    @property
    def width(self) -> float:
        """Return the newest measured distance between the fingers, m. Raises ArmFault."""
        age = time.monotonic() - self._seen
        if self._fault is None and age > STATE_TIMEOUT:
            sentence = f"hand of arm {self._host}: no state for {age:.1f} s; check its cable, then recover"
            self._fault = ArmFault(FaultKind.CONNECTION, sentence)
        if self._fault is not None:
            raise self._fault
        return self._width

    @property
    def busy(self) -> bool:
        """Return whether a motion is running or pending."""
        return self._running or self._next is not None

    @property
    def lost(self) -> bool:
        """Return whether a new connection is needed."""
        return self._fault is not None

    def move(self, width: float) -> None:
        """Begin to open or close to `width` (m)."""
        self._begin(("move", width), lambda: self._hand.move(width, self._speed))

    def grasp(self, force: float) -> None:
        """Begin to close with `force` (N) until something is held."""
        self._begin(("grasp", force), lambda: self._hand.grasp(0.0, self._speed, force, ANY_WIDTH, ANY_WIDTH))

    def home(self) -> None:
        """Begin to find the end stops."""
        self._begin(object(), self._hand.homing)

    def stop(self) -> None:
        """End any motion."""
        self._begin(None, None)

    def close(self) -> None:
        """End the motion, the threads and the connection."""
        self.stop()
        with self._change:
            self._closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join(CLOSE_TIMEOUT)
        vars(self).pop("_hand", None)  # the hand accepts one connection, and this object may be kept

    def _begin(self, goal: object, call: Callable[[], object] | None) -> None:
        with self._change:
            if goal is not None and goal == self._goal:
                return
            self._goal, self._next, self._interrupt = goal, call, self._running
            self._change.notify_all()

    def _move(self) -> None:
        """Make the motions, one after the other, each to its end."""
        while (call := self._take()) is not None:
            try:
                call()
                self.motion_error = ""
            except LOST as error:
                self._fault = fault_of_exception(self._host, error)
            except franky.CommandException as error:
                self._on_refused(error)
            with self._change:
                self._running = False

    def _take(self) -> Callable[[], object] | None:
        """Wait for the next motion; None at the end."""
        with self._change:
            # The stop of the previous motion must not end this one.
            self._change.wait_for(lambda: self._closed or (self._next is not None and not self._stopping))
            call, self._next = self._next, None
            self._running, self._interrupt = call is not None, False
            return None if self._closed else call

    def _on_refused(self, error: Exception) -> None:
        """Store why a motion failed, unless another one has replaced it. The same motion may be requested again."""
        with self._change:
            if self._next is None and self._goal is not None:
                self.motion_error = f"hand of arm {self._host}: {error}; free the fingers, or home the hand"
                self._goal = None

    def _watch(self) -> None:
        """Measure the width periodically; end motions that have been replaced."""
        try:
            while not self._closed or self._running:
                self._end_motion()
                self._measure()
                time.sleep(POLL_PERIOD)
        except LOST as error:
            self._fault = fault_of_exception(self._host, error)

    def _end_motion(self) -> None:
        with self._change:
            self._stopping, self._interrupt = self._interrupt and self._running, False
        if self._stopping:
            self._hand.stop()
            with self._change:
                self._stopping = False
                self._change.notify_all()

    def _measure(self) -> None:
        self._width, self._seen = self._hand.width, time.monotonic()


def connect_gripper(host: str, speed: float, timeout: float) -> FrankaGripper:
    """Return the connected hand. Raises ArmFault if there is none within `timeout` seconds."""
    found: list[FrankaGripper | Exception] = []

    def connect() -> None:
        try:
            found.append(FrankaGripper(host, speed))
        except Exception as error:  # raised in the caller below
            found.append(error)

    thread = threading.Thread(target=connect, name=f"hand of {host}", daemon=True)
    thread.start()
    thread.join(timeout)
    if found and isinstance(found[0], FrankaGripper):
        return found[0]
    reason = found[0] if found else f"no answer within {timeout:g} s"
    advice = "mount it and switch it on in Desk, or set gripper.present to false"
    raise ArmFault(FaultKind.CONNECTION, f"hand of arm {host}: {reason}; {advice}")
