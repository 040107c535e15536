"""The runs of a benchmark on simulated worlds, each in a process of its own, without ROS."""
