"""ROS shells, one file a node: messages in, calls, messages out. The logic of node X lives in the folder of its subject."""
