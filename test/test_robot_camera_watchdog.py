"""The camera watchdog: the robot holds while a camera is unhealthy or silent."""

from __future__ import annotations

from moto_ros.robot.camera_watchdog import CameraWatchdog


def test_every_camera_must_be_healthy() -> None:
    watchdog = CameraWatchdog(("front", "wrist"), 3.0, 0.0)
    watchdog.on_state(1.0, "front", "")
    watchdog.on_state(1.0, "wrist", "no frame for 0.2 s; check its cable")
    assert "wrist" in watchdog.hold_reason(1.0)
    watchdog.on_state(1.1, "wrist", "")
    assert watchdog.hold_reason(1.1) == ""


def test_a_silent_camera_counts_as_lost() -> None:
    """A camera process that was killed cannot report that it is unhealthy."""
    watchdog = CameraWatchdog(("front",), 3.0, 0.0)
    assert watchdog.hold_reason(2.9) == ""
    assert "camera/front/health" in watchdog.hold_reason(3.1)
    watchdog.on_state(3.2, "front", "")
    assert watchdog.hold_reason(6.1) == ""
    assert watchdog.hold_reason(6.3) != ""


def test_cameras_that_are_not_configured_do_not_matter() -> None:
    watchdog = CameraWatchdog((), 3.0, 0.0)
    watchdog.on_state(0.0, "elsewhere", "broken")
    assert watchdog.hold_reason(100.0) == ""
