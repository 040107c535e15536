"""How it learns: run folder, learner, schedule, checkpoints, metrics, evaluation and the report. No ROS."""
