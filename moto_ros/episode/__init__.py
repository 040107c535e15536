"""One episode: its state machine, rewards and pacing. No ROS."""
