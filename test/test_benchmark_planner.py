"""The measurements of FOWM's planner and of learning: they print the times and sizes of what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
from bench_learning import parameter_count
from bench_planner import loss_case, make, plan_case, settings_of

from moto_ros.agents.interface import Spaces
from moto_ros.agents.registry import agent_settings, make_agent

STATE = Spaces(None, 4, 4)


@pytest.mark.parametrize("preset", ["fowm_ci", "fowm_quick", "fowm_modern_quick"])
def test_what_plans_in_the_bench_tells_candidates_apart(preset: str) -> None:
    """Presets that act by averaged weights once planned among candidates that were all worth nothing."""
    agent = make(settings_of(preset), STATE, torch.device("cpu"))
    latent = torch.rand(16, agent.settings.latent_size)
    with torch.inference_mode():
        values = agent.actor.q_values(latent, torch.rand(16, 4))
    assert float(values.std(0).min()) > 0
    assert float(values.std(1).min()) > 0


@pytest.mark.parametrize("preset", ["fowm_ci", "fowm_quick"])
def test_the_loss_of_the_likely_search_is_printed_for_every_preset(preset: str) -> None:
    """Scores of zero ended `make bench` with a division by zero, after minutes and before any table."""
    found = loss_case(preset, STATE, 2)
    assert 0 <= found.worst_percent < 100


def test_a_plan_without_a_deadline_does_all_its_iterations() -> None:
    found = plan_case("fowm_quick", "likely", None, False, STATE, 0.1, torch.device("cpu"))
    assert found.iterations == settings_of("fowm_quick").plan_iterations


def test_a_network_that_has_two_names_is_counted_once() -> None:
    """The sizes in the table were twice those of the agents, whose network acts as well."""
    agent = make_agent("bc", STATE, agent_settings("bc")(hidden=16), 0)
    assert agent.actor is agent.network
    assert parameter_count(agent) == sum(weight.numel() for weight in agent.network.parameters())
    averaging = make_agent("bc", STATE, agent_settings("bc")(hidden=16, actor_ema=0.9), 0)
    assert parameter_count(averaging) == 2 * parameter_count(agent)
