"""Parameters of Franka arms: their own, and their defaults for those that every arm has. No ROS, no driver."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.config import REQUIRED, parameter
from moto_ros.robot.limits import RobotSettings, check_order, check_sizes


@dataclass(frozen=True, kw_only=True)
class FrankaSettings(RobotSettings):
    """A Franka arm: its address, and limits of the forces that it exerts."""

    host: str = parameter(REQUIRED, "address of the arm")
    realtime: bool = parameter(True, "refuse to start on a kernel without real-time scheduling")
    joint_prefix: str = parameter("fr3_joint", "prefix of the joint names, before their number")

    joint_low: tuple[float, ...] = parameter(
        (-2.7, -1.7, -2.8, -3.0, -2.7, 0.6, -2.9), "lower limit of each joint", unit="rad"
    )
    joint_high: tuple[float, ...] = parameter(
        (2.7, 1.7, 2.8, -0.2, 2.7, 4.4, 2.9), "upper limit of each joint", unit="rad"
    )
    home: tuple[float, ...] = parameter(
        (0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398), "joint positions at home", unit="rad"
    )

    # Limits of force and torque.
    translational_stiffness: float = parameter(
        1500.0, "stiffness of Cartesian tracking", unit="N/m", low=10.0, high=3000.0
    )
    rotational_stiffness: float = parameter(
        60.0, "stiffness of Cartesian tracking", unit="N m/rad", low=1.0, high=300.0
    )
    translational_error_clip: float = parameter(
        0.03, "position error above which the force does not grow", unit="m", low=0.001, high=0.2
    )
    rotational_error_clip: float = parameter(
        0.3, "orientation error above which the torque does not grow", unit="rad", low=0.01, high=1.0
    )
    joint_stiffness: tuple[float, ...] = parameter(
        (150.0, 150.0, 150.0, 150.0, 60.0, 60.0, 30.0), "stiffness of joint tracking", unit="N m/rad"
    )
    joint_error_clip: tuple[float, ...] = parameter(
        (0.2,) * 7, "position error of each joint above which its torque does not grow", unit="rad"
    )
    contact_torque: tuple[float, ...] = parameter(
        (15.0, 15.0, 15.0, 15.0, 10.0, 10.0, 10.0), "external torque of each joint that counts as contact", unit="N m"
    )
    collision_torque: tuple[float, ...] = parameter(
        (30.0, 30.0, 30.0, 30.0, 20.0, 20.0, 20.0), "external torque of each joint that stops the arm", unit="N m"
    )
    contact_force: tuple[float, ...] = parameter(
        (15.0, 15.0, 15.0, 15.0, 15.0, 15.0), "external force (N) and torque (N m) that count as contact"
    )
    collision_force: tuple[float, ...] = parameter(
        (30.0, 30.0, 30.0, 30.0, 30.0, 30.0), "external force (N) and torque (N m) that stop the arm"
    )
    load_mass: float = parameter(
        0.0, "mass of the load on the hand that Desk does not know of", unit="kg", low=0.0, high=3.0
    )
    load_center: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0), "centre of mass of that load, in the flange's frame", unit="m"
    )

    @property
    def title(self) -> str:
        """Return what messages call the arm."""
        return f"robot at {self.host}"

    def check(self, source: str) -> None:
        """Raise MotoError, naming `source`, where the settings contradict one another."""
        super().check(source)
        names = ("joint_stiffness", "joint_error_clip", "contact_torque", "collision_torque")
        sizes = dict.fromkeys(names, self.joints) | {"contact_force": 6, "collision_force": 6, "load_center": 3}
        check_sizes(self, source, sizes)
        check_order(self, source, "contact_torque", "collision_torque", "joint 1..")
        check_order(self, source, "contact_force", "collision_force", "x y z")
