"""Parameters on a node: what `write_parameters` writes, ROS's own reader understands, and users see described."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402

from moto_ros.config import REQUIRED, flatten, group, parameter, read_parameters, write_parameters  # noqa: E402
from moto_ros.errors import MotoError  # noqa: E402
from moto_ros.ros.params import settings_of  # noqa: E402

pytestmark = pytest.mark.ros


@dataclass(frozen=True)
class Camera:
    """A group inside settings."""

    names: tuple[str, ...] = parameter(("agent",), "names")
    exposure: float = parameter(1e-3, "exposure", unit="s", low=0.0, high=1.0)


@dataclass(frozen=True)
class Settings:
    """One parameter of every kind."""

    address: str = parameter(REQUIRED, "where the arm answers")
    steps: int = parameter(10, "steps", low=1, high=100)
    rate: float = parameter(1e-3, "learning rate", low=0.0)
    gains: tuple[float, ...] = parameter((1.0, 2.0), "stiffness", unit="N/m")
    quiet: bool = parameter(False, "say less", formerly="silent")
    camera: Camera = group(Camera)


@pytest.fixture
def context() -> Iterator[Context]:
    """Yield a ROS context of the test's own."""
    context = Context()
    rclpy.init(context=context)
    yield context
    rclpy.shutdown(context=context)


def node_with(context: Context, path: Path) -> Node:
    """Return the node /moto/arm, made with the parameter file `path`."""
    arguments = ["--ros-args", "--params-file", str(path)]
    return Node(
        "arm",
        namespace="moto",
        context=context,
        cli_args=arguments,
        automatically_declare_parameters_from_overrides=True,
        start_parameter_services=False,
    )


@pytest.mark.parametrize(
    "settings",
    [
        Settings("172.16.0.2"),
        Settings("1e-5", rate=1e-300, gains=(), camera=Camera(names=())),
        Settings("on", rate=1e20, gains=(1.0, 1e-7), quiet=True),
        Settings("2024-01-01", camera=Camera(names=("null", "7", "a: b"))),
        Settings("", steps=100, rate=0.0),
        Settings("grüße 'x' \"y\" # z", camera=Camera(exposure=1.0)),
    ],
)
def test_a_node_gets_what_was_written(context: Context, tmp_path: Path, settings: Settings) -> None:
    """Breaks every system: nodes get their parameters from files that `bringup` wrote."""
    path = tmp_path / "arm.yaml"
    write_parameters(path, "/moto/arm", flatten(settings))
    node = node_with(context, path)
    assert settings_of(node, Settings) == settings
    node.destroy_node()


@pytest.mark.parametrize("sections", permutations(["/**", "/moto/arm", "/**/arm"]), ids=" ".join)
def test_of_several_sections_the_same_one_wins_as_in_ros(
    context: Context, tmp_path: Path, sections: tuple[str, ...]
) -> None:
    """Breaks whoever gives one file to `moto` and to `ros2 run`: the node would get another value."""
    path = tmp_path / "arm.yaml"
    path.write_text("".join(f"{name}: {{ros__parameters: {{address: of {name}}}}}\n" for name in sections))
    node = node_with(context, path)
    assert read_parameters(path, "arm") == {"address": node.get_parameter("address").value}
    node.destroy_node()


def test_a_misspelt_parameter_stops_the_node_with_the_right_name(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "arm.yaml"
    write_parameters(path, "/moto/arm", {"address": "arm", "camera.exposre": 0.1})
    node = node_with(context, path)
    with pytest.raises(MotoError, match=r"/moto/arm: unknown parameter 'camera.exposre'; did you mean camera.exposure"):
        settings_of(node, Settings)
    node.destroy_node()


def test_users_see_unit_and_range_of_a_running_node(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "arm.yaml"
    write_parameters(path, "/moto/arm", {"address": "arm"})
    node = node_with(context, path)
    settings_of(node, Settings)
    described = node.describe_parameter("camera.exposure")
    assert described.description == "exposure [s, 0.0..1.0]"
    assert described.floating_point_range[0].to_value == 1.0
    assert described.read_only
    node.destroy_node()


def test_a_node_takes_a_former_name_and_says_the_present_one(
    context: Context, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Breaks `ros2 run ... --ros-args -p` and launch files of one's own after an update."""
    path = tmp_path / "arm.yaml"
    write_parameters(path, "/moto/arm", {"address": "arm", "silent": True})
    node = node_with(context, path)
    assert settings_of(node, Settings).quiet
    assert node.get_parameter("quiet").value is True
    assert not node.has_parameter("silent")
    assert capfd.readouterr().err.count("parameter 'silent' is now called 'quiet'") == 1
    node.destroy_node()
