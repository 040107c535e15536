"""What sees: the interface of a camera, its drivers, and the checks of every frame. No ROS."""
