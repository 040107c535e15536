"""Updates per second of MOTO, plan times and updates of FOWM, or a profile of MOTO, at one size, as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_learning import PREFIX, RandomData, parameter_count, timed
from bench_planner import make, plans
from torch.profiler import ProfilerActivity, profile

from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.interface import Agent, Spaces
from moto_ros.agents.moto.agent import MotoAgent
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.config import build, config_folder, read_parameters

MOTO_SPACES = Spaces((64, 64, 3), 0, 4)
"""Observations of Meta-World's agents in the paper: pixels only."""

FOWM_SPACES = Spaces((84, 84, 3), 4, 4)
SHOWN = 40
"""Operators that a profile names."""


def settings_of(kind: Any, agent: str, size: str) -> Any:
    """Return the settings of a shipped preset."""
    name = f"{agent}_{size}"
    values = read_parameters(config_folder() / "agents" / f"{name}.yaml")
    return build(kind, {key.removeprefix(PREFIX): value for key, value in values.items()}, name)


def variants(settings: Any) -> Iterator[tuple[str, Any]]:
    """Yield the settings as they are, and with each way to compute faster that they offer."""
    yield "float32", settings
    known = {field.name for field in fields(settings)}
    if "precision" in known:
        yield "bfloat16", replace(settings, precision="bfloat16")
    for name in known & {"compile", "compile_steps"}:
        yield "compiled", replace(settings, **{name: True})
    if {"precision", "compile_steps"} <= known:
        yield "bfloat16, compiled", replace(settings, precision="bfloat16", compile_steps=True)


def updates(agent: Agent, data: RandomData, seconds: float) -> dict[str, float]:
    """Return updates per second by phase; every update ends in numbers on the CPU, so no work is pending."""
    return {phase: 1 / float(np.median(timed(partial(agent.update, phase, data), seconds))) for phase in agent.phases}


def moto(size: str, device: torch.device, seconds: float) -> dict[str, Any]:
    """Return updates per second of both phases."""
    found, data = {}, RandomData(MOTO_SPACES, device)
    for name, settings in variants(settings_of(MotoSettings, "moto", size)):
        agent = MotoAgent(MOTO_SPACES, settings, 0, device)
        found[name] = {"updates_per_s": updates(agent, data, seconds), "parameters": parameter_count(agent)}
    return found


def fowm(size: str, device: torch.device, seconds: float) -> dict[str, Any]:
    """Return plan times in ms and updates per second."""
    found, data = {}, RandomData(FOWM_SPACES, device)
    for name, settings in variants(settings_of(FowmSettings, "fowm", size)):
        agent = make(settings, FOWM_SPACES, device)
        spent = [1000 * one["plan_s"] for one in plans(agent, FOWM_SPACES, None, seconds, device)]
        times = {f"p{q}_ms": float(np.percentile(spent, q)) for q in (50, 95, 99)}
        found[name] = {"plan": times | {"plans": len(spent)}, "updates_per_s": updates(agent, data, seconds)}
    return found


def where(size: str, device: torch.device, seconds: float) -> dict[str, Any]:
    """Return the operators that take most of an update of each phase of MOTO: calls, CPU and device time in ms."""
    agent = MotoAgent(MOTO_SPACES, settings_of(MotoSettings, "moto", size), 0, device)
    data, found = RandomData(MOTO_SPACES, device), {}
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    for phase in agent.phases:
        agent.update(phase, data)
        with profile(activities=kinds) as watched:
            agent.update(phase, data)
        found[phase] = _operators(watched)
    return found


def _operators(watched: profile) -> list[dict[str, Any]]:
    rows = [
        {
            "name": row.key,
            "calls": row.count,
            "cpu_ms": row.self_cpu_time_total / 1000,
            "device_ms": row.self_device_time_total / 1000,
        }
        for row in watched.key_averages()
    ]
    return sorted(rows, key=lambda row: -(row["device_ms"] or row["cpu_ms"]))[:SHOWN]


WORKS = {"moto": moto, "fowm": fowm, "profile": where}


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=tuple(WORKS))
    parser.add_argument("--size", default="paper", help="preset")
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each figure [s]")
    parser.add_argument("--json", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    found = WORKS[options.what](options.size, torch.device(options.device), options.seconds)
    facts = {"size": options.size, "device": options.device, "threads": torch.get_num_threads()}
    text = json.dumps({options.what: found} | facts | {"torch": torch.__version__}, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
