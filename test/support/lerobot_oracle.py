"""Runs on an interpreter that has `lerobot`: reads a dataset, or writes one, by lerobot's own class.

Usage: lerobot_oracle.py read DATASET RESULT.npz | lerobot_oracle.py write DATASET RESULT.npz [image]
RESULT holds every feature of every frame, stacked; images as uint8 (N, H, W, 3).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

FPS, SIDE, LENGTHS = 10, 64, (9, 7)


def read(dataset: Path) -> dict[str, np.ndarray]:
    """Return every feature of every frame as lerobot gives it to a learner."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    opened = LeRobotDataset("test/moto", root=dataset, video_backend="pyav")
    items: list[dict[str, Any]] = [opened[index] for index in range(len(opened))]
    found = {key: np.stack([np.asarray(item[key]) for item in items]) for key in items[0]}
    for key in opened.meta.camera_keys:
        found[key] = (found[key].transpose(0, 2, 3, 1) * 255.0).round().astype(np.uint8)
    window = LeRobotDataset(
        "test/moto", root=dataset, video_backend="pyav", episodes=[1], delta_timestamps={"action": [0.0, 1.0 / FPS]}
    )
    found["window"] = np.asarray(window[0]["action"])
    found["stats/action/mean"] = np.asarray(opened.meta.stats["action"]["mean"])
    return found


def write(dataset: Path, kind: str) -> dict[str, np.ndarray]:
    """Write a dataset as a program that records with lerobot does."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    image = {"dtype": kind, "shape": (SIDE, SIDE, 3), "names": ["height", "width", "channels"]}
    features = {
        "observation.images.top": image,
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a.pos", "b.pos", "c.pos"]},
        "action": {"dtype": "float32", "shape": (3,), "names": ["a.pos", "b.pos", "c.pos"]},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
    }
    made = LeRobotDataset.create("test/written", FPS, features, root=dataset, use_videos=kind == "video")
    generator, frames = np.random.default_rng(0), []
    for length in LENGTHS:
        for step in range(length):
            last = step == length - 1
            frames.append(
                {
                    "observation.images.top": smooth(step),
                    "observation.state": generator.normal(size=3).astype(np.float32),
                    "action": generator.uniform(-1, 1, 3).astype(np.float32),
                    "next.reward": np.array([float(last)], np.float32),
                    "next.success": np.array([last]),
                }
            )
            made.add_frame({**frames[-1], "task": "move the cube"})
        made.save_episode()
    made.finalize()
    return {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}


def smooth(step: int) -> np.ndarray:
    """Return an image without noise, which differs from step to step."""
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    return np.stack([across * 2 + step * 5, down * 3, np.full_like(down, 100)], -1).astype(np.uint8)


if __name__ == "__main__":
    command, folder, result, *more = sys.argv[1:]
    rows = read(Path(folder)) if command == "read" else write(Path(folder), (more or ["video"])[0])
    np.savez(result, **{key.replace("/", "|"): value for key, value in rows.items()})
