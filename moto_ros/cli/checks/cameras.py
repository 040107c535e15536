"""The cameras: RealSense's driver, and which cameras are connected at which USB speed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from typing import Any

from moto_ros.cli.checks.finding import Finding, good, missing, note


def check_cameras() -> Iterator[Finding]:
    """Yield findings about RealSense cameras."""
    try:
        driver = importlib.import_module("pyrealsense2")
    except ImportError as error:
        advice = "only RealSense cameras need it: pip install 'moto_ros[realsense]', and the package libusb-1.0-0"
        yield note("Camera driver", f"pyrealsense2 does not import ({error})", advice)
        return
    yield good("Camera driver", f"pyrealsense2 {driver.__version__}")
    yield from _devices(driver)


def _devices(driver: Any) -> Iterator[Finding]:
    try:
        found = list(driver.context().query_devices())
    except RuntimeError as error:
        advice = "install librealsense's udev rules, and end other programs that use the cameras"
        advice = advice if os.environ.get("HOME") else "set HOME to a folder: the driver keeps its settings there"
        yield missing("Cameras", f"cannot be listed ({error})", advice)
        return
    if not found:
        yield note("Cameras", "no RealSense camera", "plug one in; cameras that OpenCV opens and image topics work too")
    for device in found:
        yield camera(*(_info(driver, device, name) for name in ("name", "serial_number", "usb_type_descriptor")))


def _info(driver: Any, device: Any, name: str) -> str:
    key = getattr(driver.camera_info, name)
    return str(device.get_info(key)) if device.supports(key) else ""


def camera(name: str, serial: str, usb: str) -> Finding:
    """Return the line for one camera: its model, the serial number that configurations name it by, its USB version."""
    found = f"{name}, serial {serial}, USB {usb or 'unknown'}"
    if usb.startswith("2"):
        return note("Camera", found, "too slow for two streams at 30 Hz: use a USB 3 port and cable, without a hub")
    return good("Camera", found)
