"""How it learns: run folder, learner, conductor, checkpoints, metrics, evaluation and the report. No ROS."""
