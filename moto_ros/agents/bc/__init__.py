"""Behaviour cloning, the baseline that docs/new_agent.md builds step by step."""
