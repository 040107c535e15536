"""Arms: their interface and drivers, limits, and the safety supervisor between commands and driver. No ROS."""
