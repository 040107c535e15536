"""The driver of Franka arms (FR3, Panda) as the registry names it: what it needs, what is checked before."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, ClassVar

from moto_ros.errors import MotoError
from moto_ros.registry import Requirement
from moto_ros.robot.driver import ArmDriver
from moto_ros.robot.franka_settings import FrankaSettings
from moto_ros.robot.interface import Arm
from moto_ros.robot.limits import RobotSettings

ARM_PORT = 1337
"""The TCP port on which a Franka arm serves its driver while FCI is active."""

ARM_TIMEOUT = 5.0
"""Seconds in which an arm must accept a connection."""

REALTIME = Path("/sys/kernel/realtime")


class FrankaDriver(ArmDriver):
    """FR3 and Panda through franky, which is imported when the arm is made."""

    settings_class: ClassVar[type[RobotSettings]] = FrankaSettings
    requires: ClassVar[Requirement | None] = Requirement("franky", "pip install 'moto_ros[franka]'")

    @classmethod
    def make(cls, settings: Any) -> Arm:
        """Return the arm, not connected yet."""
        from moto_ros.robot.franka_arm import FrankaArm

        return FrankaArm(settings)

    @classmethod
    def check_connection(cls, settings: Any) -> None:
        """Raise MotoError where the arm could not be connected to: the kernel, the address, or FCI."""
        host = settings.host
        if settings.realtime and not has_realtime_kernel():
            raise MotoError(
                f"franka node: parameter 'realtime' is true, but this computer's kernel ({os.uname().release}) is not "
                "real-time; install a real-time kernel, or set realtime to false"
            )
        try:
            socket.create_connection((host, ARM_PORT), timeout=ARM_TIMEOUT).close()
        except socket.gaierror as error:
            raise MotoError(
                f"franka node: parameter 'host' is '{host}', which is no known address ({error.strerror}), expected "
                "the arm's; correct it in the robot file, or -p franka.host:=..."
            ) from error
        except OSError as error:
            raise MotoError(
                f"franka node: no arm answers at {host}:{ARM_PORT} ({error.strerror or error}), expected a Franka "
                f"arm with FCI active; check power, cable and address, then `moto doctor --host {host}`"
            ) from error


def has_realtime_kernel() -> bool:
    """Return whether the kernel is real-time, without which the driver of a Franka arm refuses by default."""
    told = REALTIME.is_file() and REALTIME.read_text(encoding="utf-8").strip() == "1"
    return told or "PREEMPT_RT" in os.uname().version
