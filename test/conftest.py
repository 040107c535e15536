"""What every test gets: its own ROS domain, one torch thread, and a named reason where something is not installed."""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.domain import reserved_domain

os.environ.setdefault("OMP_NUM_THREADS", "1")
# With several workers this is the width of pytest's own terminal, to which our tables would be cut.
os.environ.pop("COLUMNS", None)

# An example that takes 0.2 s on a busy machine is no defect: tests are not timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

HUNG = 1.3
"""Share of a test's time-out after which the run ends, naming the line that hangs, for the time-out did not end it."""

STDERR = pytest.StashKey[int]()

NEEDS = {"ros": ("rclpy", "moto_msgs"), "sim": ("mujoco", "metaworld")}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the simulator's tests to its own package, where `colcon test` runs one package after the other."""
    of_moto_ros = config.getoption("junitprefix", None) == "moto_ros"
    return True if of_moto_ros and collection_path.name.startswith("test_sim_") else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run quick tests first; skip marked tests whose packages are not installed, naming them.

    With several workers (`-n 2 --dist loadgroup`) they share the files, those of whole systems first, so that none is
    left with a long one; then one worker runs the tests marked `realtime`.
    """
    workers = hasattr(config, "workerinput")
    for item in items if workers else ():
        item.add_marker(pytest.mark.xdist_group("realtime" if _is(item, "realtime") else item.path.name))
    if workers:
        systems = {item.path for item in items if _is(item, "ros", "slow")}
        items.sort(key=lambda item: 2 if _is(item, "realtime") else int(item.path not in systems))
    else:
        items.sort(key=lambda item: _is(item, "slow"))
    for mark, packages in NEEDS.items():
        absent = [package for package in packages if not _installed(package)]
        for item in items:
            if absent and _is(item, mark):
                item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(absent)}"))


def _is(item: pytest.Item, *marks: str) -> bool:
    return any(item.get_closest_marker(mark) is not None for mark in marks)


def _installed(package: str) -> bool:
    # Without the workspace, the source folder moto_msgs/ would pass for a namespace package, which has no origin.
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None


def pytest_configure(config: pytest.Config) -> None:
    """Keep the order of `pytest_collection_modifyitems`, and the terminal's standard error, which pytest replaces."""
    config.option.loadscopereorder = False
    config.stash[STDERR] = os.dup(sys.__stderr__.fileno())


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End a run that hangs inside a library: the time-out's signal waits until Python goes on, maybe indefinitely."""
    with _share_of_machine(item):
        if not (timeout := item.config.getoption("timeout", None)):
            yield
            return
        faulthandler.dump_traceback_later(HUNG * timeout, exit=True, file=item.config.stash[STDERR])
        yield
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _share_of_machine(item: pytest.Item) -> Iterator[None]:
    """Let a test marked `realtime` wait until no other worker runs a test, and the others wait for it."""
    if not hasattr(item.config, "workerinput"):
        yield
        return
    folder = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX if _is(item, "realtime") else fcntl.LOCK_SH)
        yield
    finally:
        # Closing alone would leave the lock to a process that a test has forked.
        fcntl.flock(folder, fcntl.LOCK_UN)
        os.close(folder)


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
