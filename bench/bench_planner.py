"""Plan time of FOWM by preset, budget, uncertainty and threads; misses beside a trainer; loss of score; updates/s."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_learning import PREFIX, RandomData, timed
from rich.console import Console
from rich.table import Table
from torch import Tensor

from moto_ros.agents.fowm.agent import FowmAgent
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.score import Imagined, Terminal, elite_scores, full_scores
from moto_ros.agents.interface import ActRequest, Batch, Spaces
from moto_ros.config import build, config_folder, read_parameters
from moto_ros.nodes.learning_settings import TrainerNodeSettings

WARM_UP_PLANS = 3
"""Plans not counted at the start, while the running estimates converge."""


@dataclass(frozen=True)
class PlanResult:
    """Times in ms of the plans of one case."""

    preset: str
    threads: int
    uncertainty: str
    deadline_ms: float
    busy: bool
    p50_ms: float
    p95_ms: float
    p99_ms: float
    iterations: float
    policy_answers: int
    missed: int
    plans: int


@dataclass(frozen=True)
class LossResult:
    """How much lower the score of the search with `plan_exact` off is, in percent of the exact search's score."""

    preset: str
    searches: int
    mean_percent: float
    worst_percent: float


@dataclass(frozen=True)
class UpdateResult:
    """Updates of one preset."""

    preset: str
    threads: int
    batch: int
    observed: str
    updates_per_s: float


def settings_of(preset: str) -> FowmSettings:
    """Return the settings of a shipped preset."""
    values = read_parameters(config_folder() / "agents" / f"{preset}.yaml")
    return build(FowmSettings, {name.removeprefix(PREFIX): value for name, value in values.items()}, preset)


def make(settings: FowmSettings, spaces: Spaces, device: torch.device) -> FowmAgent:
    """Return an agent with random instead of zero heads, so that candidates differ as in use."""
    agent = FowmAgent(spaces, settings, 0, device)
    with torch.no_grad():
        agent.network.reward_head.output.weight.normal_(std=0.2)
        agent.network.q.last.weight.normal_(std=0.01)
    agent.actor.load_state_dict(agent.network.state_dict())  # what acts may be an average, without these weights
    return agent


def plans(
    agent: FowmAgent, spaces: Spaces, deadline: float | None, seconds: float, device: torch.device
) -> Sequence[Any]:
    """Return the figures of each plan, at a fixed rate where there is a deadline, else one after the other."""
    drawn = {name: rows[:, 0] for name, rows in RandomData(spaces, device).batch("all", 1, 2).items()}
    observation: Batch = {name: drawn[name] for name in drawn if name in ("image", "proprio", "action")}
    figures: list[dict[str, float]] = []
    state, end = agent.start(1), time.perf_counter() + seconds
    while time.perf_counter() < end or len(figures) <= 2 * WARM_UP_PLANS:
        began = time.perf_counter()
        decision = agent.act(observation, state, ActRequest(sample=True, deadline=deadline))
        if device.type == "cuda":
            torch.cuda.synchronize()
        figures.append(dict(decision.figures, plan_s=time.perf_counter() - began))
        state = decision.state
        if deadline is not None:
            time.sleep(max(0.0, began + deadline - time.perf_counter()))
    return figures[WARM_UP_PLANS:]


def plan_case(
    preset: str, kind: str, deadline: float | None, busy: bool, spaces: Spaces, seconds: float, device: torch.device
) -> PlanResult:
    """Measure one case; `kind` is "off", "exact" or "likely"."""
    settings = replace(settings_of(preset), plan_exact=kind == "exact")
    settings = replace(settings, penalty=0.0) if kind == "off" else settings
    figures = plans(make(settings, spaces, device), spaces, deadline, seconds, device)
    spent = 1000 * np.array([one["plan_s"] for one in figures])
    return PlanResult(
        preset=preset,
        threads=torch.get_num_threads(),
        uncertainty=kind,
        deadline_ms=0.0 if deadline is None else 1000 * deadline,
        busy=busy,
        **{f"p{q}_ms": float(np.percentile(spent, q)) for q in (50, 95, 99)},
        iterations=float(np.mean([one["plan_iterations"] for one in figures])),
        policy_answers=int(sum(one["policy_answered"] for one in figures)),
        missed=int(sum(one["deadline_missed"] for one in figures)),
        plans=len(figures),
    )


def plain_plan(agent: FowmAgent, latent: Tensor) -> None:
    """Plan without optimisations, for comparison: each head and step by itself, all candidates in every iteration."""
    settings, model = agent.settings, agent.network
    one_by_one = [torch.tensor([member]) for member in range(settings.heads)]

    def heads(z: Tensor, a: Tensor, members: Sequence[Tensor]) -> Tensor:
        return torch.cat([model.q_values(z, a, members=member) for member in members])

    mean = torch.zeros(settings.plan_horizon, agent.spaces.action)
    std = torch.full_like(mean, settings.plan_max_std)
    for _ in range(settings.plan_iterations):
        actions = (
            mean[:, None] + std[:, None] * torch.randn(len(mean), settings.candidates, agent.spaces.action)
        ).clamp(-1, 1)
        z, score = latent.expand(settings.candidates, -1), torch.zeros(settings.candidates)
        for step, action in enumerate(actions):
            uncertainty = heads(z, action, one_by_one).std(0)
            score = score + settings.discount**step * (model.reward(z, action) - settings.penalty * uncertainty)
            z = model.advance(z, action)
        last = model.policy(z)
        score = score + heads(z, last, one_by_one[:2]).amin(0) - settings.penalty * heads(z, last, one_by_one).std(0)
        best = score.topk(settings.plan_elites)
        weight = best.values.mul(settings.plan_temperature).softmax(0)
        mean = (weight[None, :, None] * actions[:, best.indices]).sum(1)


def plain_case(preset: str, spaces: Spaces, seconds: float) -> float:
    """Return the median time of a plan without optimisations [ms]."""
    agent = make(settings_of(preset), spaces, torch.device("cpu"))
    latent = torch.rand(1, agent.settings.latent_size)
    with torch.inference_mode():
        return 1000 * float(np.median(timed(lambda: plain_plan(agent, latent), seconds)))


def expected_score(examined: Tensor, scores: Tensor, settings: FowmSettings) -> float:
    """Return the score that the sequence drawn among the elites has on average, the elites being those `examined`."""
    elites = scores.gather(-1, examined.topk(settings.plan_elites, -1).indices)
    weights = (settings.plan_temperature * (elites - elites.amax(-1, keepdim=True))).softmax(-1)
    return float((weights * elites).sum())


@torch.inference_mode()
def loss_case(preset: str, spaces: Spaces, searches: int) -> LossResult:
    """Search the same candidates with `plan_exact` on and off, and compare the expected scores."""
    settings = settings_of(preset)
    agent, losses = make(settings, spaces, torch.device("cpu")), []
    for seed in range(searches):
        bound, imagined, terminal = candidates(agent, spaces, torch.Generator().manual_seed(seed))
        penalty = agent.planner.scorer.penalty
        scores = full_scores(bound, imagined, terminal, penalty)
        likely = elite_scores(bound, imagined, terminal, penalty, settings.plan_elites, likely=True)
        exact, found = (expected_score(examined, scores, settings) for examined in (scores, likely))
        losses.append(100 * (exact - found) / abs(exact))
    return LossResult(preset, searches, float(np.mean(losses)), float(np.max(losses)))


def candidates(agent: FowmAgent, spaces: Spaces, stream: torch.Generator) -> tuple[Tensor, Imagined, Terminal]:
    """Return first candidates of a plan from a random latent: scores without uncertainty, and what to examine."""
    settings, scorer = agent.settings, agent.planner.scorer
    shape = settings.plan_horizon, 1, settings.candidates, spaces.action
    latent = torch.rand(1, settings.latent_size, generator=stream)
    drawn = (settings.plan_max_std * torch.randn(shape, generator=stream)).clamp(-1, 1)
    imagined = scorer.imagine(latent, drawn)
    terminal = scorer.terminal(imagined, torch.randn(shape[1:], generator=stream), torch.tensor([0, 1]))
    return scorer.upper_bound(imagined, terminal), imagined, terminal


def update_case(preset: str, spaces: Spaces, seconds: float, device: torch.device) -> UpdateResult:
    """Measure updates, at the preset's batch."""
    agent, data = make(settings_of(preset), spaces, device), RandomData(spaces, device)
    spent = timed(partial(agent.update, "joint", data), seconds)
    observed = "state" if spaces.image is None else f"{spaces.image[0]} px + state"
    rate = 1 / float(np.median(spent))
    return UpdateResult(preset, torch.get_num_threads(), agent.settings.batch, observed, rate)


def train_indefinitely(preset: str, spaces: Spaces, threads: int) -> None:
    """Keep the machine as busy as a trainer does, at a trainer's nice value."""
    os.setpriority(os.PRIO_PROCESS, 0, TrainerNodeSettings.nice)
    torch.set_num_threads(threads)
    device = torch.device("cpu")
    agent, data = make(settings_of(preset), spaces, device), RandomData(spaces, device)
    while True:
        agent.update("joint", data)


@contextmanager
def trainer(preset: str, spaces: Spaces, threads: int) -> Iterator[None]:
    """Run a busy trainer in another process."""
    process = multiprocessing.get_context("spawn").Process(target=train_indefinitely, args=(preset, spaces, threads))
    process.start()
    time.sleep(5.0)
    try:
        yield
    finally:
        process.terminate()
        process.join()


def cases(options: argparse.Namespace, device: torch.device) -> tuple[list[PlanResult], list[UpdateResult]]:
    """Measure everything that was asked for."""
    image = Spaces((options.image, options.image, 3), options.proprio, options.action)
    state = Spaces(None, options.proprio, options.action)
    found, updated = [], []
    for threads in options.threads:
        torch.set_num_threads(threads)
        for preset in options.presets:
            for kind in ("off", "exact", "likely"):
                found.append(plan_case(preset, kind, None, False, image, options.seconds, device))
            for rate in options.rates:
                found.append(plan_case(preset, "likely", 1 / rate, False, image, options.seconds, device))
            updated += [update_case(preset, spaces, options.seconds, device) for spaces in (image, state)]
    torch.set_num_threads(1)
    for preset in options.presets:
        with trainer(preset, image, len(os.sched_getaffinity(0))):
            for rate in options.rates:
                found.append(plan_case(preset, "likely", 1 / rate, True, image, 2 * options.seconds, device))
    return found, updated


def show(results: dict[str, Sequence[Any]], plain: dict[str, float]) -> None:
    """Print the tables."""
    way = ", ".join(f"{preset} {spent:.0f} ms" for preset, spent in plain.items())
    for title, rows in results.items():
        table = Table(title=f"{title}; without optimisations: {way}" if title == "plans" else title)
        for heading in asdict(rows[0]):
            table.add_column(heading.replace("_", " "))
        for row in rows:
            table.add_row(
                *(f"{value:.2f}" if isinstance(value, float) else str(value) for value in asdict(row).values())
            )
        Console(file=sys.stderr, width=150).print(table)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["fowm_ci", "fowm_quick", "fowm_modern", "fowm_paper"])
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each case [s]")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores}), help="CPU threads")
    parser.add_argument("--rates", type=float, nargs="+", default=[10.0, 20.0], help="ticks that are deadlines [Hz]")
    parser.add_argument("--compared", type=int, default=10, help="searches by which the loss of score is measured")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to plan and learn")
    parser.add_argument("--image", type=int, default=84, help="side of the square image [px]")
    parser.add_argument("--proprio", type=int, default=4, help="size of the proprioception vector")
    parser.add_argument("--action", type=int, default=4, help="size of the action vector")
    parser.add_argument("--json", type=Path, help="also write the JSON to this file")
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables to stderr and JSON to stdout."""
    options = arguments()
    timed_plans, updated = cases(options, torch.device(options.device))
    torch.set_num_threads(max(options.threads))
    state = Spaces(None, options.proprio, options.action)
    lost = [loss_case(preset, state, options.compared) for preset in options.presets]
    plain = {preset: plain_case(preset, state, options.seconds) for preset in options.presets}
    tables: dict[str, Sequence[Any]] = {"plans": timed_plans, "updates": updated, "loss of score": lost}
    show(tables, plain)
    results = {title.replace(" ", "_"): [asdict(row) for row in rows] for title, rows in tables.items()}
    text = json.dumps({"planner": results | {"plain_ms": plain, "torch": torch.__version__}}, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
