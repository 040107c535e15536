"""The topics of one camera: its thread makes the messages, the node's executor publishes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from moto_msgs.msg import CameraHealth
from moto_ros.camera.interface import Camera, CameraSetup, Frame, Intrinsics, RelayedCamera
from moto_ros.camera.newest import Newest
from moto_ros.camera.node_settings import CameraNodeSettings
from moto_ros.camera.sources import make_camera
from moto_ros.camera.stream import Stream
from moto_ros.contract import topics
from moto_ros.errors import MotoError
from moto_ros.ros import qos
from moto_ros.ros.convert import camera_info, depth_message, image_message, jpeg_message, optical_frame, to_time
from moto_ros.ros.node import MotoNode

QUEUE_SIZE = 3
"""Frames that may wait for the executor; the oldest is dropped."""

RELAY_DEPTH = 5
"""Messages of another node's camera that may wait; its publisher may only offer best effort (ROS's sensor data)."""

COUNT_FIELDS = ("frames", "lost", "late", "repeated", "frozen", "out_of_order", "clock_jumps", "reconnects")
"""Counts that the health message has fields for, by the same names."""


@dataclass(frozen=True)
class Shot:
    """One exposure as messages."""

    image: Any
    info: CameraInfo
    depth: Image | None


class Channel:
    """Owns a camera's stream and publishers."""

    def __init__(self, node: MotoNode[CameraNodeSettings], setup: CameraSetup) -> None:
        """Make the topics; the camera is opened when `start` is called. Raises MotoError for a missing SDK or file."""
        self.setup, self._node, self._settings = setup, node, node.settings
        self._frame_id = optical_frame(setup.name)
        self._shots: Newest[Shot] = Newest(QUEUE_SIZE)
        kind = CompressedImage if self._settings.compressed else Image
        self._image = node.advertise(kind, topics.camera_image(setup.name, self._settings.compressed), qos.stream_out())
        self._info = node.advertise(CameraInfo, topics.camera_info(setup.name), qos.stream_out())
        self._depth = node.advertise(Image, topics.camera_depth(setup.name), qos.stream_out()) if setup.depth else None
        self._health = node.advertise(CameraHealth, topics.camera_health(setup.name), qos.latched())
        self.camera = make_camera(setup)
        self._connect(self.camera)
        self._logged = ""
        self.stream = Stream(self.camera, setup, self._settings, self, self._on_failure)

    def _connect(self, camera: Camera) -> None:
        """Subscribe for a camera that relays another node's topic, or for the disturbances of a synthetic one."""
        disturb = getattr(camera, "disturb", None)
        if disturb is not None:
            self._node.subscribe(String, topics.camera_disturb(self.setup.name), self._on_disturbance, qos.event())
        if isinstance(camera, RelayedCamera):
            self._relay(camera)

    def _relay(self, camera: RelayedCamera) -> None:
        node, topic = self._node, camera.image_topic
        if node.resolve_topic_name(topic) == node.resolve_topic_name(self._image.topic_name):
            raise MotoError(f"camera '{self.setup.name}': device {topic} is the topic it publishes; name another one")
        kind = CompressedImage if topic.endswith("/compressed") else Image
        node.subscribe(kind, topic, camera.image, qos.lossy(RELAY_DEPTH))
        node.subscribe(CameraInfo, camera.info_topic, camera.camera_info, qos.lossy(RELAY_DEPTH))
        camera.publishers = lambda: node.count_publishers(topic)

    def _on_disturbance(self, message: String) -> None:
        try:
            self.camera.disturb(message.data)  # type: ignore[attr-defined]
        except MotoError as error:
            self._node.get_logger().warning(str(error))

    def start(self) -> None:
        """Open the camera and start to take frames."""
        self.stream.start()

    # The camera's thread.

    def take(self, frame: Frame, stamp: int, intrinsics: Intrinsics) -> bool:
        """Make the messages of a frame and queue them for the executor; return whether an older one was dropped."""
        time = to_time(stamp)
        info = camera_info(intrinsics, self._frame_id)
        info.header.stamp = time
        full = self._shots.put(Shot(self._pixels(frame, time), info, self._depth_image(frame, time)))
        if not full:
            self._node.mailbox.post(self._send)
        return full

    def _pixels(self, frame: Frame, time: Any) -> Any:
        if self._settings.compressed:
            return jpeg_message(frame.colour, time, self._frame_id, self._settings.jpeg_quality)
        return image_message(frame.colour, time, self._frame_id)

    def _depth_image(self, frame: Frame, time: Any) -> Image | None:
        return None if frame.depth is None else depth_message(frame.depth, time, self._frame_id)

    def changed(self) -> None:
        """Publish the health soon, from the executor."""
        self._node.mailbox.post(self.publish_health)

    def _on_failure(self, error: Exception) -> None:
        def fail() -> None:
            raise error

        self._node.mailbox.post(fail)

    # The executor.

    def _send(self) -> None:
        shot = self._shots.get(0.0)
        if shot is None or not self._node.alone:
            return  # images carry no session: another system's recorder would take them for its own
        self._info.publish(shot.info)
        self._image.publish(shot.image)
        if self._depth is not None and shot.depth is not None:
            self._depth.publish(shot.depth)

    def publish_health(self) -> None:
        """Publish the health of the camera."""
        status, counts = self.stream.status, self.stream.counts
        message = CameraHealth(camera=self.setup.name, healthy=status.healthy, reason=status.reason, rate=status.rate)
        message.header.stamp = self._node.get_clock().now().to_msg()
        for name in COUNT_FIELDS:
            setattr(message, name, getattr(counts, name))
        self._health.publish(message)

    def log_health_change(self) -> None:
        """Log once what makes the camera unhealthy, and once that it has recovered."""
        status = self.stream.status
        if bool(status.reason) != bool(self._logged):
            self._log_health(status.reason, status.rate)
        self._logged = status.reason

    def _log_health(self, reason: str, rate: float) -> None:
        if reason:
            self._node.get_logger().warning(reason)
        else:
            self._node.get_logger().info(f"camera '{self.setup.name}' runs at {rate:.1f} Hz")

    def figures(self) -> dict[str, object]:
        """Return what the diagnostics show of this camera."""
        name, status = self.setup.name, self.stream.status
        clock = getattr(self.camera, "clock", "") or "of arrival"
        found = {f"{name}_rate": status.rate, f"{name}_delay_ms": 1000 * status.delay, f"{name}_clock": clock}
        return found | self.stream.counts.named(f"{name}_")

    def close(self) -> bool:
        """Stop the camera; return whether it stopped in time."""
        return self.stream.stop()
