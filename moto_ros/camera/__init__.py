"""Cameras: their interface and drivers, and the checks of every frame. No ROS."""
