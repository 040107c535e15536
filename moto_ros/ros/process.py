"""The process of a node: start, spin on one thread, report an error in one sentence, shut down cleanly."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from moto_ros.errors import MotoError, sentence
from moto_ros.ros.log import TextLogger
from moto_ros.ros.starting import created, try_init
from moto_ros.stopping import StopFlag, handle_signals
from moto_ros.terminal import replace_unknown_letters

HEARTBEAT = 0.2
"""Seconds after which a signal is noticed at the latest."""


class Finished(Exception):  # noqa: N818 - not an error
    """Raised in a callback to end the node's process: its work is done (status 0) or it cannot continue."""

    def __init__(self, status: int = 0) -> None:
        """Keep the process's exit status."""
        super().__init__(f"finished with status {status}")
        self.status = status


def run(make: Callable[[], Node], arguments: Sequence[str] | None = None) -> int:
    """Make the node, spin it until Ctrl-C, SIGTERM, SIGHUP or `Finished`, destroy it; return the exit status.

    A MotoError, or a file that the system refuses, is printed as one sentence and gives status 1. Signals stay a flag
    to the end of the process: a second one must not cut the tidying short.
    """
    replace_unknown_letters()
    stop = StopFlag()
    handle_signals(stop.set)
    if not try_init(arguments, signal_handler_options=SignalHandlerOptions.NO):
        return 1
    node: Node | None = None
    try:
        node = created(make)
        return spin(node, stop)
    except (MotoError, OSError) as error:
        _say_error(sentence(error), node)
        return 1
    except Finished as finished:
        return finished.status
    except ExternalShutdownException:
        return 0
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


def _say_error(text: str, node: Node | None) -> None:
    """Log why the node ends, at the level that no setting hides; without a node, print it."""
    if node is None:
        print(f"error: {text}", file=sys.stderr, flush=True)
    else:
        TextLogger(node.get_logger()).fatal(f"error: {text}")


def spin(node: Node, stop: StopFlag) -> int:
    """Spin `node` on a single-threaded executor until `stop` is set or its context is shut down; see `run`."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        # An indefinite wait in the middleware would not notice a signal.
        while rclpy.ok() and not stop:
            executor.spin_once(timeout_sec=HEARTBEAT)
    finally:
        executor.shutdown(timeout_sec=1.0)
    return 0
