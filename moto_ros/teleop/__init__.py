"""A person at the robot: input, buttons, take-over, and the guard that asks for a person. No ROS."""
