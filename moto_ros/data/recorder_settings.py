"""Parameters of the recorder node."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.config import REQUIRED, parameter
from moto_ros.contract.peers import Peers


@dataclass(frozen=True, kw_only=True)
class RecorderSettings(Peers):
    """Parameters of the recorder node."""

    bags: str = parameter(REQUIRED, "folder for the bags: one sub-folder for each purpose, one bag for each episode")
    evaluation_folder: str = parameter("evaluation", "name of the sub-folder for evaluation episodes")
    cameras: tuple[str, ...] = parameter(("agent",), "cameras to record")
    compressed: bool = parameter(False, "record the cameras' JPEG topics instead of the raw ones")
    operator_in_loop: bool = parameter(
        False, "record the policy's proposals beside the actions that were executed", formerly="arbitrated"
    )
    extra_topics: tuple[str, ...] = parameter((), "more topics, each as topic:package/msg/Type")
    pre_roll: float = parameter(
        0.5, "messages received up to this long before an episode are recorded too", unit="s", low=0
    )
    settle: float = parameter(
        0.1, "messages received up to this long after its end are recorded too", unit="s", low=0.0, high=60.0
    )
    flush_period: float = parameter(0.5, "write to disk at least this often", unit="s", low=0.01, high=1.0)
    backlog: int = parameter(
        1024, "messages are dropped, and counted, while this much waits for the disk", unit="MiB", low=1
    )
