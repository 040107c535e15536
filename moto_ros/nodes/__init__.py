"""ROS shells, one file per node: messages in, calls, messages out. A node's logic is in the folder of its subject."""
