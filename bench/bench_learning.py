"""Updates per second of each phase, sizes and acting time of every preset: a table and JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from moto_ros.agents.interface import ActRequest, Agent, Batch, Prioritised, Spaces
from moto_ros.agents.registry import agent_settings, make_agent
from moto_ros.config import build, config_folder, read_parameters

PREFIX = "agent."


@dataclass
class Result:
    """What was measured of one preset."""

    preset: str
    parameters: int
    batch: str
    updates_per_s: dict[str, float] = field(default_factory=dict)
    act_ms_median: float = 0.0
    act_ms_p95: float = 0.0


class RandomData:
    """Batches of noise in the shapes of a task; drawn once, so that the sampler is not what is measured."""

    def __init__(self, spaces: Spaces, device: torch.device) -> None:
        self._spaces = spaces
        self._device = device
        self._drawn: dict[tuple[int, int], Batch] = {}

    def holds(self, source: str) -> bool:
        """Return True: noise never runs out."""
        return True

    def batch(self, source: str, size: int, length: int) -> Batch:
        """Return the batch of this shape."""
        if (size, length) not in self._drawn:
            chunk = random_chunk(self._spaces, size, length)
            self._drawn[size, length] = {name: torch.from_numpy(rows).to(self._device) for name, rows in chunk.items()}
        return dict(self._drawn[size, length])

    def windows(self, source: str, size: int, length: int, prioritised: Prioritised | None = None) -> Batch:
        """Return the batch of this shape as windows that lie inside their episodes."""
        more = {"valid": torch.ones(size, length, dtype=torch.bool), "weight": torch.ones(size)}
        more["index"] = more["episode"] = torch.arange(size)
        more["frame"] = torch.arange(size * length).view(size, length)
        more["steps_to_success"] = torch.arange(length, 0, -1).expand(size, length)
        return self.batch(source, size, length) | {name: rows.to(self._device) for name, rows in more.items()}

    def prioritise(self, source: str, index: Tensor, priority: Tensor) -> None:
        """Ignore priorities."""


def random_chunk(spaces: Spaces, size: int, length: int) -> dict[str, np.ndarray]:
    """Return a chunk batch of noise."""
    generator = np.random.default_rng(0)
    first = np.zeros((size, length), bool)
    first[:, 0] = True
    chunk = {
        "proprio": generator.standard_normal((size, length, spaces.proprio), np.float32),
        "action": generator.uniform(-1, 1, (size, length, spaces.action)).astype(np.float32),
        "reward": generator.integers(0, 2, (size, length)).astype(np.float32),
        "is_first": first,
        "is_terminal": np.zeros((size, length), bool),
        "imitable": np.ones((size, length), bool),
        "begins": np.zeros((size, length), bool),
    }
    if spaces.image is not None:
        chunk["image"] = generator.integers(0, 256, (size, length, *spaces.image), np.uint8)
    return chunk


def timed(work: Callable[[], Any], seconds: float, most: int = 1000) -> list[float]:
    """Return how long each call took, in s, after one that warms up; for `seconds`, but at least one call."""
    work()
    spent: list[float] = []
    while not spent or (sum(spent) < seconds and len(spent) < most):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return spent


def measure(preset: Path, spaces: Spaces, seconds: float, device: torch.device) -> Result:
    """Measure one preset."""
    values = {
        name.removeprefix(PREFIX): value for name, value in read_parameters(preset).items() if name.startswith(PREFIX)
    }
    name = preset.stem.split("_")[0]
    settings = build(agent_settings(name), values, str(preset))
    agent = make_agent(name, spaces, settings, seed=0, device=device)
    data = RandomData(spaces, device)
    # An agent without windows learns from single steps: two rows.
    result = Result(preset.stem, parameter_count(agent), f"{settings.batch} x {getattr(settings, 'length', 2)}")
    for phase in agent.phases:
        spent = timed(partial(agent.update, phase, data), seconds)
        result.updates_per_s[phase] = 1 / float(np.median(spent))
    acting = 1000 * np.asarray(timed(acting_loop(agent, spaces, device), seconds / 4))
    result.act_ms_median, result.act_ms_p95 = (float(np.percentile(acting, q)) for q in (50, 95))
    return result


def parameter_count(agent: Agent) -> int:
    """Return the number of weights in the agent's networks, each once; copies (targets, averages) are included."""
    modules = [value for value in vars(agent).values() if isinstance(value, torch.nn.Module)]
    weights = {id(weight): weight for module in modules for weight in module.parameters()}  # two names, one network
    return sum(weight.numel() for weight in weights.values())


def acting_loop(agent: Agent, spaces: Spaces, device: torch.device) -> Callable[[], None]:
    """Return a call that filters one observation and acts, carrying the state along as the policy node does."""
    drawn = {name: rows[:, 0] for name, rows in RandomData(spaces, device).batch("all", 1, 2).items()}
    observation: Batch = {name: drawn[name] for name in drawn if name in ("image", "proprio", "action")}
    state = agent.start(1)

    def act() -> None:
        nonlocal state
        state = agent.act(observation, state, ActRequest(sample=True)).state

    return act


def show(results: Sequence[Result], device: torch.device) -> None:
    """Print the table."""
    threads = torch.get_num_threads()
    table = Table(title=f"learning on {device.type}, {threads} thread(s), PyTorch {torch.__version__}")
    for heading in ("preset", "parameters", "batch", "updates/s", "act, median ms", "act, p95 ms"):
        table.add_column(heading, justify="left" if heading == "preset" else "right")
    for one in results:
        rates = "\n".join(f"{phase} {rate:.2f}" for phase, rate in one.updates_per_s.items())
        cells = (f"{one.parameters:,}", one.batch, rates, f"{one.act_ms_median:.2f}", f"{one.act_ms_p95:.2f}")
        table.add_row(one.preset, *cells)
    Console(file=sys.stderr).print(table)


def presets() -> list[str]:
    """Return the names of the shipped presets, the quickest first."""
    found = sorted(path.stem for path in (config_folder() / "agents").glob("*.yaml"))
    return sorted(found, key=lambda name: ("paper" in name, name))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", default=presets(), help="names of files in config/agents")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each phase of each preset [s]")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="CPU threads")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to learn")
    parser.add_argument("--image", type=int, default=64, help="side of the square image, 0 for none [px]")
    parser.add_argument("--proprio", type=int, default=4, help="size of the proprioception vector")
    parser.add_argument("--action", type=int, default=4, help="size of the action vector")
    parser.add_argument("--json", type=Path, help="also write the JSON to this file")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table to stderr and JSON to stdout."""
    options = arguments()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    shape = (options.image, options.image, 3) if options.image else None
    spaces = Spaces(shape, options.proprio, options.action)
    folder = config_folder() / "agents"
    results = [measure(folder / f"{name}.yaml", spaces, options.seconds, device) for name in options.presets]
    show(results, device)
    facts = {"device": device.type, "threads": options.threads, "torch": torch.__version__, "spaces": asdict(spaces)}
    text = json.dumps({"learning": facts | {"presets": [asdict(one) for one in results]}}, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
