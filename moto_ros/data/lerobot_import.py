"""Turns an episode of a LeRobot dataset into the rows of one here: the reverse of the export, or of another program's.

In a dataset of another program, the observation that the last action led to is not recorded. The last image and state
are repeated for it, so that this action, its reward and success are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from moto_ros.contract.stamps import FIRST_STAMP, NSEC_PER_SEC
from moto_ros.data.episode_bag import EpisodeRows
from moto_ros.data.lerobot_dataset import LeRobotFolder
from moto_ros.data.lerobot_export import OWN
from moto_ros.data.lerobot_features import (
    ACTION,
    GUARD,
    INTERVENTION,
    LAST,
    REWARD,
    SOURCE,
    STAMP,
    SUCCESS,
    TERMINATED,
)
from moto_ros.data.lerobot_map import DatasetMap
from moto_ros.data.records import HUMAN, SOURCES, UNKNOWN_SOURCE
from moto_ros.errors import MotoError

REWARD_SOURCES = ("dataset", "success_at_end", "zero")
ROUNDING = 1e-4
"""Excess over [-1, 1] that is due to rounding, and clipped."""

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ActionScale:
    """The commands that become action -1 and +1: one number, or one an entry; both empty: actions are in [-1, 1]."""

    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class EpisodeImporter:
    """Makes the rows of each episode of a dataset."""

    def __init__(
        self, dataset: LeRobotFolder, taken: DatasetMap, reward: str = "", scale: ActionScale | None = None
    ) -> None:
        """Take what `taken` maps. `reward` is one of REWARD_SOURCES; empty: the dataset's, success at the end without.

        Raises MotoError where rewards are asked for that the dataset does not have.
        """
        self.dataset, self.taken, self._scale = dataset, taken, scale or ActionScale()
        rewarded = bool({REWARD, SUCCESS} & set(dataset.features))
        self.reward = reward or ("dataset" if rewarded else "success_at_end")
        if self.reward == "dataset" and not rewarded:
            text = f"{dataset.root}: has no {REWARD} and no {SUCCESS}, expected one of them for --reward dataset"
            raise MotoError(f"{text}; give --reward success_at_end or zero")
        numbers = [int(row.get(f"{OWN}id", -1)) for row in dataset.episodes]
        self._keeps_numbers = min(numbers) >= 0 and len(set(numbers)) == len(numbers)

    def rows(self, row: dict[str, Any], first_number: int) -> EpisodeRows:
        """Return an episode; its number is the one it was exported with, or `first_number` plus its index."""
        columns = self.dataset.columns(row)
        own = LAST in columns and bool(columns[LAST][-1])
        repeats = 0 if own else 1
        count = int(row["length"]) + repeats
        success = self._success(columns, count, own)
        terminal = (
            _later(columns[TERMINATED], own) if TERMINATED in columns else success & (np.arange(count) == count - 1)
        )
        number = int(row[f"{OWN}id"]) if self._keeps_numbers else first_number + int(row["episode_index"])
        facts = {name: row[f"{OWN}{name}"] for name in ("purpose", "reason", "arm") if row.get(f"{OWN}{name}")}
        return EpisodeRows(
            number=number,
            stamps=self._stamps(columns, count),
            states={name: _held(part.of(columns), repeats) for name, part in self.taken.states.items()},
            frames={c: self._frames(row, key, repeats) for c, key in self.taken.cameras.items()},
            action=_later(self._action(columns, row), own),
            reward=self._reward(columns, success, count, own),
            success=success,
            is_terminal=terminal,
            source=_source(columns, count, own),
            guard=_later(columns[GUARD], own) if GUARD in columns else np.zeros(count, np.int64),
            joints=self.taken.joints,
            outcome=row.get(f"{OWN}outcome") or ("success" if success[-1] else "time_limit"),
            policy_version=int(row.get(f"{OWN}policy_version") or 0),
            meta={"dataset": self.dataset.root.name, "task": str((row.get("tasks") or [""])[0])},
            **facts,
        )

    def _frames(self, row: dict[str, Any], key: str, repeats: int) -> Iterator[np.ndarray]:
        for pixels in self.dataset.frames(row, key):
            yield pixels
        yield from [pixels] * repeats

    def _stamps(self, columns: Columns, count: int) -> np.ndarray:
        if STAMP in columns and len(columns[STAMP]) == count and (np.diff(columns[STAMP]) > 0).all():
            return columns[STAMP].astype(np.int64)
        return FIRST_STAMP + np.round(np.arange(count) * (NSEC_PER_SEC / self.dataset.fps)).astype(np.int64)

    def _action(self, columns: Columns, row: dict[str, Any]) -> np.ndarray:
        """Return the actions, float32 (N, A) in [-1, 1]."""
        values = columns[ACTION].reshape(int(row["length"]), -1)
        if self._scale.low:
            low, high = np.array(self._scale.low), np.array(self._scale.high)
            values = 2.0 * (values.astype(np.float64) - low) / (high - low) - 1.0
        largest = float(np.abs(values).max())
        if not largest <= 1.0 + ROUNDING:
            raise MotoError(self._out_of_range(row, largest))
        return np.clip(values, -1.0, 1.0).astype(np.float32)

    def _out_of_range(self, row: dict[str, Any], largest: float) -> str:
        text = f"{self.dataset.root}: an action of episode {row['episode_index']} is {largest:.4g}, expected [-1, 1]"
        known = self.dataset.action_range()
        if known is None or self._scale.low:
            return f"{text}; give the commands that become -1 and +1 with --action-low and --action-high"
        low, high = (",".join(f"{value:.7g}" for value in values) for values in known)
        return f"{text}; say which command becomes -1 and +1, e.g. its range: --action-low={low} --action-high={high}"

    def _success(self, columns: Columns, count: int, own: bool) -> np.ndarray:
        """Return success by row, bool (T+1,)."""
        if self.reward == "dataset" and SUCCESS in columns:
            return _later(columns[SUCCESS].astype(bool), own)
        return (np.arange(count) == count - 1) & (self.reward == "success_at_end")

    def _reward(self, columns: Columns, success: np.ndarray, count: int, own: bool) -> np.ndarray:
        if self.reward == "dataset" and REWARD in columns:
            return _later(columns[REWARD], own)
        return success.astype(np.float32)


def _later(values: np.ndarray, own: bool) -> np.ndarray:
    """Return what frame t holds in row t + 1, and zero in row 0; the last frame of an own dataset holds nothing."""
    kept = values[:-1] if own else values
    return np.concatenate([np.zeros_like(values[:1]), kept])


def _held(values: np.ndarray, repeats: int) -> np.ndarray:
    return np.concatenate([values, *[values[-1:]] * repeats])


def _source(columns: Columns, count: int, own: bool) -> np.ndarray:
    """Return who chose the action of each row, uint8 (T+1,); unknown where the dataset does not say."""
    if SOURCE in columns:
        found = _later(columns[SOURCE], own).astype(np.uint8)
    elif INTERVENTION in columns:
        policy = SOURCES.index("policy")
        found = np.where(_later(columns[INTERVENTION].astype(bool), own), HUMAN, policy).astype(np.uint8)
    else:
        found = np.full(count, UNKNOWN_SOURCE, np.uint8)
    found[0] = UNKNOWN_SOURCE
    return found
