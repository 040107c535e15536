"""Parameters of the episode node."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.config import parameter
from moto_ros.contract.peers import Peers
from moto_ros.episode.episode_machine import EpisodeRules
from moto_ros.episode.series import SeriesSettings


@dataclass(frozen=True)
class EpisodeSettings(Peers, SeriesSettings, EpisodeRules):
    """Parameters of the episode node."""

    cameras: tuple[str, ...] = parameter((), "cameras whose health an episode depends on")
    ready_timeout: float = parameter(
        120.0, "give up when the nodes of wait_for are not ready after this long", unit="s", low=0.1
    )
