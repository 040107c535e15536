"""What moves: the interface of an arm, its limits, and the guard between commands and the driver. No ROS."""
