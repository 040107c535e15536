"""The 50 Meta-World tasks under MOTO's protocol: sparse reward, action repeat, a start state drawn from a seed."""

from __future__ import annotations

import sys

import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from moto_ros.errors import MotoError
from moto_sim.arm import ArmNames, SimArm, joint_names
from moto_sim.mujoco_world import MujocoWorld, check_action
from moto_sim.pristine import Pristine
from moto_sim.renderer import FreeView
from moto_sim.snapshot import Snapshot
from moto_sim.world import Script

AGENT_VIEW = FreeView(azimuth=15.0, elevation=-22.5, distance=0.75, lookat=(-0.15, 0.65, 0.25))
"""The camera of MOTO's Meta-World experiments."""

TABLE_VIEW = FreeView(azimuth=-135.0, elevation=-35.0, distance=0.8, lookat=(0.0, 0.75, 0.15))
"""Close, from above a corner of the table: all three coordinates of a goal can be seen in one image."""

CAMERA_NAMES = {"gripperPOV": "wrist"}
"""Meta-World's camera -> a second name for it. Its corner cameras are upside down; their images are not rotated."""

SAWYER = ArmNames(base="base", hand="hand", joints=joint_names("right_j", range(7)))
FINGERS = ("rightEndEffector", "leftEndEffector")

HAND_INIT = (0.1, 0.5, 0.3)
"""Mean start position of the hand in MOTO's protocol, m."""

SETTLING_STEPS = 10

GOAL = slice(-3, None)
"""Entries of Meta-World's observation that hold the goal's position."""

MAX_REWARD = 10.0
"""Maximum of Meta-World's shaped reward."""


class MetaWorld(MujocoWorld):
    """One Meta-World task; actions are (dx, dy, dz, gripper).

    The reward is 1 while success holds and 0 otherwise ("sparse"), or Meta-World's own, scaled to 0..1 ("dense").
    """

    action_size = 4
    joint_names = SAWYER.joints

    def __init__(
        self,
        task: str,
        image_size: tuple[int, int],
        action_repeat: int = 2,
        reward: str = "sparse",
        hand_init: tuple[float, float, float] = HAND_INIT,
        hand_noise: float = 0.02,
        goal_radius: float = 0.0,
        expert_aim: float = 0.0,
    ) -> None:
        """Make `task`.

        `hand_noise` is the standard deviation of the hand's start around `hand_init`, m; `expert_aim` that of the error
        of the goal that the scripted expert sees, m; `goal_radius` is the radius of the ball that shows the goal, m
        (0: 2 cm).
        """
        self.task = task
        self._env = ALL_V3_ENVIRONMENTS[task]()
        super().__init__(self._env.model, self._env.data, image_size)
        self._unfreeze()
        if goal_radius:
            self._show_goal(goal_radius)
        self._pristine = Pristine(self._env)
        self._arm = SimArm(self._env.model, self._env.data, SAWYER)
        self._repeat, self._hand_init, self._hand_noise = action_repeat, np.asarray(hand_init), hand_noise
        self._dense, self._aim = reward == "dense", expert_aim
        self._goal_error: np.ndarray = np.zeros(3)
        self.control_period = action_repeat * self._env.dt
        self._views = {"agent": AGENT_VIEW.camera(), "table": TABLE_VIEW.camera()} | self._views
        self._views |= {alias: self._views[name] for name, alias in CAMERA_NAMES.items() if name in self._views}
        self.expert_observation = np.zeros(39)

    @staticmethod
    def tasks() -> tuple[str, ...]:
        """Return the names of all tasks, such as `window-open-v3`."""
        return tuple(ALL_V3_ENVIRONMENTS)

    def expert(self, seed: int) -> Script:
        """Return Meta-World's scripted policy of the task; it draws nothing from `seed`."""
        from moto_sim.experts import MetaWorldExpert  # loads every policy of Meta-World

        return MetaWorldExpert(self)

    def reset(self, seed: int) -> Snapshot:
        """Draw object positions and the hand's start from `seed`, then let the arm settle for ten still steps."""
        hand, objects, expert = (np.random.default_rng(source) for source in np.random.SeedSequence(seed).spawn(3))
        self._pristine.restore()
        self._goal_error = self._aim * expert.standard_normal(3)
        self._env.np_random = objects
        self._env.hand_init_pos = self._hand_init + self._hand_noise * hand.standard_normal(3)
        self._env.reset()
        for _ in range(SETTLING_STEPS):
            outcome = self._substep(np.zeros(4, np.float32))
        return self._snapshot(*outcome)

    def step(self, action: np.ndarray) -> Snapshot:
        """Repeat `action` for one control period; success is that at the end of it."""
        values = check_action(action, self.action_size)
        for _ in range(self._repeat):
            outcome = self._substep(values)
        return self._snapshot(*outcome)

    def _unfreeze(self) -> None:
        """Let each reset draw the objects again, show the goal to the expert, and set no step limit."""
        env = self._env
        env._freeze_rand_vec, env._partially_observable, env._set_task_called = False, False, True
        env.seeded_rand_vec, env.max_path_length = True, sys.maxsize
        # The bounds that observations are clipped to were computed for a hidden goal, and cached.
        vars(env).pop("sawyer_observation_space", None)

    def _show_goal(self, radius: float) -> None:
        """Draw the goal with this radius, m; raise MotoError where the task shows none."""
        try:
            self._env.model.site("goal").size[:] = radius
        except KeyError:
            raise MotoError(
                f"goal_radius is {radius}, but {self.task} shows no goal, expected 0; do not set it"
            ) from None

    def _substep(self, action: np.ndarray) -> tuple[bool, float]:
        """Do one environment step; store the expert's observation. Return success and shaped reward (0..1)."""
        self.expert_observation, reward, _, _, info = self._env.step(action)
        self.expert_observation[GOAL] += self._goal_error
        return bool(info["success"]), float(reward) / MAX_REWARD

    def _snapshot(self, success: bool, shaped: float) -> Snapshot:
        """Return the state of the robot, of its surroundings and of the task."""
        right, left = (self._env.data.site(name).xpos for name in FINGERS)
        return Snapshot(
            **self._arm.state(),
            gripper_width=float(np.linalg.norm(right - left)),
            reward=shaped if self._dense else float(success),
            success=success,
            shaped=shaped,
            objects=self._arm.in_base(np.reshape(self._env._get_pos_objects(), (-1, 3))),
            goals=self._arm.in_base(np.reshape(np.asarray(self._env._target_pos), (-1, 3))),
        )
