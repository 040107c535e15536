"""Starts a node's process: `python -m moto_ros.ros.start MODULE --ros-args ...`, and the console scripts of all nodes.

Signals and the death of the parent process end it from the start, also while it imports, which takes seconds.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial

from moto_ros.screen import make_output_nonblocking, screens
from moto_ros.stopping import handle_signals, leave_with_success, watch_parent


def start(module: str) -> None:
    """Run the node whose `main` is in `module`."""
    handle_signals(leave_with_success)
    watch_parent()
    make_output_nonblocking()
    with screens():
        importlib.import_module(module).main()


def __getattr__(name: str) -> Callable[[], None]:
    """Return the program of a node of this package, for its console script."""
    if not name.endswith("_node"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return partial(start, f"moto_ros.nodes.{name}")


if __name__ == "__main__":
    start(sys.argv.pop(1))
