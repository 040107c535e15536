"""Environment frames per second by the number of processes, each with a world that steps and renders."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "sim")]

MOST = 16
STARTING = 240.0
"""Time that all worlds may take to be ready, s."""


def count_frames(name: str, side: int, seconds: float, ready: Any, counts: Any) -> None:
    """Step and render a world for `seconds` after all others are ready; put the number of frames into `counts`."""
    import numpy as np
    from moto_sim.world import make_world

    world = make_world(name, side)
    actions = np.random.default_rng(0).uniform(-1, 1, (1000, world.action_size)).astype(np.float32)
    world.reset(0)
    world.render("agent")
    ready.wait(STARTING)
    frames, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        world.step(actions[frames % len(actions)])
        world.render("agent")
        frames += 1
    counts.put(frames)
    world.close()


def measure(processes: int, name: str, side: int, seconds: float) -> float:
    """Return the frames per second of this many processes together."""
    context = multiprocessing.get_context("spawn")
    ready, counts = context.Barrier(processes), context.Queue()
    arguments = (name, side, seconds, ready, counts)
    workers = [context.Process(target=count_frames, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    try:
        return sum(counts.get(timeout=STARTING + 2 * seconds) for _ in workers) / seconds
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def counts_of_processes() -> list[int]:
    """Return 1, 2, 4... up to 16 or the number of cores."""
    cores = len(os.sched_getaffinity(0))
    return [count for count in (1, 2, 4, 8, MOST) if count <= cores]


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", default="metaworld/drawer-open-v3")
    parser.add_argument("--side", type=int, default=64, help="of the square frame [px]")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each number of processes [s]")
    parser.add_argument("--processes", type=int, nargs="+", default=counts_of_processes())
    parser.add_argument("--json", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    rates = {str(n): measure(n, options.world, options.side, options.seconds) for n in options.processes}
    result = {"world": options.world, "side": options.side, "frames_per_s": rates}
    text = json.dumps(result | {"cores": len(os.sched_getaffinity(0)), "gl": os.environ.get("MUJOCO_GL", "")}, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
