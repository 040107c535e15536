"""One suite for every robot side: simulator, arm, and whatever somebody adds. docs/new_robot.md says how."""
