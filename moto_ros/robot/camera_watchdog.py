"""Camera watchdog: the robot holds while a camera is unhealthy or silent. No ROS."""

from __future__ import annotations

from collections.abc import Sequence


class CameraWatchdog:
    """The last health message of each camera; times are seconds of any steady clock."""

    def __init__(self, cameras: Sequence[str], timeout: float, now: float) -> None:
        """Give each camera `timeout` seconds from now to report that it is healthy."""
        self._timeout = timeout
        self._reported = dict.fromkeys(cameras, (now, ""))

    def on_state(self, now: float, camera: str, fault: str) -> None:
        """Store a camera's health: an empty `fault` if it is healthy, else a sentence."""
        if camera in self._reported:
            self._reported[camera] = (now, fault)

    def hold_reason(self, now: float) -> str:
        """Return why the robot must hold, empty while every camera is healthy."""
        for camera, (reported, fault) in self._reported.items():
            if fault:
                return f"camera {camera}: {fault}"
            if now - reported > self._timeout:
                return f"camera/{camera}/health: no message for {now - reported:.1f} s; check that the camera node runs"
        return ""
