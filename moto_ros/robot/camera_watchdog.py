"""Whether the cameras see: a robot that is not seen holds. No ROS."""

from __future__ import annotations

from collections.abc import Sequence


class CameraWatchdog:
    """What each camera last said of its health; times are seconds of any steady clock."""

    def __init__(self, cameras: Sequence[str], timeout: float, now: float) -> None:
        """Give each camera `timeout` seconds from now to say that it is well."""
        self._timeout = timeout
        self._said = dict.fromkeys(cameras, (now, ""))

    def on_state(self, now: float, camera: str, trouble: str) -> None:
        """Take what a camera says: nothing when it is well, else a sentence."""
        if camera in self._said:
            self._said[camera] = (now, trouble)

    def hindrance(self, now: float) -> str:
        """Return why the robot must hold, empty while every camera sees."""
        for camera, (said, trouble) in self._said.items():
            if trouble:
                return f"camera {camera}: {trouble}"
            if now - said > self._timeout:
                return f"camera/{camera}/health: nothing for {now - said:.1f} s; see whether the camera node runs"
        return ""
