"""Acting with an agent: decisions, planning ahead, latency, checkpoints to act by. No ROS."""
