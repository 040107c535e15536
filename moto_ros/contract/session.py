"""The number that tells a running system from others that share its topics. No ROS."""

from __future__ import annotations

import secrets
import time

RANDOM_BITS = 20
"""Lowest bits of a session: they tell apart systems that start in the same millisecond."""


def new_session() -> int:
    """Return the session of a system that starts now: milliseconds since 1970, then random bits; below 2**62.

    So of two systems the one that started later has the greater number. It is no seed: nothing random depends on it.
    """
    return (time.time_ns() // 1_000_000) << RANDOM_BITS | secrets.randbits(RANDOM_BITS)


def started(session: int) -> int:
    """Return when the system of a session started, in milliseconds since 1970."""
    return session >> RANDOM_BITS
