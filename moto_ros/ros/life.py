"""The life of a node's process: start, spin on one thread, say what is wrong in one sentence, leave cleanly."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from moto_ros.errors import MotoError, sentence
from moto_ros.ros.starting import created, is_started
from moto_ros.terminal import replace_unknown_letters

HEARTBEAT = 0.2
"""Seconds after which a signal is noticed at the latest."""


class Finished(Exception):  # noqa: N818 - not an error
    """Raised in a callback to end the node's process: its work is done (status 0) or it cannot go on."""

    def __init__(self, status: int = 0) -> None:
        """Keep the process's exit status."""
        super().__init__(f"finished with status {status}")
        self.status = status


def run(make: Callable[[], Node], arguments: Sequence[str] | None = None) -> int:
    """Make the node, spin it until Ctrl-C, SIGTERM or `Finished`, destroy it; return the exit status.

    A MotoError, or a file that the system refuses, is printed as one sentence and gives status 1.
    """
    replace_unknown_letters()
    if not is_started(arguments, signal_handler_options=SignalHandlerOptions.NO):
        return 1
    _raise_on_signals()
    node: Node | None = None
    try:
        node = created(make)
        return spin(node)
    except (MotoError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr, flush=True)
        return 1
    except Finished as finished:
        return finished.status
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        _ignore_signals()  # a second one must not cut the tidying short
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


def spin(node: Node) -> int:
    """Spin `node` on a single-threaded executor until its context is shut down, see `run` for other ways out."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        # A wait without end in the middleware would not notice a signal: look up now and then.
        while rclpy.ok():
            executor.spin_once(timeout_sec=HEARTBEAT)
    finally:
        executor.shutdown(timeout_sec=1.0)
    return 0


def _raise_on_signals() -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


def _ignore_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
