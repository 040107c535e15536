"""RealSense cameras through librealsense, by serial number: colour, and on request depth aligned to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyrealsense2 as rs

from moto_ros.camera.distortion import plumb_bob_of
from moto_ros.camera.interface import CameraLost, CameraSetup, Frame, Intrinsics

QUEUE_SIZE = 2
"""Frames that the SDK queues for a slow reader; older ones are dropped."""

RESET_AFTER = 3
"""Attempts in a row without a frame after which the camera itself is restarted."""

COLOUR_EXPOSURE, STEREO_EXPOSURE = 1e-4, 1e-6
"""Units of the exposure option in s, of a colour sensor and of a stereo module (which is the D405's colour sensor)."""

DEPTH_UNIT = 0.001
"""Metres per step of published depth."""

Profile = tuple[Any, Any]
"""A sensor, and the stream profile that is requested from it."""


BUS_TIMEOUT = 10.0
"""s; listing devices takes milliseconds."""

BUS = threading.Lock()
"""Held while devices are listed, added or removed. In the SDK two threads that do so at once can crash, or wait for
each other for ever: one has the SDK's lock and wants Python's, the other the other way round."""


@lru_cache(maxsize=1)
def context() -> Any:
    """Return the SDK's view of the bus, one for all cameras of the process."""
    return rs.context()


class RealSenseCamera:
    """One camera; every call to the SDK is made by the thread that reads it."""

    def __init__(self, setup: CameraSetup) -> None:
        """Keep the setup."""
        self._setup = setup
        self._sensors: list[Any] = []
        self._queue: Any = None
        self._align = rs.align(rs.stream.color)
        self._intrinsics: Intrinsics | None = None
        self._failed_attempts = 0
        self.clock = ""

    def open(self) -> None:
        """Find the camera, set it, and start its streams. Raises CameraLost."""
        device = self._find()
        try:
            self._reset_if_needed(device)
            self._failed_attempts += 1
            self._start(device)
        except RuntimeError as error:
            self.close()
            raise CameraLost(
                self._message(f"does not start ({error}); end other programs that use it, or plug it in again")
            ) from error

    def _find(self) -> Any:
        if not BUS.acquire(timeout=BUS_TIMEOUT):
            raise CameraLost(
                self._message("waits for another camera, which the SDK does not answer for; unplug that one")
            )
        try:
            devices = list(context().query_devices())
            found = next((one for one in devices if _serial_number(one) == self._setup.device), None)
            known = "" if found else ", ".join(map(_described, devices)) or "none at all"
            del devices  # the SDK frees them, which belongs under the lock, too
        except RuntimeError as error:
            raise CameraLost(
                self._message(f"cannot be looked for ({error}); a camera is leaving the bus: wait")
            ) from error
        finally:
            BUS.release()
        if found is not None:
            return found
        raise CameraLost(
            self._message(
                f"has no RealSense with serial number {self._setup.device} on USB, found {known}; "
                "plug it in, or correct `devices`"
            )
        )

    def _reset_if_needed(self, device: Any) -> None:
        """Restart a camera that gave no frame in several attempts; it leaves the bus, so this attempt ends."""
        if self._failed_attempts >= RESET_AFTER:
            self._failed_attempts = 0
            device.hardware_reset()
            raise CameraLost(self._message(f"gave no frame after {RESET_AFTER} attempts and is being restarted; wait"))

    def _start(self, device: Any) -> None:
        profiles = [self._profile(device, rs.stream.color, rs.format.rgb8)]
        if self._setup.depth:
            profiles.append(self._profile(device, rs.stream.depth, rs.format.z16))
        self._set(profiles[0][0])
        self._intrinsics = _intrinsics(profiles[0][1].as_video_stream_profile().get_intrinsics())
        self._queue = rs.syncer(QUEUE_SIZE) if self._setup.depth else rs.frame_queue(QUEUE_SIZE)
        for sensor, wanted in _by_sensor(profiles):
            sensor.open(wanted)
            self._sensors.append(sensor)
            sensor.start(self._queue)

    def _profile(self, device: Any, stream: Any, form: Any) -> Profile:
        modes = [(sensor, profile) for sensor, profile in _profiles(device) if _is(profile, stream, form)]
        for sensor, profile in modes:
            if _mode(profile) == (self._setup.width, self._setup.height, self._setup.rate):
                return sensor, profile
        known = ", ".join(sorted({"{}x{} at {:g} Hz".format(*_mode(profile)) for _, profile in modes})) or "none"
        asked = f"{self._setup.width}x{self._setup.height} at {self._setup.rate:g} Hz"
        raise CameraLost(
            self._message(f"has no {stream.name} mode {asked}, found {known}; choose one, or use a USB 3 port")
        )

    # Exposure and white balance.

    def _set(self, sensor: Any) -> None:
        unit = STEREO_EXPOSURE if sensor.is_depth_sensor() else COLOUR_EXPOSURE
        self._fix(sensor, rs.option.enable_auto_exposure, rs.option.exposure, self._setup.exposure / unit)
        self._fix(sensor, rs.option.enable_auto_white_balance, rs.option.white_balance, self._setup.white_balance)

    def _fix(self, sensor: Any, automatic: Any, option: Any, value: float) -> None:
        """Set an option to `value` in its own unit, or leave it to the camera when that is 0."""
        if sensor.supports(automatic):
            sensor.set_option(automatic, float(not value))
        if not value:
            return
        if not sensor.supports(option):
            raise CameraLost(self._message(f"cannot set a fixed {option.name}; set it to 0"))
        limits = sensor.get_option_range(option)
        if not limits.min <= value <= limits.max:
            raise CameraLost(
                self._message(f"is given {option.name} {value:g}, expected {limits.min:g} to {limits.max:g}; change it")
            )
        sensor.set_option(option, value)

    # Frames.

    def intrinsics(self) -> Intrinsics:
        """Return the factory calibration of the colour image."""
        if self._intrinsics is None:
            raise CameraLost(self._message("is not open; open it first"))
        return self._intrinsics

    def read(self, timeout: float) -> Frame | None:
        """Return the next frame, None when none came within `timeout` seconds."""
        try:
            found, depth = self._next(max(1, round(1000 * timeout)))
            return None if found is None else self._frame(found, depth)
        except RuntimeError as error:
            raise CameraLost(self._message(f"failed while it was read ({error}); check cable and USB port")) from error

    def _next(self, timeout: int) -> tuple[Any, Any]:
        """Return the SDK's next colour and depth frame, None for one that is missing; `timeout` in ms."""
        if not self._setup.depth:
            came, frame = self._queue.try_wait_for_frame(timeout)
            return (frame if came else None), None
        came, frames = self._queue.try_wait_for_frames(timeout)
        if not came or not frames.get_color_frame():
            return None, None
        frames = self._align.process(frames) if frames.get_depth_frame() else frames
        return frames.get_color_frame(), frames.get_depth_frame() or None

    def _frame(self, colour: Any, depth: Any) -> Frame:
        arrival = time.time_ns()
        domain = colour.get_frame_timestamp_domain()
        self.clock = domain.name
        self._failed_attempts = 0
        return Frame(
            colour=np.array(colour.get_data()),
            depth=None if depth is None else _millimetres(depth),
            number=colour.get_frame_number(),
            device_time=round(1e6 * colour.get_timestamp()),
            arrival=arrival,
            # Without the kernel's metadata the SDK stamps frames as they arrive, by this computer's clock as well.
            synchronised=domain in (rs.timestamp_domain.global_time, rs.timestamp_domain.system_time),
        )

    def close(self) -> None:
        """Stop all streams; errors of a camera that is gone are ignored."""
        for sensor in self._sensors:
            for end in (sensor.stop, sensor.close):
                _quietly(end)
        self._sensors, self._queue = [], None

    def _message(self, text: str) -> str:
        return f"camera '{self._setup.name}' {text}"


def _quietly(end: Any) -> None:
    try:
        end()
    except RuntimeError:
        return


def _serial_number(device: Any) -> str:
    return str(device.get_info(rs.camera_info.serial_number))


def _described(device: Any) -> str:
    return f"{device.get_info(rs.camera_info.name)} ({_serial_number(device)})"


def _profiles(device: Any) -> Iterator[Profile]:
    for sensor in device.query_sensors():
        for profile in sensor.get_stream_profiles():
            if profile.is_video_stream_profile():
                yield sensor, profile.as_video_stream_profile()


def _is(profile: Any, stream: Any, form: Any) -> bool:
    return profile.stream_type() == stream and profile.format() == form


def _mode(profile: Any) -> tuple[int, int, float]:
    return profile.width(), profile.height(), float(profile.fps())


def _by_sensor(profiles: list[Profile]) -> list[tuple[Any, list[Any]]]:
    """Return each sensor once, with all that it is to stream: the D405's colour and depth are of one sensor."""
    found: dict[str, tuple[Any, list[Any]]] = {}
    for sensor, profile in profiles:
        found.setdefault(sensor.get_info(rs.camera_info.name), (sensor, []))[1].append(profile)
    return list(found.values())


def _millimetres(depth: Any) -> np.ndarray:
    values, unit = np.array(depth.get_data()), depth.get_units()
    if abs(unit - DEPTH_UNIT) < 1e-7:
        return values
    return np.clip(np.rint(values * (unit / DEPTH_UNIT)), 0, 65535).astype(np.uint16)


def _intrinsics(found: Any) -> Intrinsics:
    model, coefficients = _distortion(found)
    return Intrinsics(found.width, found.height, found.fx, found.fy, found.ppx, found.ppy, model, coefficients)


def _distortion(found: Any) -> tuple[str, tuple[float, ...]]:
    """Return ROS's model and coefficients of the lens; librealsense's own Brown-Conrady variants are fitted."""
    coefficients = tuple(float(value) for value in found.coeffs)
    if found.model == rs.distortion.kannala_brandt4:
        return "equidistant", coefficients[:4]
    plain = found.model in (rs.distortion.none, rs.distortion.brown_conrady)
    if plain or not any(coefficients):
        return "plumb_bob", coefficients

    def lens(x: float, y: float) -> tuple[float, float]:
        u, v = rs.rs2_project_point_to_pixel(found, [x, y, 1.0])
        return (u - found.ppx) / found.fx, (v - found.ppy) / found.fy

    corner = (max(found.ppx, found.width - found.ppx) / found.fx, max(found.ppy, found.height - found.ppy) / found.fy)
    return "plumb_bob", plumb_bob_of(lens, corner)
