"""The thread of one camera: opens it, reads and checks its frames, passes them on, and reopens a lost camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from moto_ros.camera.checks import CameraCounts, FrameChecks
from moto_ros.camera.interface import Camera, CameraLost, CameraSetup, Frame, Intrinsics
from moto_ros.camera.rate import RateJudge, RateMeter
from moto_ros.camera.settings import Health


@dataclass(frozen=True)
class CameraStatus:
    """Health of a camera now: `reason` is empty while it is healthy, with or without a `warning`.

    `rate` in Hz, `delay` of the newest frame in s; `passed`: whether the start-up gate has opened.
    """

    reason: str
    warning: str = ""
    rate: float = 0.0
    delay: float = 0.0
    passed: bool = False

    @property
    def healthy(self) -> bool:
        """Whether new frames arrive in order and in time."""
        return not self.reason


class Sink(Protocol):
    """Receiver of a camera's frames; the camera's thread makes both calls."""

    def take(self, frame: Frame, stamp: int, intrinsics: Intrinsics) -> bool:
        """Take a frame and its stamp (ns of the system clock); return whether an older one was dropped."""

    def changed(self) -> None:
        """Note that the camera has become healthy or unhealthy, or has passed its start-up gate."""


class BackOff:
    """Pauses between attempts: doubled each time, up to the longest."""

    def __init__(self, shortest: float, longest: float) -> None:
        """Begin with `shortest` s, end with `longest` s."""
        self._shortest, self._longest = shortest, longest
        self._next = shortest

    def pause(self) -> float:
        """Return the next pause in s."""
        now, self._next = self._next, min(2 * self._next, self._longest)
        return now

    def reset(self) -> None:
        """Begin with the shortest pause again, after a success."""
        self._next = self._shortest


class Stream:
    """Owns the camera: no other thread calls it while this one runs."""

    def __init__(
        self, camera: Camera, setup: CameraSetup, health: Health, sink: Sink, failed: Callable[[Exception], None]
    ) -> None:
        """Prepare; on an error that is not the camera's, the thread calls `failed` and ends."""
        self._camera, self._setup, self._health, self._sink, self._failed = camera, setup, health, sink, failed
        self._checks = FrameChecks(health.late_after, health.frozen_after)
        self._judge = RateJudge(setup.rate, health.rate_tolerance, health.rate_window)
        self._meter = RateMeter()
        self._back_off = BackOff(health.reconnect_backoff_min, health.reconnect_backoff_max)
        self._newest = 0.0
        self._opened = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"camera {setup.name}", daemon=True)
        self._status = CameraStatus(self._sentence("is being opened"))

    @property
    def status(self) -> CameraStatus:
        """Health of the camera; a driver that blocks the thread makes it unhealthy, too."""
        found, silence = self._status, time.monotonic() - self._newest
        if found.healthy and silence > self._health.lost_after:
            held = self._sentence(f"has a driver that has not answered for {silence:.1f} s; check cable and power")
            return replace(found, reason=held)
        return found

    @property
    def counts(self) -> CameraCounts:
        """Counts of this camera; only the thread writes them."""
        return self._checks.counts

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Stop the thread, which closes the camera; return whether it ended within `timeout` s."""
        self._stopping.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # The thread.

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                self._serve()
        except Exception as error:
            self._failed(error)
        finally:
            self._camera.close()

    def _serve(self) -> None:
        """Open the camera and read it until it is lost; then pause."""
        try:
            self._open()
            while not self._stopping.is_set():
                self._read()
        except CameraLost as lost:
            self._camera.close()
            pause = self._back_off.pause()
            self._set_status(f"{lost}; next attempt in {pause:.1f} s")
            self._stopping.wait(pause)

    def _open(self) -> None:
        self.counts.reconnects += self._opened
        self._opened = True
        self._camera.open()
        self._checks.restart()
        self._judge.restart()
        self._newest = time.monotonic()

    def _read(self) -> None:
        """Take the next frame, or report that there is none."""
        due = self._newest + self._health.stopped_after * self._setup.period
        left = due - time.monotonic()
        frame = self._camera.read(left if left > 0 else self._setup.period)
        stamp = None if frame is None else self._checks.take(frame)
        now = time.monotonic()
        if frame is not None and stamp is not None:
            self._on_frame(frame, stamp, now)
        elif now >= due:
            self._on_silence(now - self._newest)

    def _on_frame(self, frame: Frame, stamp: int, now: float) -> None:
        self._back_off.reset()
        self._newest = now
        self._meter.add(now)
        self.counts.wrong_rate += self._judge.add(now)
        self.counts.overwritten += self._sink.take(frame, stamp, self._camera.intrinsics())
        gate = self._judge.problem or f"is having its rate measured for {self._health.rate_window:g} s; wait"
        problem = self._checks.problem or ("" if self._judge.passed else gate)
        self._set_status(self._sentence(problem) if problem else "")

    def _on_silence(self, silence: float) -> None:
        """Report that no usable frame came in time. Raises CameraLost when that has lasted for too long."""
        self._judge.restart()
        if silence > self._health.lost_after:
            raise CameraLost(self._sentence(f"gave no new frame for {silence:.1f} s; check cable and power"))
        self._set_status(self._sentence("gave no new frame when one was due; check cable and USB port if this stays"))

    def _set_status(self, reason: str) -> None:
        """Set the status; the sink is notified of a change at once."""
        before = self._status
        passed = self._judge.passed
        warning = self._sentence(self._judge.problem) if passed and self._judge.problem else ""
        rate = self._meter.rate(time.monotonic())
        self._status = CameraStatus(reason, warning, rate, self._checks.delay, passed)
        if _kind(before) != _kind(self._status):
            self._sink.changed()

    def _sentence(self, text: str) -> str:
        return f"camera '{self._setup.name}' {text}"


def _kind(status: CameraStatus) -> tuple[bool, bool]:
    return status.healthy, status.passed
