"""Two cameras in a process of their own: `python -m support.cameras FRAMES HEIGHT WIDTH` publishes at 30 Hz."""

from __future__ import annotations

import sys
import time

import numpy as np
import rclpy
from sensor_msgs.msg import Image

from moto_ros.contract import topics
from moto_ros.ros import qos
from moto_ros.ros.convert import image_message, to_time

CAMERAS = ("left", "right")
RATE = 30.0


def main() -> None:
    """Wait for a reader of each camera, publish, and stay until all is delivered."""
    frames, height, width = map(int, sys.argv[1:4])
    rclpy.init()
    node = rclpy.create_node("cameras")
    publishers = [node.create_publisher(Image, topics.camera_image(camera), qos.stream_out()) for camera in CAMERAS]
    while not all(publisher.get_subscription_count() for publisher in publishers):
        time.sleep(0.05)
    time.sleep(0.5)
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    start = time.monotonic()
    for number in range(frames):
        time.sleep(max(0.0, start + number / RATE - time.monotonic()))
        for publisher in publishers:
            publisher.publish(image_message(pixels, to_time(number), "camera"))
    time.sleep(3.0)
    rclpy.shutdown()


if __name__ == "__main__":
    main()
