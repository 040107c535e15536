"""Settings of IQL; the defaults match FOWM's image tasks, so that the two compare."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.agents.common.averaging import AveragingSettings
from moto_ros.agents.common.encoder import EncoderSettings
from moto_ros.config import parameter


@dataclass(frozen=True)
class IqlSettings(EncoderSettings, AveragingSettings):
    """Everything that shapes the agent and its updates."""

    hidden: int = parameter(512, "units of policy and values", low=1, high=4096)
    heads: int = parameter(2, "Q heads; the least counts, their spread is the uncertainty", low=2, high=32)
    discount: float = parameter(0.9, "gamma", low=0.0, high=1.0)
    expectile: float = parameter(0.9, "tau of the value function", low=0.0, high=1.0)
    advantage_scale: float = parameter(3.0, "beta of the advantage-weighted policy", low=0.0)
    noise: float = parameter(0.05, "standard deviation of the exploring noise", low=0.0, high=1.0)
    target_rate: float = parameter(0.005, "how far the target heads follow at each update", low=0.0, high=1.0)
    rate: float = parameter(3e-4, "learning rate", low=0.0, high=1.0)
    clip: float = parameter(10.0, "global gradient norm above which gradients are scaled down", low=0.0)
    batch: int = parameter(256, "steps per update", low=1, high=65_536)
    offline_joint_updates: int = parameter(25_000, "updates before the first online episode", low=0)
    online_joint_updates: int = parameter(25, "updates after each online episode", low=0)
    online_episodes: int = parameter(1000, "online episodes of a run", low=0)
