"""Reports of runs: figures, and one self-contained page. No ROS."""
