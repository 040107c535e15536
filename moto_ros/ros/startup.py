"""Checks before a node starts of what would keep ROS 2 from working: environment variables, log folder, middleware.

rclpy must not be imported here: with some environments its libraries end the process that loads them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from moto_ros.errors import MotoError
from moto_ros.terminal import COLOURS

PROFILE_FILE = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Variables that name a profile file: Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 the second."""

Environment = Mapping[str, str]

HIGHEST_DOMAIN = 232
"""Highest ROS domain id whose UDP ports exist."""

MIDDLEWARE = ("RMW_IMPLEMENTATION", "RCL_ASSERT_RMW_ID_MATCHES")
SWITCHES = ("RCUTILS_LOGGING_USE_STDOUT", "RCUTILS_LOGGING_BUFFERED_STREAM", "RCUTILS_COLORIZED_OUTPUT")
"""Variables of ROS's logging that are 0 or 1; with anything else no node logs, and some do not start."""

RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
START_TIME = 60
"""Seconds that a node may take to start, on a busy machine."""

PROBE = """
import os, sys
import rclpy
from rclpy.utilities import get_rmw_implementation_identifier
try:
    rclpy.init(args=["--ros-args", "-r", "__ns:=/" + sys.argv[1]])
    rclpy.create_node(f"probe_{os.getpid()}", enable_rosout=False, start_parameter_services=False).destroy_node()
    rclpy.shutdown()
except Exception as error:
    sys.exit(" ".join(str(error).split()))
print(get_rmw_implementation_identifier())
"""
"""Starts a node as a system's programs do; it runs in its own process, which ROS's libraries may end."""

LOG_FORMAT = {"RCUTILS_CONSOLE_OUTPUT_FORMAT": "[{severity}] [{name}]: {message}"}
"""How the probe logs, whatever format the user has set: what the middleware complains of is found by its severity."""

ADVICE = {
    "peer": "correct ROS_STATIC_PEERS: names or addresses of machines, separated by ;",
    "secur": "correct ROS_SECURITY_KEYSTORE, or unset ROS_SECURITY_ENABLE",
    "logging": "set ROS_LOG_DIR to a folder that can be written",
    "params file": "give --params-file a file of ROS's form",
    "remap rule": "give node and namespace names of letters, digits and _ that begin with a letter",
}
"""What to do about a start that failed, by a word of what ROS says."""


@dataclass(frozen=True)
class Fault:
    """An environment variable, what was found in it, and what to do; `stops` where no node works with it."""

    variable: str
    found: str
    advice: str
    stops: bool = True

    def sentence(self) -> str:
        """Return the fault as one sentence."""
        return f"{self.variable} is {self.found}; {self.advice}"


def faults(environment: Environment) -> Iterator[Fault]:
    """Yield what is wrong with the variables that ROS 2 reads, without starting anything."""
    yield from missing_middleware(environment)
    yield from _domain(environment)
    yield from _profiles(environment)
    yield from _security(environment)
    yield from _discovery(environment)
    for name in SWITCHES:
        if environment.get(name, "") not in ("", "0", "1"):
            yield Fault(name, f"'{environment[name]}'", "expected 0 or 1; correct or unset it")


def missing_middleware(environment: Environment) -> Iterator[Fault]:
    """Yield the middleware that is asked for and not installed: rclpy cannot even be imported with it."""
    installed = _middlewares(environment)
    for name in MIDDLEWARE:
        wanted = environment.get(name, "")
        if wanted and installed and wanted not in installed:
            found = f"'{wanted}', which is not installed (there is {', '.join(sorted(installed))})"
            yield Fault(name, found, "install it, or unset the variable")


def _middlewares(environment: Environment) -> set[str]:
    """Return the names of the installed middlewares by ROS's index; empty where there is no index."""
    prefixes = [*environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    indices = [Path(prefix, "share/ament_index/resource_index/rmw_typesupport") for prefix in prefixes if prefix]
    return {path.name for index in indices if index.is_dir() for path in index.iterdir()} - {"rmw_implementation"}


def _domain(environment: Environment) -> Iterator[Fault]:
    text = environment.get("ROS_DOMAIN_ID", "").strip()
    if text and not (text.isascii() and text.isdigit() and int(text) <= HIGHEST_DOMAIN):
        yield Fault("ROS_DOMAIN_ID", f"'{text}'", f"expected a whole number of 0 to {HIGHEST_DOMAIN}; correct it")


def _profiles(environment: Environment) -> Iterator[Fault]:
    named = [(name, environment.get(name, "")) for name in PROFILE_FILE]
    if "cyclonedds" in environment.get("RMW_IMPLEMENTATION", ""):
        parts = environment.get("CYCLONEDDS_URI", "").split(",")
        named += [("CYCLONEDDS_URI", part.strip().removeprefix("file://")) for part in parts if "<" not in part]
    for name, path in named:
        if path and (wrong := _not_xml(Path(path))):
            yield Fault(name, f"'{path}', which {wrong}", "name an XML file with profiles, or unset it")


def _not_xml(path: Path) -> str:
    try:
        ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ElementTree.ParseError as error:
        return f"is not XML ({error})"
    return ""


def _security(environment: Environment) -> Iterator[Fault]:
    enabled, strategy = environment.get("ROS_SECURITY_ENABLE", ""), environment.get("ROS_SECURITY_STRATEGY", "")
    if enabled not in ("", "true", "false"):
        yield Fault("ROS_SECURITY_ENABLE", f"'{enabled}', which ROS takes for false", "write true or false")
    if enabled != "true":
        return
    if strategy not in ("", "Enforce", "Permissive"):
        found = f"'{strategy}', which ROS takes for Permissive"
        yield Fault("ROS_SECURITY_STRATEGY", found, "write Enforce or Permissive")
    keystore = environment.get("ROS_SECURITY_KEYSTORE", "")
    if not keystore or not Path(keystore, "enclaves").is_dir():
        found = (
            f"'{keystore}', where there is no folder enclaves" if keystore else "not set, but ROS_SECURITY_ENABLE is"
        )
        advice = "name the keystore that `ros2 security` made, or unset ROS_SECURITY_ENABLE"
        yield Fault("ROS_SECURITY_KEYSTORE", found, advice, stops=strategy == "Enforce")


def _discovery(environment: Environment) -> Iterator[Fault]:
    name = "ROS_AUTOMATIC_DISCOVERY_RANGE"
    chosen, local = environment.get(name, ""), environment.get("ROS_LOCALHOST_ONLY", "")
    if chosen and chosen not in RANGES:
        found = f"'{chosen}', which ROS takes for LOCALHOST: no other machine is found"
        yield Fault(name, found, f"expected {', '.join(RANGES)}; correct it")
    if chosen == "OFF":
        yield Fault(
            name, "OFF", "no node finds another, not even on this machine; set LOCALHOST or SUBNET", stops=False
        )
    if local not in ("", "0", "1"):
        yield Fault("ROS_LOCALHOST_ONLY", f"'{local}', which ROS takes for 0", "write 0 or 1", stops=False)


def refuse(found: Iterator[Fault]) -> None:
    """Raise MotoError for the first fault with which nothing works."""
    for fault in found:
        if fault.stops:
            raise MotoError(fault.sentence())


def check_start(environment: Environment, namespace: str = "") -> None:
    """Raise MotoError where a node in `namespace` could not start with these environment variables."""
    refuse(faults(environment))
    probe(tuple(sorted(environment.items())), namespace.strip("/"))


@lru_cache
def probe(variables: tuple[tuple[str, str], ...], namespace: str = "") -> tuple[str, str]:
    """Start a node in a process of its own; return its middleware's name and what the middleware complained of.

    Raises MotoError with what ROS said where the node does not start.
    """
    command = [sys.executable, "-c", PROBE, namespace]
    try:
        done = subprocess.run(
            command,
            env={**dict(variables), **LOG_FORMAT},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=START_TIME,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MotoError(
            f"ROS 2: no node starts within {START_TIME} s; end other programs, or look at the network (ip address)"
        ) from error
    lines = _lines(done.stderr)
    if done.returncode == 0:
        name, logged = middleware_of(done.stdout)
        return name, next((line for line in (*lines, *logged) if "error" in line.lower()), "")
    raise not_started(lines[-1] if lines else f"its process ended with status {done.returncode}")


def middleware_of(output: str) -> tuple[str, list[str]]:
    """Return the middleware's name in what a started node printed, and the lines of its log, before it or after."""
    lines = _lines(output)
    name = next((line for line in lines if line.startswith("rmw_")), "unknown")
    return name, [line for line in lines if line != name]


def _lines(text: str) -> list[str]:
    """Return the lines of a process's output without colours and empty ones."""
    return [line.strip() for line in COLOURS.sub("", text).splitlines() if line.strip()]


def not_started(said: str) -> MotoError:
    """Return the error for a node that does not start, with what ROS said about it."""
    text = " ".join(said.split()).partition(", at /")[0]
    advice = (advice for word, advice in ADVICE.items() if word in text.lower())
    return MotoError(f"ROS 2 does not start: {text}; {next(advice, 'see `moto doctor`')}")


def log_folder(environment: Environment) -> Path | None:
    """Return the folder into which nodes log, None where none is known."""
    for name, rest in (("ROS_LOG_DIR", ""), ("ROS_HOME", "log"), ("HOME", ".ros/log")):
        if environment.get(name):
            text = environment[name]
            home = environment.get("HOME", "")
            return Path(home + text[1:] if text.startswith("~") else text, rest)
    return None


def log_problem(environment: Environment) -> str:
    """Return why nodes cannot log into their folder, without which none starts; empty where they can."""
    folder = log_folder(environment)
    if folder is None:
        return "HOME is not set"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{folder} cannot be made ({error.strerror})"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} cannot be written (Permission denied)"


def usable_folders(environment: Environment, make: Callable[[], Path]) -> tuple[dict[str, str], str]:
    """Return variables that give nodes a log folder and a home where theirs cannot be used, and why, for a person.

    `make` returns the folder to use instead; it is called only then. A home that is there stays, as it may hold
    settings; libraries of cameras and graphics fail without any.
    """
    problem = log_problem(environment)
    if not problem:
        return {}, ""
    place = make()
    changed = {"ROS_LOG_DIR": str(place)}
    if not os.path.isdir(environment.get("HOME", "")):
        changed["HOME"] = str(place)
    return changed, f"ROS logs into {place}, since {problem}"
