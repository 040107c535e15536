"""package.xml: whatever the code imports is named there, so that `rosdep install` gives nodes that start."""

from __future__ import annotations

import ast
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"moto_ros": ".", "moto_sim": "sim", "moto_msgs": "moto_msgs"}
SOURCES = {"moto_ros": ("moto_ros", "launch"), "moto_sim": ("sim/moto_sim",), "moto_msgs": ()}
TESTS = {"moto_ros": ("test",), "moto_sim": (), "moto_msgs": ("moto_msgs/test",)}

ROSDEP = {
    "cv2": "python3-opencv",
    "gymnasium_robotics": "python3-gymnasium-robotics-pip",
    "PIL": "python3-pil",
    "hypothesis": "python3-hypothesis",
    "jinja2": "python3-jinja2",
    "matplotlib": "python3-matplotlib",
    "mujoco": "python3-mujoco-pip",
    "numpy": "python3-numpy",
    "packaging": "python3-packaging",
    "psutil": "python3-psutil",
    "pytest": "python3-pytest",
    "rich": "python3-rich",
    "rosbags": "python3-rosbags-pip",
    "scipy": "python3-scipy",
    "tensorboard": "python3-tensorboard-pip",
    # python3-torch is 2.1 on Ubuntu 24.04, older than what the code needs.
    "torch": "python3-pytorch-pip",
    "yaml": "python3-yaml",
}
"""Module -> key of ros/rosdistro's rosdep lists. A ROS package's key is its own name."""

WITHOUT_KEY = {"lz4", "mcap", "safetensors", "zstandard", "metaworld", "franky", "franky_sim"}
"""Modules that rosdep does not know: requirements/*.txt brings them."""

OPTIONAL = {"pyrealsense2", "av", "pyarrow", "lerobot"}
"""Drivers that only the machine with the device needs, and libraries of datasets: extras of setup.py.

`lerobot` itself is only imported by an interpreter of its own, which a test is told of.
"""

INDIRECT = {"moto_ros": {"python3-tensorboard-pip", "ros2launch"}, "moto_sim": set(), "moto_msgs": set()}
"""What no module imports: torch's writer of event files, and the command that starts launch files."""


def imported(folders: Iterable[str]) -> Iterator[str]:
    """Yield the top name of every module that is imported in folders, but the standard library's."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                yield from (top for name in names if (top := name.split(".")[0]) not in sys.stdlib_module_names)


def keys(package: str, *tags: str) -> set[str]:
    """Return the keys that a manifest names under some tags."""
    manifest = ElementTree.parse(ROOT / FOLDERS[package] / "package.xml").getroot()
    return {str(entry.text) for tag in tags for entry in manifest.iter(tag)}


def needed(modules: Iterable[str], own: set[str]) -> set[str]:
    """Return the rosdep keys of modules, without those that are `own` or have none."""
    return {ROSDEP.get(name, name) for name in modules if name not in own | WITHOUT_KEY | OPTIONAL}


@pytest.mark.parametrize("package", SOURCES)
def test_the_manifest_names_all_that_the_modules_import_and_nothing_else(package: str) -> None:
    """Breaks `rosdep install` and `colcon build`: the nodes would not start."""
    wanted = needed(imported(SOURCES[package]), {package})
    named = keys(package, "exec_depend", "depend")
    if SOURCES[package]:
        assert sorted(wanted - named) == []
        assert sorted(named - wanted - INDIRECT[package]) == []


@pytest.mark.parametrize("package", TESTS)
def test_the_manifest_names_all_that_the_tests_import(package: str) -> None:
    """Breaks `rosdep install` followed by `colcon test`."""
    folders = TESTS[package]
    own = {path.stem for folder in (*folders, "bench") for path in (ROOT / folder).rglob("*.py")}
    own |= {"support", "conformance", "moto_sim", *FOLDERS}
    named = keys(package, "exec_depend", "depend", "test_depend")
    if package == "moto_ros":
        named |= keys("moto_sim", "exec_depend")  # its tests run where both are installed
    assert sorted(needed(imported(folders), own) - named) == []


@pytest.mark.parametrize("package", FOLDERS)
def test_what_runs_the_tests_is_named(package: str) -> None:
    assert "python3-pytest" in keys(package, "test_depend")


def test_cmake_finds_only_what_the_manifest_names() -> None:
    """Breaks a build on a machine that has nothing but what the manifest names."""
    text = (ROOT / "moto_msgs" / "CMakeLists.txt").read_text()
    found = set(re.findall(r"find_package\((\w+)", text))
    assert found <= keys("moto_msgs", "buildtool_depend", "depend", "test_depend")


def test_modules_without_a_key_are_named_beside_the_manifest() -> None:
    """Breaks whoever trusts rosdep alone: what it cannot bring is to be read where the rest is."""
    for package in ("moto_ros", "moto_sim"):
        text = (ROOT / FOLDERS[package] / "package.xml").read_text().replace("-", "_")
        lacking = set(imported(SOURCES[package])) & (WITHOUT_KEY - {"franky"})
        assert sorted(name for name in lacking if name not in text) == []
