"""Measure a checkpoint's success, without learning."""

from launch import LaunchDescription

from moto_ros.systems.launching import launch_system


def generate_launch_description() -> LaunchDescription:
    """Describe the system 'evaluate' of moto_ros/systems/bringup.py."""
    return launch_system("evaluate")
