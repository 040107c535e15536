"""Registry of arms: the driver class of each, by name."""

from __future__ import annotations

from moto_ros.errors import MotoError
from moto_ros.registry import Registry
from moto_ros.robot.driver import ArmDriver
from moto_ros.robot.interface import Arm
from moto_ros.robot.limits import RobotSettings

DEFAULT_ARM = "franka"

ARMS: Registry[ArmDriver] = Registry(
    "arm", "moto_ros.arms", ArmDriver, {DEFAULT_ARM: "moto_ros.robot.franka:FrankaDriver"}
)


def make_arm(name: str, settings: RobotSettings) -> Arm:
    """Return the arm called `name`, not connected yet.

    Raises MotoError for an unknown name, where its package is not installed or cannot be imported, and where the
    settings are those of an arm with another number of joints.
    """
    with ARMS.using(name) as driver:
        if driver.requires is not None:
            driver.requires.require(f"arm '{name}'")
        arm = driver.make(settings)
    found = {"joint_names": len(arm.joint_names), "chain": len(arm.chain)}
    for attribute, joints in found.items():
        if joints != settings.joints:
            raise MotoError(
                f"arm '{name}': parameter 'home' has {settings.joints} entries, but the arm's {attribute} has "
                f"{joints}, expected the same number; fix the robot's file"
            )
    return arm
