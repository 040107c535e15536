"""Measure a checkpoint's success, without learning."""

from launch import LaunchDescription

from moto_ros.ros.launching import launch_system


def generate_launch_description() -> LaunchDescription:
    """Describe the system 'evaluate' of moto_ros/bringup.py."""
    return launch_system("evaluate")
