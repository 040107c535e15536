"""The simulated arm's process and node: they serve, end cleanly, and leave nobody behind."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("franky_sim")

from support.franky_server import FrankyServer, free_address
from support.process import Start, processes

pytestmark = [pytest.mark.ros, pytest.mark.sim]

MODULE = "moto_sim.franka_server"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start nodes' processes; whatever still runs at the end is killed."""
    with processes(tmp_path) as starter:
        yield starter


def taken(address: str) -> bool:
    """Return whether somebody serves the arm's port there."""
    with socket.socket() as probe:
        return probe.connect_ex((address, 1337)) == 0


def left(address: str, timeout: float = 15.0) -> bool:
    """Return whether the port becomes free in time."""
    end = time.monotonic() + timeout
    while taken(address) and time.monotonic() < end:
        time.sleep(0.05)
    return not taken(address)


def test_node_serves_and_ends_cleanly(start: Start) -> None:
    """An arm's process that outlives its system takes the address from the next one."""
    address = free_address()
    node = start(MODULE, {"address": address})
    node.says(f"serves on {address}", timeout=90.0)
    assert taken(address)
    assert node.stop() == 0
    assert not taken(address)


def test_killed_node_takes_the_arm_with_it(start: Start) -> None:
    """A killed system must not leave a process that holds the ports."""
    address = free_address()
    node = start(MODULE, {"address": address})
    node.says(f"serves on {address}", timeout=90.0)
    node.kill()
    assert left(address)


def test_taken_address_is_said(start: Start) -> None:
    """Two systems on one computer need two addresses."""
    server = FrankyServer()
    try:
        node = start(MODULE, {"address": server.address})
        assert node.wait(90.0) == 1
        assert "stop the server that runs there" in node.output()
    finally:
        server.kill()
