"""Starts of a system: time until five nodes that start at once are connected, and the number of starts that fail.

The nodes have as many topics and services between them as those of a run, but do no work; the discovery range is the
one that users have. Compared are the profile that `moto` and the launch files set, and Fast DDS's own transports.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from result import write
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from moto_ros.ros.discovery import Readiness
from moto_ros.systems.transport import MODE, PROFILE_FILE, environment

NODES = ("sim", "recorder", "policy", "episode", "trainer")
TOPICS = 5
"""Topics that each node publishes and all others read."""

START_TIMEOUT = 15.0
"""Seconds after which a start has failed: successful ones take two, failed ones never end."""

LINGER = 1.0
"""Seconds that a connected node keeps running, so that the others discover that it is ready."""

VARIABLES = (*PROFILE_FILE, MODE, "ROS_AUTOMATIC_DISCOVERY_RANGE")
DOMAINS = range(60, 90)


def transports() -> dict[str, dict[str, str]]:
    """Return the environment of each transport that is compared, by name."""
    for name in VARIABLES:
        os.environ.pop(name, None)
    return {"moto_ros": environment(), "LARGE_DATA": {MODE: "LARGE_DATA"}, "DEFAULT": {MODE: "DEFAULT"}}


def start(variables: Mapping[str, str]) -> float:
    """Start five nodes at once; return the seconds until all are ready, infinite if that fails."""
    fork = multiprocessing.get_context("fork")
    began, ends, processes = time.monotonic(), [], []
    for name in NODES:
        here, there = fork.Pipe(duplex=False)
        processes.append(fork.Process(target=live, args=(name, variables, began, there)))
        processes[-1].start()
        there.close()
        ends.append(here)
    times = [seconds_of(end) for end in ends]
    for process in processes:
        process.join()
    return max(times)


def seconds_of(end: Connection) -> float:
    """Return a node's answer, infinite if it ended without one."""
    try:
        return float(end.recv())
    except EOFError:
        return float("inf")


def live(name: str, variables: Mapping[str, str], began: float, answer: Connection) -> None:
    """Run one node until all are ready or the time-out; answer with the seconds that it took."""
    os.environ.update(variables)
    rclpy.init()
    node = Node(name, namespace="/start")
    connect(node)
    ready, executor = Readiness(node, NODES), SingleThreadedExecutor()
    executor.add_node(node)
    taken = float("inf")
    while taken == float("inf") and time.monotonic() < began + START_TIMEOUT:
        executor.spin_once(timeout_sec=0.1)
        if len(ready.ready_nodes()) == len(NODES):
            taken = time.monotonic() - began
    answer.send(taken)
    linger(executor)
    rclpy.try_shutdown()


def connect(node: Node) -> None:
    """Create publishers, subscriptions to all other nodes, a service, and clients of the other nodes' services."""
    others = [name for name in NODES if name != node.get_name()]
    node.create_service(Trigger, f"{node.get_name()}/do", lambda _, response: response)
    for index in range(TOPICS):
        node.create_publisher(JointState, f"{node.get_name()}/state_{index}", 10)
    for other in others:
        node.create_client(Trigger, f"{other}/do")
        for index in range(TOPICS):
            node.create_subscription(JointState, f"{other}/state_{index}", lambda _: None, 10)


def linger(executor: SingleThreadedExecutor) -> None:
    """Spin for LINGER seconds."""
    end = time.monotonic() + LINGER
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)


def measure(variables: Mapping[str, str], starts: int, domains: Any) -> dict[str, float]:
    """Return how many of `starts` starts failed, and the quantiles of the seconds that the others took."""
    times = np.array([start({**variables, "ROS_DOMAIN_ID": next(domains)}) for _ in track(range(starts), "starts")])
    good = times[np.isfinite(times)]
    counts: dict[str, float] = {"starts": starts, "failed": starts - len(good)}
    if not len(good):
        return counts
    median, late, last = np.round(np.quantile(good, (0.5, 0.95, 1.0)), 2)
    return {**counts, "median_s": float(median), "p95_s": float(late), "max_s": float(last)}


def show(results: Mapping[str, Mapping[str, float]]) -> None:
    """Print the table."""
    columns = ("starts", "failed", "median_s", "p95_s", "max_s")
    table = Table("transport", *columns, title="Starts of five nodes at once")
    for name, found in results.items():
        table.add_row(name, *(f"{found[column]:g}" if column in found else "" for column in columns))
    Console().print(table)


def main() -> int:
    """Print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=40, help="starts of each transport")
    parser.add_argument("--only", choices=("moto_ros", "LARGE_DATA", "DEFAULT"), help="one transport alone")
    parser.add_argument("--domain", type=int, help="the one ROS domain to use; default: a range of them in turn")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    domains = (str(number) for number in cycle(DOMAINS if options.domain is None else [options.domain]))
    chosen = {name: made for name, made in transports().items() if options.only in (None, name)}
    results = {name: measure(variables, options.starts, domains) for name, variables in chosen.items()}
    show(results)
    write(results, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
