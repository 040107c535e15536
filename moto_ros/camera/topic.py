"""Camera driven by another node: its sensor_msgs images are checked and relayed under the contract's names."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moto_ros.camera.calibration import read_calibration, uncalibrated
from moto_ros.camera.interface import CameraDriver, CameraLost, CameraSetup, Frame, Intrinsics
from moto_ros.camera.newest import Newest
from moto_ros.contract.stamps import to_nanoseconds
from moto_ros.data.decode import decode_rgb
from moto_ros.errors import MotoError


class TopicCamera(CameraDriver):
    """The node's subscriptions pass messages in, on its executor's thread; the camera's thread decodes them."""

    def __init__(self, setup: CameraSetup) -> None:
        """Keep the setup; read the calibration, if there is one. Raises MotoError for a bad file."""
        self._setup = setup
        self.image_topic, self.info_topic = setup.device, info_topic(setup.device)
        self._images: Newest[tuple[int, int, Any]] = Newest()
        self._calibration = read_calibration(Path(setup.calibration).expanduser()) if setup.calibration else None
        self._size = (setup.width, setup.height)
        self._number = 0
        self.publishers: Callable[[], int] = lambda: 1

    @classmethod
    def check(cls, setup: CameraSetup) -> None:
        """Raise MotoError where `setup` asks for what only the other node's driver can set."""
        super().check(setup)
        if setup.exposure or setup.white_balance:
            raise MotoError(
                f"camera '{setup.name}' is a topic, exposure and white balance belong to its own driver; set 0"
            )

    def image(self, message: Any) -> None:
        """Take a sensor_msgs Image or CompressedImage; if the queue is full, the oldest one is dropped."""
        self._number += 1
        self._images.put((self._number, time.time_ns(), message))

    def camera_info(self, message: Any) -> None:
        """Take the calibration that comes with the images, unless a file is given."""
        if self._setup.calibration:
            return
        k, size = message.k, (message.width, message.height)
        distortion = tuple(float(value) for value in message.d)
        self._calibration = Intrinsics(*size, k[0], k[4], k[2], k[5], message.distortion_model, distortion)

    def open(self) -> None:
        """Begin with the messages from now on. Raises CameraLost when nobody publishes the topic."""
        self._images.clear()
        if not self.publishers():
            raise CameraLost(self._message("has no publisher; start that camera's driver, or correct `devices`"))

    def intrinsics(self) -> Intrinsics:
        """Return the calibration of the file or of the topic's neighbour camera_info, zeros until there is one."""
        return self._calibration or uncalibrated(*self._size)

    def read(self, timeout: float) -> Frame | None:
        """Return the next frame, None when none came within `timeout` seconds."""
        found = self._images.get(timeout)
        if found is None:
            return None
        number, arrival, message = found
        try:
            colour = decode_rgb(message)
        except MotoError as error:
            raise CameraLost(self._message(f"sends an image that cannot be decoded: {error}")) from error
        self._size = self._checked((colour.shape[1], colour.shape[0]))
        return Frame(colour, None, number, to_nanoseconds(message.header.stamp), arrival, synchronised=True)

    def _checked(self, size: tuple[int, int]) -> tuple[int, int]:
        asked = (self._setup.width, self._setup.height)
        if all(asked) and size != asked:
            found = f"sends {size[0]}x{size[1]} px, expected {asked[0]}x{asked[1]}"
            raise CameraLost(self._message(f"{found}; set width and height to that size, or to 0"))
        return size

    def close(self) -> None:
        """Drop the queued messages."""
        self._images.clear()

    def _message(self, text: str) -> str:
        return f"camera '{self._setup.name}': topic {self._setup.device} {text}"


def info_topic(image: str) -> str:
    """Return the calibration topic that goes with an image topic by ROS's convention: its neighbour."""
    base = image.removesuffix("/compressed").rsplit("/", 1)
    return "/".join([*base[:-1], "camera_info"])
