"""The interpreter and the packages it sees: versions, pins, and packages that collide."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from moto_ros.cli.checks.finding import Finding, good, missing, note

OLDEST, NEWEST = (3, 10), (3, 13)
BUILD = "run `make build`, then `. tools/enter.sh`"
PACKAGES = ("moto_ros", "moto_sim")
"""Whose requirements are checked; the simulator's where it is installed."""

COLLISIONS = {
    "franky": "another project's package; the arm's driver is `franky-control`: pip uninstall franky",
    "opencv-python": "it overwrites files of opencv-python-headless: pip uninstall opencv-python, then make env",
}


def check_python() -> Iterator[Finding]:
    """Yield findings about interpreter, installed commands and packages."""
    yield _interpreter()
    yield from _commands()
    yield from _requirements()
    yield from _collisions()


def _interpreter() -> Finding:
    found = f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return good("Python", found)
    return note("Python", found, "the pinned versions are for 3.10 to 3.13: make env PYTHON=python3.12")


def _commands() -> Iterator[Finding]:
    """Look at the shebang of installed nodes: with another interpreter's, torch is not found when a node starts."""
    for parent in Path(__file__).resolve().parents:
        script = parent / "lib" / "moto_ros" / "policy_node"
        if script.is_file():
            interpreter = script.read_text(encoding="utf-8").splitlines()[0].removeprefix("#!")
            if Path(interpreter).resolve() != Path(sys.executable).resolve():
                yield note("Installed nodes", f"start with {interpreter}", f"activate .venv, then {BUILD}")
            return


def _requirements() -> Iterator[Finding]:
    if not _installed("moto_ros"):
        yield note("moto_ros", "used from its source folder, not installed", BUILD)
        return
    lines = (line for package in PACKAGES if _installed(package) for line in requires(package) or [])
    wanted = [requirement for requirement in map(Requirement, lines) if _applies(requirement)]
    problems = [finding for requirement in wanted for finding in _requirement(requirement)]
    yield from problems or [good("Packages", f"{len(wanted)} required, all installed")]


def _applies(requirement: Requirement) -> bool:
    """Tell whether this machine needs `requirement`; extras are for developers."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _requirement(requirement: Requirement) -> Iterator[Finding]:
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        yield missing(requirement.name, "not installed", f"make env, or pip install '{requirement}'")
        return
    if not requirement.specifier.contains(found, prereleases=True):
        yield missing(requirement.name, found, f"{requirement.specifier} is needed: make env")


def _collisions() -> Iterator[Finding]:
    for name, advice in COLLISIONS.items():
        if _installed(name):
            yield note(name, f"{version(name)} is installed", advice)


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
