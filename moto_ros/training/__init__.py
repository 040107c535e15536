"""Training: run folder, schedule, learner, checkpoints, metrics and evaluation. No ROS."""
