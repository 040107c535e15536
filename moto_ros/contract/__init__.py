"""Shared vocabulary: topic and service names, episode numbers, purposes and outcomes. No ROS."""
