"""ROS shells, one file a node: messages in, calls, messages out. The logic of a node lives in its subject's folder."""
