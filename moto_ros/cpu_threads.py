"""OpenMP environment of every process that learns or acts: how the CPU threads of PyTorch wait for each other."""

from __future__ import annotations

import os

OPENMP_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which a person chooses how OpenMP's threads wait at a barrier."""

BRIEF_SPIN = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
"""Wait some microseconds by spinning, then by sleeping. GNU OpenMP's default spins for milliseconds: while one thread
of a small update waits for a core that another process uses, the others take the time that it needs."""


def openmp_environment() -> dict[str, str]:
    """Return the variables that let several threads learn beside other processes; none where a person has set one."""
    return {} if any(os.environ.get(name) for name in OPENMP_WAITING) else dict(BRIEF_SPIN)
