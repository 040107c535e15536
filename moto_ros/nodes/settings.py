"""Parameters of the episode and recorder nodes, and what settings classes share. No ROS, no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from moto_ros.config import REQUIRED, parameter
from moto_ros.nodes.episode_machine import EpisodeRules
from moto_ros.nodes.series import SeriesSettings

T = TypeVar("T")


def part(settings: Any, kind: type[T]) -> T:
    """Return the `kind` that `settings`, of a class derived from it, contains."""
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    return kind(**{field.name: getattr(settings, field.name) for field in fields})


@dataclass(frozen=True)
class Peers:
    """Whose a node is, and whom it waits for."""

    session: int = parameter(0, "which running system the node is part of; 0: started by hand", low=0, high=2**62)
    wait_for: tuple[str, ...] = parameter((), "nodes to be connected with before saying to be ready")


@dataclass(frozen=True)
class EpisodeSettings(Peers, SeriesSettings, EpisodeRules):
    """Parameters of the episode node."""

    cameras: tuple[str, ...] = parameter((), "cameras whose health an episode depends on")
    ready_timeout: float = parameter(
        120.0, "give up when the nodes waited for are not ready by then", unit="s", low=0.1
    )


@dataclass(frozen=True, kw_only=True)
class RecorderSettings(Peers):
    """Parameters of the recorder node."""

    bags: str = parameter(REQUIRED, "folder that gets one sub-folder a purpose, with one bag an episode")
    evaluation_folder: str = parameter("evaluation", "name of the sub-folder for evaluation episodes")
    cameras: tuple[str, ...] = parameter(("agent",), "cameras to record")
    compressed: bool = parameter(False, "record the cameras' JPEG topics instead of the raw ones")
    arbitrated: bool = parameter(False, "record the policy's proposals beside the actions that were executed")
    extra_topics: tuple[str, ...] = parameter((), "more topics, each as topic:package/msg/Type")
    pre_roll: float = parameter(0.5, "messages received this long before an episode go to its bag too", unit="s", low=0)
    settle: float = parameter(0.1, "messages received this long after its end still do", unit="s", low=0.0, high=60.0)
    flush_period: float = parameter(0.5, "write to disk at least this often", unit="s", low=0.01, high=1.0)
    backlog: int = parameter(1024, "drop, and count, when this much waits for the disk", unit="MiB", low=1)
