"""ROS shells, one file a node: each turns messages into calls and back. What needs no ROS lies beside them."""
