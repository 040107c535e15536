"""Checks before a Franka arm is connected: the kernel, and whether its port answers. Standard library only."""

from __future__ import annotations

import os
import socket
from pathlib import Path

ARM_PORT = 1337
"""TCP port on which a Franka arm serves its driver while FCI is active."""

ARM_TIMEOUT = 5.0
"""Seconds that the arm has to answer."""

REALTIME = Path("/sys/kernel/realtime")
"""Holds 1 where the kernel is real-time."""


def has_realtime_kernel() -> bool:
    """Return whether the kernel is real-time, without which the driver of a Franka arm refuses by default."""
    says_so = REALTIME.is_file() and REALTIME.read_text(encoding="utf-8").strip() == "1"
    return says_so or "PREEMPT_RT" in os.uname().version


def require_answer(host: str) -> None:
    """Open a connection to the arm at `host` and close it again. Raises OSError where nothing answers."""
    socket.create_connection((host, ARM_PORT), timeout=ARM_TIMEOUT).close()
