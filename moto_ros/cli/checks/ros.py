"""ROS 2: the client library, the built messages, the middleware and its transport, the launch package."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from moto_ros.cli.checks.finding import Finding, Level, good, missing, note
from moto_ros.errors import MotoError
from moto_ros.ros.startup import MIDDLEWARE, faults, log_problem, probe, usable_folders
from moto_ros.systems.transport import MODE, PROFILE_FILE, profile

NUMPY_CLASH = ("_ARRAY_API", "numpy.core.multiarray", "NumPy 1.x")
"""Texts of the error that a message module compiled against another NumPy gives."""


def check_ros() -> Iterator[Finding]:
    """Yield findings about ROS 2 on this machine."""
    client = _client_library()
    yield client
    yield _messages()
    if client.level is Level.OK:
        yield from _start()
    yield from _log_folder()
    yield _launch()


def _client_library() -> Finding:
    """Import rclpy in its own process, since ROS's libraries end one without a middleware."""
    command = [sys.executable, "-c", "import rclpy"]
    # Where the middleware that is asked for is missing, `_start` reports it; here the library is checked.
    variables = {name: value for name, value in os.environ.items() if name not in MIDDLEWARE}
    done = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        advice = "source a ROS 2 installation, or run `make env` for ROS 2 from wheels and activate .venv"
        return missing("ROS 2", f"rclpy does not import ({last})", advice)
    return good("ROS 2", _distribution())


def _distribution() -> str:
    if os.environ.get("ROS_DISTRO"):
        return f"{os.environ['ROS_DISTRO']}, installed"
    try:
        return f"jazzy from wheels, rclpy {version('ros-jazzy-rclpy')}"
    except PackageNotFoundError:
        return "rclpy imports, ROS_DISTRO is not set"


def _messages() -> Finding:
    try:
        # In the repository root the folder moto_msgs/ itself imports, with nothing in it.
        getattr(importlib.import_module("moto_msgs.msg"), "Action")  # noqa: B009
    except (ImportError, AttributeError) as error:
        if any(text in str(error) for text in NUMPY_CLASH):
            advice = "the ROS messages were built with another NumPy: make env, make build"
            return missing("moto_msgs", str(error).splitlines()[0], advice)
        return missing("moto_msgs", f"does not import ({error})", "make build, then `. tools/enter.sh`")
    return good("moto_msgs", "imports")


def _start() -> Iterator[Finding]:
    """Look at the environment's variables, and start a node in a process of its own."""
    found = list(faults(os.environ))
    for fault in found:
        yield (missing if fault.stops else note)(fault.variable, fault.found, fault.advice)
    if any(fault.stops for fault in found):
        return
    with tempfile.TemporaryDirectory() as folder:
        changed, _ = usable_folders(os.environ, lambda: Path(folder))
        try:
            name, complaint = probe(tuple(sorted({**os.environ, **changed}.items())))
        except MotoError as error:
            text, _, advice = str(error).removeprefix("ROS 2 does not start: ").rpartition("; ")
            yield missing("ROS 2 start", text, advice)
            return
    yield from _middleware(name)
    if complaint:
        yield note(
            "Middleware", f"complains: {complaint}", "look at the variables of the middleware: env | grep -i dds"
        )


def _log_folder() -> Iterator[Finding]:
    if problem := log_problem(os.environ):
        advice = "`moto` logs into the run's folder instead; for your own nodes set ROS_LOG_DIR to a writable folder"
        yield note("ROS logs", problem, advice)


def _middleware(name: str) -> Iterator[Finding]:
    if name == "rmw_fastrtps_cpp":
        yield good("Middleware", name)
        yield _transport()
    else:
        advice = "it is not tested; if frames get lost: export RMW_IMPLEMENTATION=rmw_fastrtps_cpp"
        yield note("Middleware", name, advice)
    yield good("Domain", f"{os.environ.get('ROS_DOMAIN_ID', '0')}, discovery {_range()}")


def _range() -> str:
    return os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET (other machines can join)")


def _transport() -> Finding:
    files = [os.environ[name] for name in PROFILE_FILE if os.environ.get(name)]
    mode = os.environ.get(MODE)
    if files:
        return good("Transport", f"profile file {files[0]}")
    if not mode:
        return note("Transport", f"{MODE} is not set: big images get lost between processes", _own_nodes())
    fault = "two nodes that start together may never connect" if "LARGE_DATA" in mode else "big images may get lost"
    return note("Transport", f"{MODE} is {mode}: {fault}", f"unset {MODE}; {_own_nodes()}")


def _own_nodes() -> str:
    variables = " ".join(f"{name}={profile()}" for name in PROFILE_FILE)
    return f"`moto` and the launch files set a profile; for your own nodes: export {variables}"


def _launch() -> Finding:
    if importlib.util.find_spec("launch_ros"):
        return good("launch", "installed")
    return note("launch", "not installed", "only `ros2 launch` needs it; `moto up` starts the same systems without it")
