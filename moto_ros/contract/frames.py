"""Names of coordinate frames that messages carry. The contract, said once."""

BASE_FRAME = "base"
"""`frame_id` of poses where no robot's settings name another: the arm's base."""
