"""Recorded and live data: episodes, the step assembler, bags and the replay store. No ROS, no PyTorch."""
