"""Parameters of the simulator's nodes. No ROS, no MuJoCo."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.config import parameter
from moto_ros.contract.peers import Peers
from moto_ros.experiments.world_options import WorldOptions

CLOCKS = ("lockstep", "realtime")


@dataclass(frozen=True)
class SimSettings(Peers, WorldOptions):
    """Parameters of the simulator node."""

    world: str = parameter("metaworld/window-open-v3", "world to simulate, such as kitchen/mixed")
    cameras: tuple[str, ...] = parameter(("agent",), "cameras to publish")
    camera_size: int = parameter(64, "side of the published square image", unit="px", low=8, high=2048)
    compressed: bool = parameter(False, "publish JPEG in place of raw images")
    jpeg_quality: int = parameter(90, "quality of published JPEG images", unit="%", low=1, high=100)
    clock: str = parameter(
        "lockstep", "move when the action arrives, or on a timer at the control rate", choices=CLOCKS
    )
    control_rate: float = parameter(10.0, "rate of control steps in realtime", unit="Hz", low=0.1, high=1000.0)
    action_timeout: float = parameter(
        2.0, "lockstep: publish the last observation again when no action has arrived for this long", unit="s", low=0.05
    )
    action_lifespan: float = parameter(
        0.5, "realtime: an action older than this is not executed", unit="s", low=0.001, high=60.0
    )
    expert: bool = parameter(False, "publish what the task's scripted expert would do, for the script node")


@dataclass(frozen=True)
class ScriptSettings(Peers):
    """Parameters of the scripted expert's node."""

    seed: int = parameter(0, "seed of the noise, together with the number of the episode", low=0, high=2**62)
    expert_noise: float = parameter(0.1, "standard deviation of the noise on each action entry", low=0.0, high=10.0)


@dataclass(frozen=True)
class FrankaServerSettings(Peers):
    """Parameters of the simulated Franka arm's node."""

    address: str = parameter("127.0.0.1", "loopback address to serve on; the robot's `host` must be the same")
