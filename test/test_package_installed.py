"""What colcon builds is what ROS finds: packages, launch and parameter files, commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import pytest

ament_index_python = pytest.importorskip("ament_index_python", reason="ROS 2 is not installed")

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"moto_msgs": "moto_msgs", "moto_ros": ".", "moto_sim": "sim"}
"""Package -> folder."""


def prefix(package: str) -> Path:
    """Return where a package is installed; skip the test when the workspace is not built and entered."""
    try:
        return Path(ament_index_python.get_package_prefix(package))
    except LookupError:
        pytest.skip(f"{package} is not built or not entered: make build, . tools/enter.sh")


def test_colcon_finds_the_three_packages() -> None:
    """Breaks every build: colcon does not descend into a package, so the three folders are named."""
    if shutil.which("colcon") is None:
        pytest.skip("colcon is not installed")
    command = ["colcon", "list", "--base-paths", ".", "moto_msgs", "sim"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = {line.split()[0]: tuple(line.split()[1:]) for line in done.stdout.splitlines()}
    assert found == {
        "moto_msgs": ("moto_msgs", "(ros.ament_cmake)"),
        "moto_ros": (".", "(ros.ament_python)"),
        "moto_sim": ("sim", "(ros.ament_python)"),
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_ros_finds_an_installed_package(package: str) -> None:
    """`get_package_prefix` reads the resource marker; `ros2 run` and launch files depend on it."""
    assert (prefix(package) / "share" / package / "package.xml").is_file()


def test_every_launch_and_parameter_file_is_installed() -> None:
    share = prefix("moto_ros") / "share" / "moto_ros"
    files = [*ROOT.glob("launch/*.launch.py"), *ROOT.glob("config/*/*.yaml")]
    assert len(files) > 4
    assert [str(file) for file in files if not (share / file.relative_to(ROOT)).is_file()] == []


@pytest.mark.parametrize("package", ["moto_ros", "moto_sim"])
def test_every_module_is_installed_as_it_is_here(package: str) -> None:
    """Breaks trust in every other test: they run what is installed."""
    site = next((prefix(package) / "lib").glob("python*/site-packages"))
    source = ROOT / PACKAGES[package]
    files = [file for file in (source / package).rglob("*") if file.suffix in (".py", ".j2", ".typed")]
    assert [str(file) for file in files if not same(file, site / file.relative_to(source))] == []


def same(one: Path, other: Path) -> bool:
    """Tell whether two files are there and equal."""
    return other.is_file() and one.read_bytes() == other.read_bytes()


def scripts(package: str) -> list[EntryPoint]:
    """Return the commands that an installed package declares."""
    prefix(package)
    return [entry for entry in distribution(package).entry_points if entry.group == "console_scripts"]


@pytest.mark.parametrize("package", ["moto_ros", "moto_sim"])
def test_every_command_starts_code_that_is_there(package: str) -> None:
    for entry in scripts(package):
        assert callable(entry.load()), entry.name
        assert os.access(prefix(package) / "lib" / package / entry.name, os.X_OK)


@pytest.mark.parametrize("package", ["moto_ros", "moto_sim"])
def test_installed_commands_start_with_the_interpreter_that_has_the_packages(package: str) -> None:
    """Breaks nodes with `No module named 'torch'`: another interpreter's shebang was installed."""
    for entry in scripts(package):
        first = (prefix(package) / "lib" / package / entry.name).read_text().splitlines()[0]
        assert Path(first.removeprefix("#!")).resolve() == Path(sys.executable).resolve(), entry.name


def test_the_moto_command_is_on_the_path_and_helps() -> None:
    assert shutil.which("moto") == str(prefix("moto_ros") / "bin" / "moto")
    done = subprocess.run(["moto", "--help"], capture_output=True, text=True, check=True)
    for command in ("finetune", "record", "pretrain", "evaluate", "up", "report", "bag", "doctor"):
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_versions_agree(package: str) -> None:
    """Breaks a release: package.xml and setup.py would name two versions."""
    declared = ElementTree.parse(ROOT / PACKAGES[package] / "package.xml").getroot()
    assert declared.get("format") == "3"
    assert declared.findtext("license") == "Apache-2.0"
    if package != "moto_msgs":
        prefix(package)
        assert distribution(package).version == declared.findtext("version")
