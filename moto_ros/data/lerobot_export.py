"""Writes episodes as a LeRobot dataset, version 3: Parquet tables, MP4 videos, and their description."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data import lerobot_stats
from moto_ros.data.episode import Episode
from moto_ros.data.layout import StepLayout
from moto_ros.data.lerobot_features import IMAGES, INDICES, described, frame_columns
from moto_ros.data.lerobot_files import (
    CHUNK_FILES,
    DATA_PATH,
    EPISODES,
    INFO,
    MAX_TABLE_MB,
    STATS,
    TASKS,
    VERSION,
    VIDEO_PATH,
    TableWriter,
    chunk_and_file,
    write_tasks,
)
from moto_ros.data.lerobot_modules import arrow
from moto_ros.data.lerobot_video import CODECS, MAX_VIDEO_MB, VideoWriter
from moto_ros.errors import MotoError
from moto_ros.registry import expected_choice

RATE_TOLERANCE = 0.1
"""Largest deviation of an episode's rate from the dataset's, as a share."""

OWN = "moto/"
"""Beginning of the columns of `meta/episodes` that only this program writes."""

OWN_COLUMNS = ("id", "part", "purpose", "outcome", "reason", "policy_version", "arm", "lost_steps")
"""Entries of `Episode.info` that are kept."""


@dataclass
class Exported:
    """What was written: episodes, frames, and the images' error by feature in dB (PSNR)."""

    episodes: int = 0
    frames: int = 0
    psnr: dict[str, float] = field(default_factory=dict)


class DatasetWriter:
    """Writes a dataset, one episode at a time; `close` completes it."""

    def __init__(
        self, root: Path, layout: StepLayout, instruction: str, codec: str = "h264", robot: str = "", fps: int = 0
    ) -> None:
        """Write to the folder `root`, which exists and is empty.

        `instruction` is the task in words. `fps` is the rate of steps in Hz; 0: that of the first episode's stamps.
        Raises MotoError for an unknown codec.
        """
        if codec not in CODECS:
            raise MotoError(f"codec is '{codec}', expected {expected_choice(tuple(CODECS))}; set --codec")
        self._root, self._layout, self._instruction, self._robot = root, layout, instruction, robot
        self._codec, self.fps, self._measures = codec, fps, not fps
        self._videos: dict[str, VideoWriter] = {}
        self._data, self._rows = TableWriter(root / "data"), TableWriter(root / EPISODES)
        self._totals = lerobot_stats.Totals()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.written = Exported()

    def add(self, episode: Episode) -> None:
        """Append an episode: T + 1 frames. MotoError where its steps are not at the rate of those before."""
        self._check_rate(episode)
        if not self._videos:
            keys = [f"{IMAGES}{camera}" for camera in self._layout.cameras]
            self._videos = {key: VideoWriter(self._root, key, self.fps, self._codec) for key in keys}
        columns = frame_columns(episode)
        first, count = self.written.frames, len(episode) + 1
        number = self.written.episodes
        order = np.arange(count)
        columns |= {
            "timestamp": (order / self.fps).astype(np.float32),
            "frame_index": order,
            "episode_index": np.full(count, number),
            "index": first + order,
            "task_index": np.zeros(count, np.int64),
        }
        stats = {key: lerobot_stats.of_column(values) for key, values in columns.items()}
        row = self._placed(columns, number, first, count)
        for key, video in self._videos.items():
            frames = episode.images[key.removeprefix(IMAGES)]
            row |= _video_columns(key, video, frames)
            stats[key] = lerobot_stats.of_images(frames)
            self._shapes[key] = frames.shape[1:]
        own = {f"{OWN}{name}": episode.info[name] for name in OWN_COLUMNS if name in episode.info}
        own[f"{OWN}human_share"] = episode.human_share
        self._rows.add(arrow().Table.from_pylist([row | own | lerobot_stats.flat(stats)]))
        self._totals.add(stats)
        self.written.episodes, self.written.frames = number + 1, first + count

    def _check_rate(self, episode: Episode) -> None:
        """Take the rate of the first episode's stamps; check that of the others."""
        if not self._measures:
            return
        rate = NSEC_PER_SEC / float(np.median(np.diff(episode.stamps)))
        self.fps = self.fps or max(1, round(rate))
        if abs(rate / self.fps - 1.0) > RATE_TOLERANCE:
            text = f"episode {episode.info.get('id', '?')}: its steps are at {rate:.4g} Hz, expected {self.fps} Hz"
            raise MotoError(f"{text}, one whole number for all episodes; give --fps, or export fewer bags at once")

    def _placed(self, columns: Mapping[str, np.ndarray], number: int, first: int, count: int) -> dict[str, Any]:
        """Write the frames; return the columns of the episode's row that say where they are."""
        chunk, file = chunk_and_file(self._data.place())
        self._data.add(_table(columns))
        meta_chunk, meta_file = chunk_and_file(self._rows.place())
        row = {"episode_index": number, "tasks": [self._instruction], "length": count}
        row |= {"data/chunk_index": chunk, "data/file_index": file}
        row |= {"dataset_from_index": first, "dataset_to_index": first + count}
        return row | {"meta/episodes/chunk_index": meta_chunk, "meta/episodes/file_index": meta_file}

    def close(self, joints: Sequence[str] = ()) -> Exported:
        """Complete the dataset; `joints` are the names of the robot's joints. MotoError without any episode."""
        self._data.close()
        self._rows.close()
        for video in self._videos.values():
            video.close()
        if not self.written.episodes:
            raise MotoError("the bags hold no complete episode, expected one at least; `moto bag info` says why")
        write_tasks(self._root / TASKS, [self._instruction])
        (self._root / STATS).write_text(json.dumps(self._totals.as_json(), indent=2), encoding="utf-8")
        (self._root / INFO).write_text(json.dumps(self._info(joints), indent=4), encoding="utf-8")
        self.written.psnr = {key: video.psnr for key, video in self._videos.items()}
        return self.written

    def _info(self, joints: Sequence[str]) -> dict[str, Any]:
        images = {key: video.described(self._shapes[key]) for key, video in self._videos.items()}
        return {
            "codebase_version": VERSION,
            "robot_type": self._robot or None,
            "total_episodes": self.written.episodes,
            "total_frames": self.written.frames,
            "total_tasks": 1,
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": MAX_TABLE_MB,
            "video_files_size_in_mb": MAX_VIDEO_MB,
            "fps": self.fps,
            "splits": {"train": f"0:{self.written.episodes}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if images else None,
            "features": images | described(self._layout, joints),
        }


def _video_columns(key: str, video: VideoWriter, frames: np.ndarray) -> dict[str, Any]:
    span = video.add(frames)
    chunk, file = chunk_and_file(span.file)
    found = {"chunk_index": chunk, "file_index": file, "from_timestamp": span.start, "to_timestamp": span.end}
    return {f"videos/{key}/{name}": value for name, value in found.items()}


def _table(columns: Mapping[str, np.ndarray]) -> Any:
    """Return the frames as a table: one number a frame as it is, vectors as lists of a fixed length."""
    pa = arrow()
    arrays = {}
    for key, values in columns.items():
        whole = np.ascontiguousarray(values)
        flat = pa.array(whole.reshape(-1))
        is_vector = key not in INDICES and whole.ndim == 2 and whole.shape[1] > 1
        arrays[key] = pa.FixedSizeListArray.from_arrays(flat, whole.shape[1]) if is_vector else flat
    return pa.table(arrays)
