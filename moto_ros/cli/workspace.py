"""`moto workspace`: measures the box that an arm may move in, guided by hand, and writes it into a robot file."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from moto_ros.cli.arguments import OVERRIDES, add_arguments, given_arguments
from moto_ros.config import shipped
from moto_ros.errors import MotoError, require_writable
from moto_ros.robot.workspace import HIGH, LOW, GuidedBox, write_box
from moto_ros.ros.startup import check_start, faults, refuse
from moto_ros.stopping import StopFlag, signals_handled_by
from moto_ros.systems.bringup import checked_arguments, resolve
from moto_ros.systems.preflight import check_arm
from moto_ros.systems.processes import Child, stop_children, watched_by_guardian

ROBOT_SIDE = ("franka_server", "franka")
"""The nodes of a backend that are started: those that measure the arm."""

WIDE_BOX = 2.0
"""Half the edge, m, of the box that the arm's node is started with; nothing commands the arm."""

STATE_TIME = 60.0
"""Seconds until a first robot state must have come."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_arguments(parser, only=("backend", "robot", "namespace", "domain"))
    parser.set_defaults(backend="franka")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="robot file to write")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    parser.add_argument(
        "--margin", type=float, default=0.01, help="m between box and farthest positions (default: 0.01)"
    )
    parser.add_argument("--duration", type=float, default=300.0, help="s to measure; Ctrl-C ends it too (default: 300)")
    parser.add_argument("--listen", action="store_true", help="use a robot node that runs already; start none")


def run(options: argparse.Namespace) -> int:
    """Watch while the arm is guided, then write the robot file."""
    refuse(faults(os.environ))
    given = given_arguments(options)
    arguments = checked_arguments(given)
    if options.output.exists() and not options.force:
        raise MotoError(f"{options.output} exists and is kept; give another --output, or --force to overwrite it")
    require_writable(options.output)  # before a person guides the arm for nothing
    stop = StopFlag()
    robot_side = contextlib.nullcontext() if options.listen else _robot_side(given)
    with signals_handled_by(stop.set), robot_side as session:
        box = _watch(arguments["namespace"], options.duration, session, stop)
    if stop.number not in (0, signal.SIGINT):
        return stop.status  # the box may not be complete
    write_box(shipped("robots", arguments["robot"]), options.output, box.corners(options.margin), options.force)
    print(f"wrote {options.output}: {box.describe()}, {options.margin:g} m less on each side")
    return 0


@contextlib.contextmanager
def _robot_side(given: dict[str, str]) -> Iterator[int]:
    """Run the arm's node, idle, with a large box until the real one is measured; give its session."""
    low, high = (f"[{edge},{edge},{edge}]" for edge in (-WIDE_BOX, WIDE_BOX))
    wide = f"franka.{LOW}:={low} franka.{HIGH}:={high} wait_for:=[]"
    with tempfile.TemporaryDirectory() as folder:
        overrides = f"{given.get(OVERRIDES, '')} {wide}"
        system = resolve("record", given | {"run": folder, OVERRIDES: overrides})
        system.write_parameters()
        chosen = [process for process in system.processes if process.node in ROBOT_SIDE]
        for process in chosen:
            process.check(system.agent)
        check_start({**os.environ, **system.environment}, system.namespace)
        check_arm({process.node: process.built(system.agent) for process in chosen})
        started: list[Child] = []
        with watched_by_guardian() as guarded:
            try:
                for process in chosen:
                    started.append(Child(process, system))
                    guarded.add(started[-1].pid)
                yield int(str(chosen[-1].parameters["session"]))
            finally:
                stop_children(started)


def _watch(namespace: str, duration: float, session: int | None, stop: StopFlag) -> GuidedBox:
    """Return the box `duration` s after the first state, or at a signal. MotoError when no robot state comes.

    Only states of the system `session` count; without one those of the first system that sends any.
    """
    # Not at the top: with a middleware that is not installed, importing rclpy ends the process.
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from moto_ros.nodes.workspace_watch import WorkspaceWatch
    from moto_ros.ros.starting import init

    names = ["--ros-args", "-r", f"__ns:=/{namespace.strip('/')}"]
    init(names, signal_handler_options=SignalHandlerOptions.NO)
    box = GuidedBox()
    node, executor = WorkspaceWatch(box, session), SingleThreadedExecutor()
    executor.add_node(node)
    end = time.monotonic() + STATE_TIME
    try:
        while time.monotonic() < end and not stop:
            known = box.count
            executor.spin_once(timeout_sec=0.2)
            end = time.monotonic() + duration if box.count and not known else end
            sys.stdout.write(f"\r{box.describe()}   ")
            sys.stdout.flush()
        if not box.count and not stop:
            raise MotoError(f"no robot/state in namespace /{namespace} within {STATE_TIME:g} s; see `moto doctor`")
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
        print()
    return box
