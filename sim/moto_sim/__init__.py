"""MuJoCo worlds and the node that replaces robot and camera."""
