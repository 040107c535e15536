"""The launch files, started for real where launch is installed: phases, exit status, first cause, clean stop."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.domain import reserved_domain

launch_pytest = pytest.importorskip("launch_pytest", reason="the ROS package launch_pytest is not installed")
# ruff: noqa: E402 - what follows needs it
from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource

from moto_ros.systems.bringup import ARGUMENTS, SYSTEMS

LAUNCH = Path(__file__).parents[1] / "launch"
pytestmark = [pytest.mark.ros, pytest.mark.sim]

LIMIT = 120
"""Seconds that anything here may take; on an idle machine it takes less than thirty."""

ROS2_LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
source = PythonLaunchDescriptionSource(sys.argv[1])
given = [tuple(word.split(":=", 1)) for word in sys.argv[2:]]
service = LaunchService(argv=sys.argv[2:])
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(source, launch_arguments=given)]))
sys.exit(service.run())
"""
"""What `ros2 launch FILE name:=value...` does, without the `ros2` command, which may not be there."""


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
        assert all(choice in shown[argument.name] for choice in argument.choices)
    assert shown["agent"].endswith(", or module:class")


def _nodes(run: Path) -> dict[str, int]:
    """Return the process id of each node that runs with a parameter file of this run folder."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
        except OSError:
            continue  # it has ended in the meantime
        files = [Path(word) for word in words if word.startswith(f"{run}/config/")]
        found |= {path.stem: int(folder.name) for path in files}
    return found


def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {LIMIT} s"
        time.sleep(0.1)


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
    run = tmp_path / "run"
    bag = run / "bags" / "offline" / "episode_2000000" / "metadata.yaml"
    _until(lambda: set(_nodes(run)) == {"sim", "script", "recorder", "episode"}, "every node runs")
    _until(bag.exists, "a closed bag")
    _until(lambda: not _nodes(run), "no node runs any more")


class Launched:
    """A launch file that runs as `ros2 launch` runs it."""

    def __init__(self, run: Path, process: subprocess.Popen[str]) -> None:
        self.run, self.process = run, process

    def end(self) -> tuple[int, str, str]:
        """Return exit status, last line and the whole output."""
        output, _ = self.process.communicate(timeout=2 * LIMIT)
        return self.process.returncode, output.strip().splitlines()[-1], output

    def kill(self, node: str) -> None:
        """Kill a node once it runs."""
        _until(lambda: node in _nodes(self.run), f"{node} runs")
        os.kill(_nodes(self.run)[node], signal.SIGKILL)


@contextmanager
def _launched(system: str, run: Path, **given: str) -> Iterator[Launched]:
    words = [f"{name}:={value}" for name, value in {"run": str(run), **given}.items()]
    command = [sys.executable, "-c", ROS2_LAUNCH, str(LAUNCH / f"{system}.launch.py"), *words]
    environment = os.environ | {"ROS_LOG_DIR": str(run.parent / "log")}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        yield Launched(run, process)
    finally:
        for pid in _nodes(run).values():
            os.kill(pid, signal.SIGKILL)
        if process.poll() is None:
            process.kill()


def test_what_cannot_work_is_refused_with_status_1_before_a_node_starts(tmp_path: Path) -> None:
    with _launched("finetune", tmp_path / "run", bags=str(tmp_path / "missing")) as launched:
        status, last, output = launched.end()
    assert status == 1
    assert f"{tmp_path / 'missing'}: does not exist" in last
    assert "process started" not in output


def test_a_killed_process_gives_status_1_and_is_the_last_line(tmp_path: Path) -> None:
    """Breaks whoever builds on it: a script would take a failed recording for a good one."""
    with _launched("record", tmp_path / "run", episodes="50") as launched:
        launched.kill("recorder")
        status, last, output = launched.end()
        assert status == 1, output
        assert "recorder was ended by SIGKILL" in last
        assert not _nodes(launched.run)


def test_the_refusal_of_a_node_gives_status_1_and_is_the_last_line(tmp_path: Path) -> None:
    (tmp_path / "bags" / "broken").mkdir(parents=True)
    (tmp_path / "bags" / "broken" / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    with _launched("pretrain", tmp_path / "run", bags=str(tmp_path / "bags"), preset="ci") as launched:
        status, last, output = launched.end()
    assert status == 1, output
    assert "trainer: " in last
    assert "no usable episode" in last


def test_an_interrupt_of_launch_alone_stops_every_process_and_is_no_failure(tmp_path: Path) -> None:
    """Breaks a supervisor's stop: no terminal passes the signal on, and nodes would be killed after a time-out."""
    with _launched("record", tmp_path / "run", episodes="50") as launched:
        _until(lambda: any((launched.run / "bags" / "offline").glob("*/*.mcap")), "an episode begins")
        launched.process.send_signal(signal.SIGINT)
        status, _, output = launched.end()
        assert status == 0, output
        assert "escalating" not in output
        assert not _nodes(launched.run)


@pytest.mark.slow
def test_fine_tuning_from_nothing_records_learns_and_writes_the_report(tmp_path: Path) -> None:
    """Breaks the launch line of the README."""
    short = "max_steps:=25 evaluation_episodes:=1 threads:=1"
    with _launched("finetune", tmp_path / "run", preset="ci", parameters=short) as launched:
        status, _, output = launched.end()
        assert status == 0, output
        assert len(list((launched.run / "bags" / "offline").glob("*/metadata.yaml"))) == 5
        assert (launched.run / "report.html").exists()
        assert "created within this launch context" not in output
