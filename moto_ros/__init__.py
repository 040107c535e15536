"""moto_ros: pre-train a world-model policy from rosbags, then fine-tune it live on the robot."""

__version__ = "0.1.0"
