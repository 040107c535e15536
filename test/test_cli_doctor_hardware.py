"""`moto doctor` on a robot PC: which driver for which arm, kernel, network card, the arm itself, the cameras."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from moto_ros.cli.checks import arm, cameras
from moto_ros.cli.checks.finding import Finding, Level
from moto_ros.robot import franka_checks

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wifi0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
wifi0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0
robot0\t000010AC\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""
HAS_ARM = importlib.util.find_spec("franky") is not None and importlib.util.find_spec("franky_sim") is not None


def by_subject(findings: Iterator[Finding]) -> dict[str, Finding]:
    """Return findings by what they are about."""
    return {finding.subject: finding for finding in findings}


@pytest.mark.parametrize(
    ("libfranka", "arms"),
    [("0.21.2", "FR3 with system 5.9"), ("0.17.0", "5.7.2"), ("0.9.2", "Panda with system 4.2"), ("0.1.0", "no arm")],
)
def test_driver_says_which_arm_it_fits(libfranka: str, arms: str) -> None:
    """The wrong wheel is the commonest reason why an arm does not connect."""
    assert arms in arm.arms_of(libfranka)


@pytest.mark.skipif(not HAS_ARM, reason="not installed: franky-control, franky-sim")
def test_installed_driver_is_named_with_its_arms() -> None:
    """People look up their robot's system version, not libfranka's."""
    found = by_subject(arm.check_arm())
    assert list(found) == ["Arm driver"], "without an address nothing else is looked at"
    assert "libfranka" in found["Arm driver"].found
    assert "FR3" in found["Arm driver"].found


def test_wrong_driver_for_the_arm_names_the_right_one() -> None:
    """The driver's own sentence names two numbers and no remedy."""
    words = "franky._franky.IncompatibleVersionException: libfranka: Incompatible library version (server version: 5)"
    found = arm._refusal("172.16.0.2", words)
    assert found.level is Level.MISSING
    assert "Panda" in found.found
    assert "server version 5" in found.advice


def test_unreachable_arm_says_what_to_check() -> None:
    """Nobody shall wait a minute for a wrong address."""
    found = by_subject(arm.check_arm("127.77.0.1"))
    assert found["Arm"].level is Level.MISSING
    assert "FCI" in found["Arm"].advice


@pytest.mark.sim
@pytest.mark.skipif(not HAS_ARM, reason="not installed: franky-control, franky-sim")
def test_reachable_arm_is_reported() -> None:
    """The last check before the first power-up."""
    from support.franky_server import franky_server

    with franky_server() as server:
        found = by_subject(arm.check_arm(server.address))
    assert found["Arm"].level is Level.OK, found["Arm"]
    assert "this computer" in found["Network card"].found


def test_network_card_that_the_arm_shares_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Camera or office traffic on the arm's cable gives communication violations."""
    assert arm.route("172.16.0.2", ROUTES) == ("robot0", False)
    assert arm.route("192.168.1.7", ROUTES) == ("wifi0", True)
    assert arm.route("10.0.0.1", ROUTES) == ("wifi0", True)
    routes = tmp_path / "route"
    routes.write_text(ROUTES)
    monkeypatch.setattr(arm, "ROUTES", routes)
    assert arm._network_card("172.16.0.2").level is Level.OK
    assert "card of its own" in arm._network_card("192.168.1.7").advice
    assert arm._network_card("no such host").level is Level.MISSING


def test_kernel_and_governor_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is not real-time works for minutes, then stops the arm."""
    (tmp_path / "realtime").write_text("1\n")
    (tmp_path / "governor").write_text("powersave\n")
    monkeypatch.setattr(franka_checks, "REALTIME", tmp_path / "realtime")
    monkeypatch.setattr(arm, "GOVERNOR", tmp_path / "governor")
    assert arm._kernel().level is Level.OK
    assert "performance" in arm._governor().advice


def test_camera_at_a_slow_port_is_pointed_out() -> None:
    """A camera on USB 2 streams at a rate nobody asked for."""
    assert cameras.camera("D435", "123456", "2.1").level is Level.NOTE
    assert cameras.camera("D435", "123456", "3.2").level is Level.OK
    assert "123456" in cameras.camera("D435", "123456", "3.2").found


def test_camera_driver_is_looked_for() -> None:
    """Without it the line says how to get it; with it, that no camera is there."""
    found = by_subject(cameras.check_cameras())
    assert "Camera driver" in found
    assert found["Camera driver"].level is not Level.MISSING
