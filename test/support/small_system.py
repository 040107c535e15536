"""`moto` with a system of small processes: python -m support.small_system FOLDER STOP_TIME NODE..."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from moto_ros.cli import main as cli
from moto_ros.cli import systems
from moto_ros.stopping import as_parent
from moto_ros.systems import processes
from moto_ros.systems.bringup import NodeKind, Process, System
from moto_ros.systems.phases import SystemPhase
from support import small_node

KIND = NodeKind("test", "small_node", "support.small_node", "support.small_node:Settings")


def small_system(folder: Path, nodes: list[str]) -> System:
    """Return the system."""
    files = {node: folder / "config" / f"{node}.yaml" for node in nodes}
    made = tuple(Process(node, KIND, {}, file) for node, file in files.items())
    return System("record", made, as_parent(), "test", folder, "moto")


def main() -> int:
    """Run the system as `moto record` runs its own."""
    folder, stop_time, *nodes = sys.argv[1:]
    os.environ[small_node.FOLDER] = folder
    processes.STOP_TIME = int(stop_time)
    systems.single_phase = lambda name, given: iter([SystemPhase("small nodes", small_system(Path(folder), nodes))])
    return cli.main(["record"])


if __name__ == "__main__":
    sys.exit(main())
