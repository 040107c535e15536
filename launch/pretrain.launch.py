"""Pre-train a policy from bags, without a robot."""

from launch import LaunchDescription

from moto_ros.systems.launching import launch_system


def generate_launch_description() -> LaunchDescription:
    """Describe the system 'pretrain' of moto_ros/systems/bringup.py."""
    return launch_system("pretrain")
