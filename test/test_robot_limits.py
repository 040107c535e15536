"""Settings of an arm: contradictions are refused at start, in a sentence that names the parameter."""

from __future__ import annotations

from typing import Any

import pytest
from support.arm import GIVEN, robot_settings

from moto_ros.config import build, read_parameters, shipped
from moto_ros.errors import MotoError
from moto_ros.robot.reset import SceneSettings, check_scene
from moto_ros.robot.settings import with_arm


@pytest.mark.parametrize("name", ["fr3", "panda", "franky_sim"])
def test_shipped_robots_fit_together(name: str) -> None:
    settings = build(with_arm("franka"), read_parameters(shipped("robots", name), "franka"), name)
    settings.check(name)


@pytest.mark.parametrize("name", ["host", "box_low", "box_high"])
def test_a_robot_does_not_start_without_the_parameters_that_have_no_safe_default(name: str) -> None:
    """Breaks tables: a workspace box that somebody forgot must not be a large one."""
    with pytest.raises(MotoError, match=f"'{name}'.*missing"):
        build(with_arm("franka"), {key: value for key, value in GIVEN.items() if key != name}, "test")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"box_low": (0.3, 0.3, 0.05)}, "box_low"),
        ({"box_low": (0.3, 0.3)}, "box_low"),
        ({"safe_height": 0.7}, "safe_height"),
        ({"home": (0.0,) * 7}, "home"),
        ({"home_spread": (0.1, 0.1, 0.1, 0.1, 0.1, 2.0, 0.1)}, "home_spread"),
        ({"joint_low": (0.0,) * 3}, "joint_low"),
        ({"collision_force": (10.0,) * 6}, "contact_force"),
        ({"translation_step": 0.1}, "translation_step"),
        ({"control": "joint", "action_axes": ("joint1",), "joint_step": 0.5}, "joint_step"),
        ({"control": "joint"}, "action_axes"),
        ({"action_axes": ("x", "x")}, "action_axes"),
        ({"gripper.present": False}, "gripper.present"),
        ({"control_rate": 2.0}, "stop_after"),
        ({"gripper.open_width": 0.1}, "gripper.open_width"),
        (
            {"control": "joint_velocity", "action_axes": ("joint1",), "joint_velocity_scale": 2.0},
            "joint_velocity_scale",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_contradictions_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(MotoError, match=rf"test: parameter .*{named}"):
        robot_settings(**changes).check("test")


@pytest.mark.parametrize("points", [(), (0.5, 0.0, 0.2), (0.5, 0.0, 2.0, 1.0)], ids=["none", "not whole", "outside"])
def test_a_script_that_cannot_be_played_is_refused(points: tuple[float, ...]) -> None:
    scene = SceneSettings(scene_reset="script", script_waypoints=points)
    with pytest.raises(MotoError, match="'script_waypoints'"):
        check_scene(scene, robot_settings(), "test")
