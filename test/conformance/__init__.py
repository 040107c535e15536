"""Conformance suite for every robot side: the simulator, an arm, and yours; docs/new_robot.md says how to add it."""
