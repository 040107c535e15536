"""Figures and one self-contained page of the results of a run. No ROS."""
