"""Data package: bag to steps, closing a bag, and replay sampling; a table and JSON."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

from support.bags import Recipe, lockstep_episode, write_bag  # noqa: E402

from moto_ros.contract.stamps import NSEC_PER_SEC  # noqa: E402
from moto_ros.data.bag_reader import read_episodes  # noqa: E402
from moto_ros.data.bag_writer import BagWriter  # noqa: E402
from moto_ros.data.cache import DecodedCache  # noqa: E402
from moto_ros.data.episode import Episode  # noqa: E402
from moto_ros.data.layout import StepLayout, TopicMap  # noqa: E402
from moto_ros.data.replay import ReplayStore  # noqa: E402

CAMERA_RATE = 15
BATCHES = ((16, 16), (64, 50))


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Return median wall and CPU seconds of `work`."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return float(np.median(walls)), float(np.median(cpus))


def bag_to_steps(folder: Path, seconds: int) -> dict[str, float]:
    """Read a bag of two 640x480 JPEG cameras at 15 Hz; return how many times faster than real time."""
    bag = folder / "jpeg" / "episode"
    recipe = Recipe(steps=seconds * CAMERA_RATE, side=(480, 640), jpeg=True, period=NSEC_PER_SEC // CAMERA_RATE)
    write_bag(bag, lockstep_episode(recipe))
    layout = StepLayout(cameras=("agent", "wrist"), proprio=("ee_position", "joint_position"))
    topics = TopicMap(compressed=True)
    wall, cpu = timed(lambda: read_episodes(bag, layout, topics), 3)
    cache = DecodedCache(folder / "cache")
    cache.read(bag, layout, topics)
    again, _ = timed(lambda: cache.read(bag, layout, topics), 3)
    size = sum(path.stat().st_size for path in bag.iterdir()) / 2**20
    speeds = {"times_real_time": seconds / wall, "times_real_time_one_core": seconds / cpu}
    return speeds | {"times_real_time_cached": seconds / again, "bag_mib": size, "bag_s": float(seconds)}


def closing(folder: Path, episodes: int = 15) -> dict[str, float]:
    """Write episodes as the recorder does, flushed each second; return what writing and closing take in ms."""
    messages = lockstep_episode(Recipe(steps=60, cameras=("agent",), side=(64, 64)))
    serialized = [(sent, sent.cdr()) for sent in messages]
    closes, writes = [], []
    for number in range(episodes):
        writer = BagWriter(folder / "closing" / f"episode_{number:06d}")
        for sent, _ in serialized:
            writer.add_topic(sent.topic, sent.type_name)
        start = time.perf_counter()
        for sent, data in serialized:
            writer.write(sent.topic, data, sent.log_time)
        writes.append(1000 * (time.perf_counter() - start) / len(serialized))
        writer.flush()
        start = time.perf_counter()
        writer.close()
        closes.append(1000 * (time.perf_counter() - start))
    p50, p95 = np.percentile(closes, [50, 95])
    return {"close_ms_p50": p50, "close_ms_p95": p95, "write_us_per_message": 1000 * float(np.median(writes))}


def random_episode(number: int, steps: int = 200) -> Episode:
    """Return an episode of 64x64 frames."""
    rng = np.random.default_rng(number)
    blank = np.zeros(steps + 1, np.float32)
    return Episode(
        images={"agent": rng.integers(0, 256, (steps + 1, 64, 64, 3), dtype=np.uint8)},
        proprio=rng.normal(size=(steps + 1, 8)).astype(np.float32),
        action=rng.uniform(-1, 1, (steps + 1, 4)).astype(np.float32),
        reward=blank,
        success=blank > 0,
        is_terminal=blank > 0,
        stamps=np.arange(steps + 1) + 1000 * number,
        info={"id": number},
    )


def sampling(folder: Path, episodes: int = 100) -> dict[str, float]:
    """Draw chunks of 64x64 frames from memory and from disk; return batches and steps per second."""
    results: dict[str, float] = {}
    for place, limit in (("memory", 2**34), ("disk", 0)):
        store = ReplayStore(folder / "replay", limit)
        for number in range(episodes):
            store.add(random_episode(number), None, "offline")
        for size, length in BATCHES:
            generator = np.random.default_rng(0)
            wall, _ = timed(lambda: store.sample("all", size, length, generator), 15)  # noqa: B023
            results[f"{place}_{size}x{length}_batches_per_s"] = 1 / wall
            results[f"{place}_{size}x{length}_steps_per_s"] = size * length / wall
    return results


def show(results: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    table = Table(title="Data: bags and replay", title_justify="left")
    for heading in ("what", "figure", "value"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for what, figures in results.items():
        for name, value in figures.items():
            table.add_row(what, name.replace("_", " "), f"{value:,.1f}")
        table.add_section()
    Console().print(table)


def main() -> int:
    """Run all; `--json FILE` also writes the figures there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--seconds", type=int, default=30, help="length of the bag to read (s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        results = {"bag to steps": bag_to_steps(folder, options.seconds), "bag": closing(folder)}
        results["replay"] = sampling(folder)
    show(results)
    print(json.dumps(results))
    if options.json:
        options.json.write_text(json.dumps(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
