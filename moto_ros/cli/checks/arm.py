"""The arm: its driver and the robots it supports; with an address also kernel, network card, and the arm itself."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.version import Version

from moto_ros.cli.checks.finding import Finding, good, missing, note
from moto_ros.robot import franka_checks

ROUTES = Path("/proc/net/route")
CARDS = Path("/sys/class/net")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
FULL_SPEED = 1000
"""Mbit/s that a network card for the arm should have."""


@dataclass(frozen=True)
class Interface:
    """One version of the arm's interface, the first libfranka that speaks it, and the arms that do."""

    version: int
    libfranka: str
    arms: str


INTERFACES = (
    Interface(10, "0.18.0", "FR3 with system 5.9 or newer"),
    Interface(9, "0.15.0", "FR3 with system 5.7.2 to 5.8"),
    Interface(8, "0.14.1", "FR3 with system 5.7.0 and 5.7.1"),
    Interface(7, "0.13.3", "FR3 with system 5.5 and 5.6"),
    Interface(6, "0.10.0", "FR3 with system 5.2 to 5.4"),
    Interface(5, "0.9.1", "Panda with system 4.2"),
    Interface(4, "0.8.0", "Panda with system 4.0 and 4.1"),
    Interface(3, "0.5.0", "Panda with system 3"),
)
"""From Franka's compatibility page and the driver's own table."""

CONNECT = """
import sys, franky
franky.Robot(sys.argv[1], realtime_config=franky.RealtimeConfig.Ignore)
"""


def check_arm(host: str = "") -> Iterator[Finding]:
    """Yield findings about the arm's driver; with its address also about the arm and the network to it."""
    yield _driver()
    if host:
        yield _kernel()
        yield _governor()
        yield _network_card(host)
        yield _arm(host)


def _driver() -> Finding:
    try:
        found = distribution("franky-control")
    except PackageNotFoundError:
        advice = "only a real or simulated Franka arm needs it: pip install 'moto_ros[franka]'"
        return note("Arm driver", "franky-control is not installed", advice)
    names = (re.search(r"libfranka-\w+\.so\.([\d.]+)$", str(file)) for file in found.files or [])
    version = next((match.group(1) for match in names if match), "")
    if not version:
        return note("Arm driver", f"franky-control {found.version}, libfranka unknown", "compare docs/hardware.md")
    return good("Arm driver", f"franky-control {found.version} with libfranka {version}: {arms_of(version)}")


def arms_of(libfranka: str) -> str:
    """Return which arms a version of libfranka drives."""
    fits = (interface for interface in INTERFACES if Version(libfranka) >= Version(interface.libfranka))
    return next((interface.arms for interface in fits), "no arm that is known")


def _kernel() -> Finding:
    release = os.uname().release
    if franka_checks.has_realtime_kernel():
        return good("Kernel", f"{release}, real-time")
    advice = "a real arm stops with communication violations: install a PREEMPT_RT kernel (docs/hardware.md)"
    return note("Kernel", f"{release}, not real-time", advice)


def _governor() -> Finding:
    if not GOVERNOR.is_file():
        return good("CPU frequency", "no governor")
    found = GOVERNOR.read_text(encoding="utf-8").strip()
    if found == "performance":
        return good("CPU frequency", found)
    advice = "its changes delay the 1 kHz loop: sudo cpupower frequency-set -g performance"
    return note("CPU frequency", f"governor {found}", advice)


def _network_card(host: str) -> Finding:
    try:
        address = socket.gethostbyname(host)
        card, shared = route(address, ROUTES.read_text(encoding="utf-8"))
    except OSError as error:
        return missing("Network card", f"{host}: {error}", "give the arm's address as in Desk, such as 172.16.0.2")
    if address.startswith("127."):
        return good("Network card", f"{host} is this computer")
    if not card:
        return note("Network card", f"none leads to {host}", "give the card of the arm an address in the arm's network")
    speed = _speed(card)
    if shared:
        return note("Network card", f"{card} leads to {host} and to everything else", "give the arm a card of its own")
    if 0 < speed < FULL_SPEED:
        return note("Network card", f"{card} to {host} at {speed} Mbit/s", "use a card and cable for 1 Gbit/s")
    return good("Network card", f"{card} leads to {host} alone")


def route(address: str, table: str) -> tuple[str, bool]:
    """Return the network card that leads to `address` ("" for none), and whether it is also the default route."""
    wanted = struct.unpack("<I", socket.inet_aton(address))[0]
    rows = [line.split() for line in table.splitlines()[1:] if line.strip()]
    routes = [(int(row[7], 16), int(row[1], 16), row[0]) for row in rows]
    default = {card for mask, _, card in routes if mask == 0}
    matching = [(bin(mask).count("1"), card) for mask, network, card in routes if wanted & mask == network]
    card = max(matching)[1] if matching else ""
    return card, card in default


def _speed(card: str) -> int:
    """Return a card's speed in Mbit/s, 0 where unknown."""
    try:
        return int((CARDS / card / "speed").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def _arm(host: str) -> Finding:
    """Connect with the driver in a process of its own, which can be ended when it waits."""
    try:
        franka_checks.require_answer(host)
    except OSError as error:
        advice = "check power, cable and address, unlock the joints and activate FCI in Desk"
        return missing("Arm", f"{host}:{franka_checks.ARM_PORT}: {error}", advice)
    command = [sys.executable, "-c", CONNECT, host]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=franka_checks.ARM_TIMEOUT,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return missing(
            "Arm",
            f"{host} does not answer within {franka_checks.ARM_TIMEOUT:g} s",
            "end other programs that drive the arm",
        )
    if done.returncode == 0:
        return good("Arm", f"{host} answers and fits the driver")
    return _refusal(host, (done.stderr.strip().splitlines() or ["no reason given"])[-1])


def _refusal(host: str, reason: str) -> Finding:
    """Return what to do about the driver's last words."""
    reason = reason.split("libfranka: ")[-1]
    found = re.search(r"server version: (\d+)", reason)
    if found is None:
        return missing("Arm", f"{host}: {reason}", "look at the arm's status in Desk; activate FCI there")
    number = int(found.group(1))
    arms = next((interface.arms for interface in INTERFACES if interface.version == number), "an arm not known here")
    advice = f"install the wheel of franky-control for robot server version {number} (docs/hardware.md)"
    return missing("Arm", f"{host} is {arms}, which this driver does not fit", advice)
