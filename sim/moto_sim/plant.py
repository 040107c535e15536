"""The simulated robot and its cameras, as the simulator node runs them on a thread of their own. No ROS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from moto_ros.camera.interface import Intrinsics
from moto_ros.contract.stamps import FIRST_STAMP
from moto_sim.settings import SimSettings
from moto_sim.snapshot import Snapshot
from moto_sim.world import Script, World, make_world


@dataclass(frozen=True)
class SimObservation:
    """One observation: stamp in ns, snapshot, RGB frames by camera, and the expert's action if asked for."""

    stamp: int
    snapshot: Snapshot
    frames: dict[str, np.ndarray]
    expert: np.ndarray | None


@dataclass(frozen=True)
class Body:
    """Constants of a simulated robot: sizes, names, calibration, and simulated seconds per step."""

    action_size: int
    joint_names: tuple[str, ...]
    intrinsics: dict[str, Intrinsics]
    control_period: float


class Plant:
    """A world with its cameras. Create and use it on one thread: the rendering context belongs to that thread."""

    def __init__(self, settings: SimSettings, clock: Callable[[], int] | None) -> None:
        """Build the world; `clock` stamps observations, None: simulation time does. Raises MotoError."""
        self._settings = settings
        self._world: World = make_world(settings.world, settings.camera_size, **settings.options)
        self._clock = clock
        self._time = SimulationTime(self._world.control_period)
        self._hold = np.zeros(self._world.action_size, np.float32)
        if clock is not None or settings.expert:
            # In real time the robot is seen before the first reset; an expert is of an episode that has begun.
            self._world.reset(0)
        self._expert = self._make_expert(0)

    def body(self) -> Body:
        """Return the constants of the robot; raise MotoError for an unknown camera."""
        world = self._world
        intrinsics = {camera: world.camera_intrinsics(camera) for camera in self._settings.cameras}
        return Body(world.action_size, tuple(world.joint_names), intrinsics, world.control_period)

    def reset(self, seed: int, steps: int) -> SimObservation:
        """Start an episode drawn from `seed` and observe it; the one before had `steps` steps."""
        snapshot = self._world.reset(seed)
        self._time.reset(steps)
        self._expert = self._make_expert(seed)
        return self._observe(snapshot)

    def _make_expert(self, seed: int) -> Script | None:
        return self._world.expert(seed) if self._settings.expert else None

    def step(self, action: np.ndarray | None) -> SimObservation:
        """Move for one control period, without an action with a zero action, and observe."""
        snapshot = self._world.step(self._hold if action is None else action)
        self._time.step()
        return self._observe(snapshot)

    def _observe(self, snapshot: Snapshot) -> SimObservation:
        stamp = self._time.now if self._clock is None else self._clock()
        frames = {camera: self._world.render(camera) for camera in self._settings.cameras}
        return SimObservation(stamp, snapshot, frames, None if self._expert is None else self._expert.action())

    def close(self) -> None:
        """Free the world."""
        self._world.close()


class SimulationTime:
    """Stamps that depend only on resets and on the steps of episodes: an episode begins `GAP` after the one before.

    So a step after the end of an episode, by an action that was already on its way, changes no later stamp.
    """

    GAP = 10_000_000_000
    """Nanoseconds from the end of an episode to the beginning of the next."""

    def __init__(self, period: float) -> None:
        """Start before the first reset; `period` in simulated seconds."""
        self._period = round(period * 1e9)
        self._begun = self.now = FIRST_STAMP

    def reset(self, steps: int) -> None:
        """Begin the next episode; the one before had `steps` steps."""
        end = self._begun + steps * self._period
        beyond = max(0, self.now - end) // self.GAP
        self._begun = self.now = end + (1 + beyond) * self.GAP

    def step(self) -> None:
        """Let one control period pass."""
        self.now += self._period
