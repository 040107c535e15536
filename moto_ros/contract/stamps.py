"""Time stamps in nanoseconds, as ROS messages carry them. No ROS."""

from __future__ import annotations

from typing import Any

NSEC_PER_SEC = 1_000_000_000

FIRST_STAMP = NSEC_PER_SEC
"""Stamp (ns) of the first observation where no clock gives one; a stamp of zero means "unknown" in ROS."""


def to_nanoseconds(stamp: Any) -> int:
    """Return a ROS time or duration (`sec`, `nanosec`) in nanoseconds."""
    return int(stamp.sec) * NSEC_PER_SEC + int(stamp.nanosec)
