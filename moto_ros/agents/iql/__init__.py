"""Implicit Q-learning, the model-free baseline."""
