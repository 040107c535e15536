"""The transport that every process of a system gets: nodes that start together connect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moto_ros.systems.transport import MODE, PROFILE_FILE, environment

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[1]
TCP_SOCKETS = """
import os, socket, stat
import rclpy
is_socket = lambda path: stat.S_ISSOCK(os.stat(path).st_mode)
rclpy.init()
node = rclpy.create_node("one")
paths = ("/proc/self/fd/" + name for name in os.listdir("/proc/self/fd"))
handles = [int(os.path.basename(path)) for path in paths if os.path.exists(path) and is_socket(path)]
sockets = [socket.socket(fileno=handle) for handle in handles]
print(sum(one.family == socket.AF_INET and one.type == socket.SOCK_STREAM for one in sockets), flush=True)
os._exit(0)
"""


def run(*command: str, **changed: str) -> str:
    """Run a Python program as a user's process does: in the default discovery range, with the variables given."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": paths, **changed}
    variables.pop("ROS_AUTOMATIC_DISCOVERY_RANGE", None)
    done = subprocess.run(
        [sys.executable, *command], env=variables, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def test_discovery_needs_no_tcp_connection() -> None:
    """Over TCP, two nodes that start together sometimes never hear of each other's topics, and a run hangs."""
    assert int(run("-c", TCP_SOCKETS, **{MODE: "LARGE_DATA"})) > 0
    assert int(run("-c", TCP_SOCKETS, **environment())) == 0


def test_five_nodes_that_start_at_once_connect_in_the_discovery_range_that_users_have(
    ros_domain: int, tmp_path: Path
) -> None:
    """All other tests stay on this machine, where ROS replaces the transports; a user's run does not."""
    figures = tmp_path / "start.json"
    options = ("--starts", "3", "--only", "moto_ros", "--domain", str(ros_domain), "--json", str(figures))
    run(str(ROOT / "bench" / "bench_start.py"), *options)
    assert json.loads(figures.read_text())["moto_ros"]["failed"] == 0


@pytest.mark.parametrize("name", [*PROFILE_FILE, MODE])
def test_what_a_person_has_set_for_the_middleware_is_kept(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable in (*PROFILE_FILE, MODE):
        monkeypatch.delenv(variable, raising=False)
    assert set(environment()) == set(PROFILE_FILE)
    monkeypatch.setenv(name, "mine")
    assert environment() == {}
