"""Driver class of Franka arms (FR3, Panda) for the registry: its parameters, its package, and the checks before."""

from __future__ import annotations

import os
import socket
from typing import Any, ClassVar

from moto_ros.errors import MotoError
from moto_ros.registry import Requirement
from moto_ros.robot import franka_checks
from moto_ros.robot.driver import ArmDriver
from moto_ros.robot.franka_settings import FrankaSettings
from moto_ros.robot.interface import Arm
from moto_ros.robot.limits import RobotSettings


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
        """Raise MotoError where the kernel is not real-time, the address is unknown, or no arm answers there."""
        host = settings.host
        if settings.realtime and not franka_checks.has_realtime_kernel():
            raise MotoError(
                f"franka node: parameter 'realtime' is true, but this computer's kernel ({os.uname().release}) is not "
                "real-time; install a real-time kernel, or set realtime to false"
            )
        try:
            franka_checks.require_answer(host)
        except socket.gaierror as error:
            raise MotoError(
                f"franka node: parameter 'host' is '{host}', which is not a known address ({error.strerror}), expected "
                "the arm's; correct it in the robot's file, or give -p franka.host:=..."
            ) from error
        except OSError as error:
            raise MotoError(
                f"franka node: no arm answers at {host}:{franka_checks.ARM_PORT} ({error.strerror or error}), expected "
                f"a Franka arm with FCI active; check power, cable and address, then `moto doctor --host {host}`"
            ) from error
