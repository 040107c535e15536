"""Reset of arm and scene: open the hand, rise to a safe height, go home, reset the scene, draw a start pose. No ROS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from moto_ros.config import parameter
from moto_ros.errors import MotoError
from moto_ros.robot.envelope import Box
from moto_ros.robot.interface import Arm, ArmFault, FaultKind
from moto_ros.robot.interruptible_wait import Interrupted, InterruptibleWait
from moto_ros.robot.kinematics import Pose
from moto_ros.robot.limits import RobotSettings
from moto_ros.robot.mover import Mover

HAND_TIMEOUT = 15.0
"""Seconds that a motion of the fingers may take before the reset fails.

Half of the default `reset_timeout`, which would end this wait too, but with an error that does not name the hand.
"""


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """Who resets the scene."""

    scene_reset: str = parameter(
        "none",
        "what resets the scene: nothing, waypoints of the arm, a person, or episodes of a policy",
        choices=("none", "script", "operator", "policy"),
    )
    script_waypoints: tuple[float, ...] = parameter(
        (), "x, y, z (m) of each waypoint, and the hand there: -1 closes, 1 opens, 0 leaves it"
    )
    scene_timeout: float = parameter(
        30.0, "time to wait for operator/ready; less than the episode node's reset_timeout", unit="s", low=0.1
    )
    on_scene_timeout: str = parameter(
        "abort",
        "what happens when the person has not confirmed by then",
        choices=("continue", "abort"),
        formerly="scene_unanswered",
    )


def check_scene(scene: SceneSettings, robot: RobotSettings, source: str) -> None:
    """Raise MotoError if a script has no waypoints, or a waypoint is incomplete or outside the box."""
    if scene.scene_reset != "script":
        return
    count, box = len(scene.script_waypoints), Box.of(robot.box_low, robot.box_high)
    if count == 0 or count % 4:
        raise MotoError(
            f"{source}: parameter 'script_waypoints' has {count} numbers, expected four (x, y, z, hand) for each "
            "waypoint; fix the task's file"
        )
    for number, (position, _) in enumerate(waypoints(scene), 1):
        if box.outside(position):
            raise MotoError(
                f"{source}: parameter 'script_waypoints', waypoint {number} is {position.tolist()}, expected a "
                f"position inside the box {list(robot.box_low)}..{list(robot.box_high)}; fix the task's file"
            )


def waypoints(scene: SceneSettings) -> Iterator[tuple[np.ndarray, float]]:
    """Yield position (3,) in m and hand (-1 closes, 1 opens, 0 leaves it) of each waypoint."""
    for row in np.reshape(scene.script_waypoints, (-1, 4)):
        yield row[:3], float(row[3])


class Resetter:
    """Resets arm and scene to a start state."""

    def __init__(
        self, settings: RobotSettings, scene: SceneSettings, arm: Arm, mover: Mover, wait: InterruptibleWait
    ) -> None:
        """Take a connected arm; during a reset nothing else controls it."""
        self._settings, self._scene, self._arm, self._mover, self._wait = settings, scene, arm, mover, wait
        self._prepared = threading.Event()
        self.waiting = False

    def ready(self) -> None:
        """Confirm, for the operator, that the scene is prepared."""
        self._prepared.set()

    def run(self, seed: int) -> None:
        """Reset; `seed` draws the start pose. Raises ArmFault and Interrupted."""
        rng = np.random.default_rng(seed)
        if self._settings.reset_opens:
            self._move_hand(1.0)
        self.rise()
        self._go_home(np.zeros(self._settings.joints))
        if self._scene.scene_reset == "script":
            self._play_waypoints()
        elif self._scene.scene_reset == "operator":
            self._wait_for_operator()
        self._go_to_start_pose(rng)

    def rise(self) -> None:
        """Move straight up to the safe height."""
        here = self._mover.pose()
        if here.position[2] < self._settings.safe_height:
            goal = Pose(np.array([*here.position[:2], self._settings.safe_height]), here.rotation)
            self._straight(goal)

    def _straight(self, goal: Pose) -> None:
        self._mover.straight(goal, self._settings.reset_translation_speed, self._settings.reset_timeout)

    def _go_home(self, spread: np.ndarray) -> None:
        self._mover.joints(np.array(self._settings.home) + spread, self._settings.reset_timeout)

    def _go_to_start_pose(self, rng: np.random.Generator) -> None:
        """Draw the start pose around home and move there."""
        settings = self._settings
        if settings.home_spread:
            self._go_home(rng.uniform(-1.0, 1.0, settings.joints) * settings.home_spread)
        if settings.home_spread_position:
            here = self._mover.pose()
            position = here.position + rng.uniform(-1.0, 1.0, 3) * settings.home_spread_position
            self._straight(Pose(Box.of(settings.box_low, settings.box_high).clip(position), here.rotation))

    def _play_waypoints(self) -> None:
        """Reset the scene by moving along the waypoints, then go home."""
        rotation = self._mover.pose().rotation
        for position, hand in waypoints(self._scene):
            self._straight(Pose(position, rotation))
            self._move_hand(hand)
        self.rise()
        self._go_home(np.zeros(self._settings.joints))

    def _wait_for_operator(self) -> None:
        """Wait until the operator has prepared the scene."""
        self._prepared.clear()
        self.waiting = True
        try:
            answered = self._wait.until(self._prepared.is_set, self._scene.scene_timeout)
        finally:
            self.waiting = False
        if not answered and self._scene.on_scene_timeout == "abort":
            raise Interrupted(
                f"operator/ready: not called within {self._scene.scene_timeout:g} s; prepare the scene, then call it"
            )

    def _move_hand(self, value: float) -> None:
        """Close (below 0) or open (above 0) the hand, and wait for it."""
        gripper = self._arm.gripper
        if gripper is None or value == 0.0:
            return
        if value > 0.0:
            gripper.move(self._settings.gripper.open_width)
        else:
            gripper.grasp(self._settings.gripper.force)
        if not self._wait.until(lambda: not gripper.busy, HAND_TIMEOUT):
            raise ArmFault(FaultKind.OTHER, f"hand: still moving after {HAND_TIMEOUT:g} s; free the fingers")
