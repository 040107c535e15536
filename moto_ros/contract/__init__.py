"""The vocabulary that all share: topic and service names, episode numbers, purposes and outcomes. No ROS."""
