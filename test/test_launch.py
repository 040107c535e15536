"""The launch files, started for real by launch_pytest where it is installed."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.domain import reserved_domain

launch_pytest = pytest.importorskip("launch_pytest", reason="the ROS package launch_pytest is not installed")
# ruff: noqa: E402 - what follows needs it
from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource

from moto_ros.bringup import ARGUMENTS, SYSTEMS

LAUNCH = Path(__file__).parents[1] / "launch"
pytestmark = [pytest.mark.ros, pytest.mark.sim]


def _description(system: str) -> LaunchDescription:
    spec = importlib.util.spec_from_file_location(system, LAUNCH / f"{system}.launch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_launch_file_shows_every_argument_with_its_meaning(system: str) -> None:
    shown = {argument.name: argument.description for argument in _description(system).get_launch_arguments()}
    assert list(shown) == [argument.name for argument in ARGUMENTS]
    for argument in ARGUMENTS:
        assert shown[argument.name].startswith(argument.doc)


@launch_pytest.fixture(scope="function")
def recording(tmp_path: Path) -> Iterator[LaunchDescription]:
    """Describe a recording of one short demonstration, on a ROS domain of its own."""
    arguments = {"run": str(tmp_path / "run"), "episodes": "1", "parameters": "max_steps:=5"}
    source = PythonLaunchDescriptionSource(str(LAUNCH / "record.launch.py"))
    with reserved_domain() as domain:
        yield LaunchDescription(
            [
                SetEnvironmentVariable("ROS_DOMAIN_ID", str(domain)),
                SetEnvironmentVariable("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST"),
                SetEnvironmentVariable("PYTHONPATH", os.environ.get("PYTHONPATH", "")),
                IncludeLaunchDescription(source, launch_arguments=arguments.items()),
                launch_pytest.actions.ReadyToTest(),
            ]
        )


@pytest.mark.launch(fixture=recording)
def test_launching_a_recording_leaves_a_closed_bag_and_stops_every_process(
    recording: LaunchDescription, launch_context: LaunchContext, tmp_path: Path
) -> None:
    bag = tmp_path / "run" / "bags" / "offline" / "episode_2000000" / "metadata.yaml"
    end = time.monotonic() + 60.0
    while not bag.exists() and time.monotonic() < end:
        time.sleep(0.2)
    assert bag.exists(), "no closed bag after 60 s"
