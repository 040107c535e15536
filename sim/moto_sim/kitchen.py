"""Franka Kitchen with the two element sets of MOTO's experiments; the reward, 0 to 4, counts completed elements."""

from __future__ import annotations

import mujoco
import numpy as np
from gymnasium_robotics.envs.franka_kitchen.kitchen_env import OBS_ELEMENT_GOALS, OBS_ELEMENT_INDICES, KitchenEnv

from moto_sim.arm import ArmNames, SimArm, joint_names
from moto_sim.mujoco_world import MujocoWorld, check_action
from moto_sim.renderer import FreeView
from moto_sim.snapshot import Snapshot
from moto_sim.world import Script

ELEMENTS = {
    "mixed": ("microwave", "kettle", "light switch", "slide cabinet"),
    "partial": ("microwave", "kettle", "bottom burner", "light switch"),
}
"""Element sets under the names of MOTO's authors. D4RL swaps the names: its kitchen-partial has the
slide cabinet and its kitchen-mixed the bottom burner. So reports name the elements, not only the set."""

THRESHOLD = 0.3
"""Distance from its goal (Euclidean, over the joints of an element) at which an element is complete: D4RL's rule."""

AGENT_VIEW = FreeView(azimuth=90.0, elevation=-60.0, distance=1.86, lookat=(-0.3, 0.5, 2.0))
"""The camera of MOTO's kitchen experiments, from above."""

PANDA = ArmNames(
    base="panda0_link0",
    hand="panda0_link7",
    joints=joint_names("robot:panda0_joint", range(1, 8)),
    tool="end_effector",
)
FINGER_JOINTS = ("robot:panda0_finger_joint1", "robot:panda0_finger_joint2")


class Kitchen(MujocoWorld):
    """Nine joint velocities (seven arm, two finger joints); the reward is the number of elements that are complete now.

    An element that is moved back is no longer rewarded. `facts["completed"]` keeps every element that was ever
    completed, in the order of completion: that is what evaluation counts.
    """

    action_size = 9
    joint_names = PANDA.joints

    def __init__(self, task: str, image_size: tuple[int, int]) -> None:
        """Make the kitchen whose goal is the element set `task`."""
        self.task, self.elements = task, ELEMENTS[task]
        self._env = KitchenEnv(
            tasks_to_complete=list(self.elements), terminate_on_tasks_completed=False, remove_task_when_completed=False
        )
        super().__init__(self._env.model, self._env.data, image_size)
        self._arm = SimArm(self._env.model, self._env.data, PANDA)
        self._views = {"agent": AGENT_VIEW.camera()} | self._views
        self._completed: tuple[str, ...] = ()
        self.control_period = self._env.robot_env.dt

    @staticmethod
    def tasks() -> tuple[str, ...]:
        """Return the names of the element sets."""
        return tuple(ELEMENTS)

    @property
    def model(self) -> mujoco.MjModel:
        """Return the simulator's model, for scripted experts."""
        return self._model

    @property
    def data(self) -> mujoco.MjData:
        """Return the simulator's state, for scripted experts."""
        return self._data

    def distance(self, element: str) -> float:
        """Return how far any element of the kitchen is from its goal, as the task's rule measures it."""
        return float(np.linalg.norm(self._data.qpos[OBS_ELEMENT_INDICES[element]] - OBS_ELEMENT_GOALS[element]))

    def expert(self, seed: int) -> Script:
        """Return the scripted expert for four elements in an order that `seed` draws."""
        from moto_sim.kitchen_expert import KitchenExpert, drawn_elements  # which imports this module

        return KitchenExpert(self, drawn_elements(seed))

    def reset(self, seed: int) -> Snapshot:
        """Return to the fixed start pose; `seed` draws the joint measurement noise that the velocity control uses."""
        observation, _ = self._env.reset(seed=seed)
        self._completed = ()
        return self._snapshot(observation)

    def step(self, action: np.ndarray) -> Snapshot:
        """Command joint velocities, `action` times 2 rad/s (m/s for the fingers), for one control period."""
        observation, *_ = self._env.step(check_action(action, self.action_size).astype(float))
        return self._snapshot(observation)

    def _snapshot(self, observation: dict[str, dict[str, np.ndarray]]) -> Snapshot:
        """Return the state of the robot and of the task."""
        complete = complete_elements(observation["achieved_goal"], observation["desired_goal"], self.elements)
        self._completed += tuple(name for name in complete if name not in self._completed)
        self._refresh()
        width = float(sum(self._data.joint(name).qpos[0] for name in FINGER_JOINTS))
        return Snapshot(
            **self._arm.state(),
            gripper_width=width,
            reward=float(len(complete)),
            shaped=len(complete) / len(self.elements),
            success=len(complete) == len(self.elements),
            facts={"elements": self.elements, "complete": complete, "completed": self._completed},
        )

    def _refresh(self) -> None:
        """Update poses and velocities, which the integrator leaves one sub-step behind."""
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        mujoco.mj_comVel(self._model, self._data)


def complete_elements(
    achieved: dict[str, np.ndarray],
    goal: dict[str, np.ndarray],
    elements: tuple[str, ...],
    threshold: float = THRESHOLD,
) -> tuple[str, ...]:
    """Return the `elements` whose joints are within `threshold` (Euclidean, D4RL's rule) of their goal, in order."""
    return tuple(name for name in elements if np.linalg.norm(achieved[name] - goal[name]) < threshold)
