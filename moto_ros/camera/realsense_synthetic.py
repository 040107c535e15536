"""Synthetic RealSense cameras: software devices of the SDK on its own bus, read like real ones.

Tests and users can inject faults: see `SyntheticRealSense.disturb`.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pyrealsense2 as rs

from moto_ros.camera.interface import CameraSetup
from moto_ros.camera.pattern import Pattern
from moto_ros.camera.realsense import BUS, RealSenseCamera, context
from moto_ros.errors import MotoError

FIELD_OF_VIEW = 0.9
"""Focal length as a share of the width."""

BASELINE = 0.015
"""Metres between the colour and the depth sensor."""

CLOCK_START = 1000.0
"""Seconds at which the device's clock starts, so that it differs from every other clock."""

COMMANDS = {
    **dict.fromkeys(("pause", "freeze", "repeat", "resume", "unplug", "plug"), False),
    **dict.fromkeys(("drop", "rate", "jump", "late"), True),
}
"""Command for a synthetic camera -> whether it takes a number."""


class SyntheticDevice:
    """One software device: a colour and a depth sensor, each with one mode, that of the setup."""

    def __init__(self, setup: CameraSetup) -> None:
        """Build the device; it is not on the bus yet."""
        self._setup = setup
        self._present: Any = None
        self.device = rs.software_device()
        info = rs.camera_info
        named = {info.name: "Synthetic RealSense", info.serial_number: setup.device, info.product_line: "D400"}
        for key, value in named.items():
            self.device.register_info(key, value)
        self.colour = self.device.add_sensor("RGB Camera")
        self.stereo = self.device.add_sensor("Stereo Module")
        self.colour_profile = self.colour.add_video_stream(self._stream(rs.stream.color, 1, 3, rs.format.rgb8))
        self.depth_profile = self.stereo.add_video_stream(self._stream(rs.stream.depth, 2, 2, rs.format.z16))
        self.stereo.add_read_only_option(rs.option.depth_units, 0.001)
        self.depth_profile.register_extrinsics_to(self.colour_profile, _beside())
        self.device.create_matcher(rs.matchers.dlr_c)
        for sensor in (self.colour, self.stereo):
            # In mHz. The SDK needs it, as of hardware, to know how close two stamps of one exposure must be.
            sensor.set_metadata(rs.frame_metadata_value.actual_fps, round(1000 * setup.rate))
        self._add_options()

    def _stream(self, kind: Any, uid: int, size: int, form: Any) -> Any:
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid, stream.bpp, stream.fmt = kind, 0, uid, size, form
        stream.width, stream.height, stream.fps = self._setup.width, self._setup.height, round(self._setup.rate)
        stream.intrinsics = self._intrinsics()
        return stream

    def _intrinsics(self) -> Any:
        found = rs.intrinsics()
        found.width, found.height = self._setup.width, self._setup.height
        found.fx = found.fy = FIELD_OF_VIEW * self._setup.width
        found.ppx, found.ppy = (self._setup.width - 1) / 2, (self._setup.height - 1) / 2
        found.model, found.coeffs = rs.distortion.inverse_brown_conrady, [0.0] * 5
        return found

    def _add_options(self) -> None:
        options = rs.option
        ranges = {options.enable_auto_exposure: (0, 1, 1), options.exposure: (1, 10000, 156)}
        ranges |= {options.enable_auto_white_balance: (0, 1, 1), options.white_balance: (2800, 6500, 4600)}
        for option, (low, high, default) in ranges.items():
            limits = rs.option_range()
            limits.min, limits.max, limits.default, limits.step = low, high, default, 1
            self.colour.add_option(option, limits, True)

    def plug(self) -> None:
        """Put the device on the bus, where it stays as long as the SDK's event about it is kept."""
        found: list[Any] = []
        with BUS:
            context().set_devices_changed_callback(found.append)
            self.device.add_to(context())
            context().set_devices_changed_callback(_forget)
        self._present = found

    def unplug(self) -> None:
        """Take the device off the bus."""
        with BUS:
            self._present = None

    def send(self, number: int, milliseconds: float, colour: np.ndarray, depth: np.ndarray | None) -> None:
        """Give the SDK one exposure, stamped by the device's own clock."""
        self._send(self.colour, self.colour_profile, number, milliseconds, colour)
        if depth is not None:
            self._send(self.stereo, self.depth_profile, number, milliseconds, depth)

    def _send(self, sensor: Any, profile: Any, number: int, milliseconds: float, pixels: np.ndarray) -> None:
        frame = rs.software_video_frame()
        frame.pixels, frame.stride, frame.bpp = pixels, pixels.strides[0], pixels.strides[1]
        frame.timestamp, frame.domain = milliseconds, rs.timestamp_domain.hardware_clock
        frame.frame_number, frame.profile, frame.depth_units = number, profile.as_video_stream_profile(), 0.001
        sensor.on_video_frame(frame)


def _forget(event: Any) -> None:
    """Ignore devices that are added to the bus or removed from it."""


def _beside() -> Any:
    found = rs.extrinsics()
    found.rotation, found.translation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], [BASELINE, 0.0, 0.0]
    return found


class SyntheticRealSense(RealSenseCamera):
    """A RealSense whose device is created here, and whose frames a thread draws while it is open."""

    def __init__(self, setup: CameraSetup) -> None:
        """Build the device; it is on the bus while the camera is open, unless it was unplugged by `disturb`."""
        super().__init__(setup)
        self._device = SyntheticDevice(setup)
        self._plugged = True
        self._pattern = Pattern(setup.width, setup.height)
        self._born = time.monotonic() - CLOCK_START
        self._mode, self._drop, self._rate, self._jump, self._late = "resume", 0, setup.rate, 0.0, 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Open like any RealSense, and start the thread that draws."""
        if self._plugged:
            self._device.plug()
        super().open()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._expose, name=f"synthetic {self._setup.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread that draws, and close like any RealSense."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2.0)
            self._thread = None
        super().close()
        self._device.unplug()

    def disturb(self, text: str) -> None:
        """Inject a fault; MotoError for any other text.

        `pause` no frames | `freeze` the same pixels | `repeat` the same frame | `drop N` frames | `rate R` Hz |
        `jump S` the camera's clock by S s | `late S` one frame S s late | `unplug`, `plug` | `resume` the first three
        """
        word, _, rest = text.strip().partition(" ")
        if word not in COMMANDS or bool(rest) != COMMANDS[word]:
            raise MotoError(f"disturb: '{text}' is unknown, expected one of {', '.join(COMMANDS)}, some with a number")
        number = _number(text, rest) if rest else 0.0
        self._change(word, number)

    def _change(self, word: str, number: float) -> None:
        if word in ("plug", "unplug"):
            self._plugged = word == "plug"
        elif word == "drop":
            self._drop += max(round(number), 0)
        elif word == "rate":
            self._rate = max(number, 0.1)
        elif word == "jump":
            self._jump += number
        elif word == "late":
            self._late = number
        else:
            self._mode = word

    # The thread that draws.

    def _expose(self) -> None:
        number, due = 0, time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            number += self._mode != "repeat"
            if self._plugged and self._mode != "pause" and not self._dropped():
                self._send(number)
            due = _next(due, 1.0 / self._rate)

    def _dropped(self) -> bool:
        if self._drop == 0:
            return False
        self._drop -= 1
        return True

    def _send(self, number: int) -> None:
        clock = time.monotonic() - self._born + self._jump
        if self._late:
            self._stopping.wait(self._late)
            self._late = 0.0
        shown = 0 if self._mode == "freeze" else number
        depth = self._pattern.depth(shown) if self._setup.depth else None
        self._device.send(number, 1000 * clock, self._pattern.colour(shown), depth)


def _next(due: float, period: float) -> float:
    """Return when the next exposure is due, on a grid; periods that a busy computer has missed are skipped."""
    now = time.monotonic()
    return due + period if due + period > now else now + period


def _number(text: str, rest: str) -> float:
    try:
        return float(rest)
    except ValueError as error:
        raise MotoError(f"disturb: '{text}' has no number after its word, expected e.g. 'jump -2.5'") from error
