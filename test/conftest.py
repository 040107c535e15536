"""What every test gets: its own ROS domain, one torch thread, and a named reason where something is not installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from support.domain import reserved_domain

os.environ.setdefault("OMP_NUM_THREADS", "1")

# An example that takes 0.2 s on a busy machine is no defect: tests are not timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

NEEDS = {"ros": ("rclpy", "moto_msgs"), "sim": ("mujoco", "metaworld")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run quick tests first; skip marked tests whose packages are not installed, naming them."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    for mark, packages in NEEDS.items():
        absent = [package for package in packages if not _installed(package)]
        for item in items:
            if absent and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(absent)}"))


def _installed(package: str) -> bool:
    # Without the workspace, the source folder moto_msgs/ would pass for a namespace package, which has no origin.
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None


@pytest.fixture(autouse=True)
def ros_domain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int | None]:
    """Give a test marked `ros` a domain that no other test on this machine uses, and this machine alone."""
    if request.node.get_closest_marker("ros") is None:
        yield None
        return
    with reserved_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        if os.environ.get("ROS_DISTRO") == "humble":
            monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
        yield domain
