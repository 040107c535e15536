"""Pre-train from bags, then fine-tune live on the robot side."""

from launch import LaunchDescription

from moto_ros.systems.launching import launch_system


def generate_launch_description() -> LaunchDescription:
    """Describe the system 'finetune' of moto_ros/systems/bringup.py."""
    return launch_system("finetune")
