"""Any camera that OpenCV opens: a USB camera by index or path, a network stream by URL, or a video file."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np

from moto_ros.camera.calibration import read_calibration, uncalibrated
from moto_ros.camera.interface import CameraDriver, CameraLost, CameraSetup, Frame, Intrinsics
from moto_ros.camera.newest import Newest

MANUAL, AUTOMATIC = 1.0, 3.0
"""Values of V4L2's exposure_auto, which OpenCV passes on."""

EXPOSURE = 1e-4
"""Unit of V4L2's exposure_absolute in s."""

JOIN_TIMEOUT = 2.0
"""Seconds to wait at the end for the grabbing thread, which OpenCV may block."""


class OpenCvCamera(CameraDriver):
    """Grabs frames in a thread of its own, since OpenCV's read may block for ten seconds; a video file is repeated."""

    def __init__(self, setup: CameraSetup) -> None:
        """Keep the setup; read the calibration, if there is one. Raises MotoError for a bad file."""
        self._setup = setup
        self._calibration = read_calibration(Path(setup.calibration).expanduser()) if setup.calibration else None
        self._size = (setup.width, setup.height)
        self._grabber: Grabber | None = None

    def open(self) -> None:
        """Open the camera and start to grab. Raises CameraLost."""
        name = self._setup.device
        capture = cv2.VideoCapture(int(name)) if name.isdecimal() else cv2.VideoCapture(name)
        if not capture.isOpened():
            capture.release()
            raise CameraLost(
                self._message(f"cannot be opened as '{name}'; check that it exists and that no other program uses it")
            )
        file = Path(name).is_file()
        if not file:
            self._set(capture)
        self._check_size(capture)
        self._grabber = Grabber(capture, self._setup.period if file else 0.0, self._setup.name)

    def _set(self, capture: cv2.VideoCapture) -> None:
        setup = self._setup
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if setup.width and setup.height:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, setup.width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, setup.height)
        capture.set(cv2.CAP_PROP_FPS, setup.rate)
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL if setup.exposure else AUTOMATIC)
        capture.set(cv2.CAP_PROP_AUTO_WB, float(not setup.white_balance))
        if setup.exposure:
            self._fix(capture, cv2.CAP_PROP_EXPOSURE, setup.exposure / EXPOSURE, "exposure")
        if setup.white_balance:
            self._fix(capture, cv2.CAP_PROP_WB_TEMPERATURE, setup.white_balance, "white_balance")

    def _fix(self, capture: cv2.VideoCapture, key: int, value: float, name: str) -> None:
        if not capture.set(key, value):
            capture.release()
            raise CameraLost(self._message(f"does not take {name} {value:g}; set {name}: 0"))

    def _check_size(self, capture: cv2.VideoCapture) -> None:
        size = (round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        asked = (self._setup.width, self._setup.height)
        if all(asked) and size != asked:
            capture.release()
            found = f"gives {size[0]}x{size[1]} px, expected {asked[0]}x{asked[1]}"
            raise CameraLost(self._message(f"{found}; set width and height to a mode that it has"))
        self._size = size

    def intrinsics(self) -> Intrinsics:
        """Return the calibration of the given file, zeros without one."""
        return self._calibration or uncalibrated(*self._size)

    def read(self, timeout: float) -> Frame | None:
        """Return the next frame, None when none came within `timeout` seconds."""
        if self._grabber is None:
            raise CameraLost(self._message("is not open; open it first"))
        grabbed = self._grabber.frames.get(timeout)
        if grabbed is None:
            if self._grabber.ended:
                raise CameraLost(self._message(f"'{self._setup.device}' has ended; plug it in again"))
            return None
        number, arrival, pixels = grabbed
        return Frame(_rgb(pixels), None, number, 0, arrival)

    def close(self) -> None:
        """Stop grabbing and close the camera."""
        grabber, self._grabber = self._grabber, None
        if grabber is not None:
            grabber.stop()

    def _message(self, text: str) -> str:
        return f"camera '{self._setup.name}' {text}"


def _rgb(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB)


class Grabber:
    """Reads a capture as fast as it gives frames, or one every `period` seconds where it is a file (`period` > 0)."""

    def __init__(self, capture: cv2.VideoCapture, period: float, name: str) -> None:
        """Start the thread."""
        self.frames: Newest[tuple[int, int, np.ndarray]] = Newest()
        self.ended = False
        self._capture, self._period = capture, period
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._grab, name=f"grab {name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; a thread that OpenCV blocks ends by itself once OpenCV returns."""
        self._stopping.set()
        self._thread.join(JOIN_TIMEOUT)

    def _grab(self) -> None:
        number, due = 0, time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic()) if self._period else 0.0):
            due += self._period
            done, pixels = self._read()
            if not done:
                break
            number += 1
            self.frames.put((number, time.time_ns(), pixels))
        self.ended = True
        self._capture.release()

    def _read(self) -> tuple[bool, np.ndarray]:
        done, pixels = self._capture.read()
        if not done and self._period:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            done, pixels = self._capture.read()
        return done, pixels
