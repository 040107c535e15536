"""Human input: devices, buttons, taking over from the policy, and the uncertainty guard. No ROS."""
