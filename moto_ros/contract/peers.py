"""Parameters that every node has: which running system it is part of, and whom it waits for."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.config import parameter


@dataclass(frozen=True)
class Peers:
    """The system that a node is part of, and the nodes it waits for."""

    session: int = parameter(0, "which running system the node is part of; 0: started by hand", low=0, high=2**62)
    wait_for: tuple[str, ...] = parameter((), "nodes that must be connected before this one is ready")
