"""What a run did, as figures and one self-contained page. No ROS."""
