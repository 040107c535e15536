"""What every node shares of ROS: names, QoS by meaning, typed parameters, conversions, the life of a node."""
