"""Descriptions of robot sides for the suite: how each is started, and what its configuration means in SI units."""

from __future__ import annotations

from dataclasses import dataclass, field

from support.franky_server import free_address


@dataclass(frozen=True)
class World:
    """A robot side. Its figures follow from its configuration; the suite measures whether they hold."""

    name: str
    arguments: dict[str, str]  # of the system `evaluate` in moto_ros/systems/bringup.py
    nodes: tuple[str, ...]  # those of its nodes that are the robot, cameras and reward
    needs: tuple[str, ...]  # Python packages without which it cannot run here
    cameras: tuple[str, ...]
    image: tuple[int, int]  # height and width, px
    camera_rate: float  # Hz
    state_rate: float  # Hz
    control_rate: float  # Hz
    action_size: int
    axes: tuple[tuple[float, float, float], ...]  # m in the base frame that an action of +1 moves in one step, by entry
    joints: int
    gripper: tuple[float, float]  # minimum and maximum distance between the fingers, m
    lifespan: float  # s, maximum age of an action
    hold_after: float  # s without a fresh action until the robot holds
    stop_after: float  # s without a fresh action until it stands still
    stop_distance: float  # m that the hand may move after a stop or after the actions end
    still: float = 0.002  # m that counts as not moved
    forgets: bool = True  # whether it continues after a hold from where it is, not from its last target
    compressed: bool = False
    health: bool = True  # whether its cameras publish their health
    parameters: dict[str, str] = field(default_factory=dict)  # more parameters, as in `-p name:=value`

    @property
    def period(self) -> float:
        """Return the control period in seconds."""
        return 1.0 / self.control_rate


SIMULATOR = World(
    name="simulator",
    arguments={"backend": "sim", "clock": "realtime", "task": "window_open"},
    nodes=("sim",),
    needs=("mujoco", "metaworld"),
    cameras=("agent",),
    image=(64, 64),
    camera_rate=10.0,
    state_rate=10.0,
    control_rate=10.0,
    action_size=4,
    axes=((0.02, 0.0, 0.0), (0.0, 0.02, 0.0), (0.0, 0.0, 0.02)),
    joints=7,
    gripper=(0.0, 0.2),
    lifespan=0.5,
    hold_after=0.2,
    stop_after=0.5,
    stop_distance=0.04,
    forgets=False,
    health=False,
)


def franka_on_franky_sim() -> World:
    """Describe the Franka driver on a simulated arm of this process, with a synthetic camera through the real SDK."""
    address = free_address()
    return World(
        name="franka on franky-sim",
        arguments={"backend": "franka_sim", "task": "franka_reach"},
        nodes=("franka_server", "franka", "camera", "reward"),
        needs=("franky", "franky_sim", "pyrealsense2"),
        cameras=("front",),
        image=(120, 160),
        camera_rate=30.0,
        state_rate=50.0,
        control_rate=10.0,
        action_size=4,
        axes=((0.02, 0.0, 0.0), (0.0, 0.02, 0.0), (0.0, 0.0, 0.02)),
        joints=7,
        gripper=(0.0, 0.081),
        lifespan=0.5,
        hold_after=0.2,
        stop_after=0.5,
        stop_distance=0.05,
        compressed=True,
        parameters={
            "franka_server.address": address,
            "franka.host": address,
            "franka.state_rate": "50.0",
            "camera.cameras": "[front]",
            "camera.devices": "[synthetic-1]",
            "camera.width": "[160]",
            "camera.height": "[120]",
        },
    )


WORLDS = (SIMULATOR, franka_on_franky_sim())
