"""Topics that only the simulator and its scripted expert speak."""

EXPERT_ACTION = "sim/expert_action"
"""moto_msgs/Action: what the scripted expert would do in the observation whose stamps it carries."""
