"""Topics between the simulator and the script node alone."""

EXPERT_ACTION = "sim/expert_action"
"""moto_msgs/Action: the scripted expert's action for the observation whose stamps it has."""
