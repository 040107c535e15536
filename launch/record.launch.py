"""Record demonstrations: robot side, scripted expert, recorder."""

from launch import LaunchDescription

from moto_ros.systems.launching import launch_system


def generate_launch_description() -> LaunchDescription:
    """Describe the system 'record' of moto_ros/systems/bringup.py."""
    return launch_system("record")
