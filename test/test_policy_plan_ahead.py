"""Planning ahead and deadlines, without ROS: the time budget of an agent, and which answers are used."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.interface import ActRequest, Agent, Decision, Spaces
from moto_ros.agents.registry import agent_plans, make_agent
from moto_ros.config import build
from moto_ros.contract.episodes import Purpose
from moto_ros.data.observer import Observation
from moto_ros.errors import MotoError
from moto_ros.nodes.learning_settings import policy_settings
from moto_ros.policy.episode_policy import EpisodePolicy
from moto_ros.policy.plan_ahead import EpisodeStep, PlanAhead
from moto_ros.policy.plan_tally import PlanTally

PERIOD, SECOND = 0.1, 1_000_000_000
SMALL = {"latent_size": 8, "state_units": 8, "hidden": 8, "heads": 2, "plan_iterations": 1, "plan_horizon": 2}
PLAN = {"plan_samples": 6, "plan_policy_samples": 2, "plan_elites": 2}
PLANNER = {"agent_name": "fowm", "clock": "realtime", "plan_ahead": True}


class Spy:
    """A small real planner, with every request that it gets and every answer that it gives."""

    def __init__(self) -> None:
        self.agent: Agent = make_agent("fowm", Spaces(None, 2, 2), FowmSettings(**(SMALL | PLAN)), 0)
        self.asked: list[tuple[np.ndarray, Any, np.ndarray]] = []
        plain = self.agent.act

        def watched(observation: Any, state: Any, request: ActRequest) -> Decision:
            decision = plain(observation, state, request)
            self.asked.append((observation["proprio"][0].numpy(), request, decision.action[0].numpy()))
            return decision

        self.agent.act = watched  # type: ignore[method-assign]
        self.actor = EpisodePolicy(self.agent, 2, 0, torch.device("cpu"), PERIOD)


def seen(index: int, stamp: float) -> Observation:
    """Return an observation that tells its number, stamped in seconds."""
    return Observation(None, np.array([index, 0.5], np.float32), (), round(stamp * SECOND))


def expected(stamps: list[float]) -> list[int]:
    """Return the control steps between stamps (s): one at least, the first being one."""
    exact = [round(stamp * SECOND) for stamp in stamps]
    return [1, *(max(1, round((after - before) / (PERIOD * SECOND))) for before, after in pairwise(exact))]


@given(st.lists(st.floats(0.0, 0.7), min_size=1, max_size=8))
@settings(max_examples=30)
def test_a_plan_starts_from_as_many_steps_later_as_passed_by_the_stamps(gaps: list[float]) -> None:
    """After a skipped observation the robot would continue with the action of the previous step."""
    spy, stamps = Spy(), np.cumsum([5.0, *gaps]).tolist()
    for index, stamp in enumerate(stamps):
        spy.actor.act(seen(index, stamp))
    assert [request.elapsed for _, request, _ in spy.asked] == expected(stamps)


def test_each_episode_counts_its_steps_from_the_start() -> None:
    spy = Spy()
    spy.actor.act(seen(0, 1.0))
    spy.actor.begin(1, Purpose.TRAINING, sample=False)
    spy.actor.act(seen(0, 9.0))
    assert [request.elapsed for _, request, _ in spy.asked] == [1, 1]


def test_a_world_that_waits_makes_one_step_of_each_observation_whatever_its_stamps() -> None:
    spy = Spy()
    actor = EpisodePolicy(spy.agent, 2, 0, torch.device("cpu"))
    for stamp in (1.0, 1.01, 7.0):
        actor.act(seen(0, stamp))
    assert [(request.elapsed, request.deadline) for _, request, _ in spy.asked] == [(1, None)] * 3


def test_an_answer_without_planning_does_not_advance_the_plan() -> None:
    spy = Spy()
    spy.actor.act(seen(0, 1.0))
    before = spy.actor._state["mean"].clone()
    spy.actor.unplanned(seen(1, 1.1), np.zeros(2, np.float32))
    assert torch.equal(spy.actor._state["mean"], before)
    spy.actor.act(seen(1, 1.1), None, np.zeros(2, np.float32))
    assert [request.elapsed for _, request, _ in spy.asked] == [1, 2, 2]


class ByHand:
    """A thread whose jobs the test runs."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[Callable[[], Any], Callable[[Any], None] | None]] = deque()

    def do(self, job: Callable[[], Any], then: Callable[[Any], None] | None = None) -> None:
        """Queue a job."""
        self._jobs.append((job, then))

    def work(self, count: int) -> None:
        """Do the next jobs."""
        for _ in range(min(count, len(self._jobs))):
            job, then = self._jobs.popleft()
            if then is not None:
                then(job())


class Loop:
    """A control loop on a virtual clock, far enough ahead that no plan is late, around a planner that plans ahead."""

    def __init__(self, allowed: float = 0.06) -> None:
        self.spy, self.thread, self.tally = Spy(), ByHand(), PlanTally()
        self.ahead = PlanAhead(self.spy.actor, self.thread, self.tally, PERIOD, allowed, lambda: None)
        self.now, self.step, self.sent = time.monotonic() + 1000.0, 0, [(-1, 0.0, np.zeros(2, np.float32))]

    def due(self, new: bool = True) -> bool:
        """Let the next step be due, with a new observation or without; return whether an action is sent."""
        observation = seen(self.step, self.now) if new else None
        found = self.ahead.answer(EpisodeStep(0, self.step), observation, self.now)
        if found is None:
            return False
        assert found[0].proprio[0] == self.step
        self._is_meant(found[1].values)
        self.sent.append((self.step, self.now, found[1].values))
        self.step += 1
        self.ahead.plan_next(found[1].values, self.now)
        return True

    def _is_meant(self, values: np.ndarray) -> None:
        """Check that an action was chosen for this step, and not long ago."""
        last, when, before = self.sent[-1]
        known = [
            (place[0], request.pending) for place, request, action in self.spy.asked if np.array_equal(action, values)
        ]
        fits = [
            place == self.step if pending is None else place == last and np.array_equal(pending[0, 0], before)
            for place, pending in known
        ]
        assert any(fits), (self.step, known)
        if not any(pending is None for _, pending in known):
            assert self.now - when <= 1.5 * PERIOD + 1e-9


def test_on_time_each_action_is_planned_while_the_one_before_acts() -> None:
    loop = Loop()
    assert not loop.due()
    loop.thread.work(2)
    for _ in range(5):
        assert loop.due(new=loop.step > 0)
        loop.thread.work(2)
        loop.now += PERIOD
    counts = loop.tally.figures()
    assert (counts["plans"], counts.get("plans_late"), counts.get("plans_dropped")) == (6, None, None)
    pending = [request.pending for _, request, _ in loop.spy.asked]
    assert [found is None for found in pending] == [True, True] + [False] * 10


def test_a_late_plan_is_counted_and_the_policy_head_acts_instead() -> None:
    loop = Loop()
    loop.due()
    loop.thread.work(2)
    loop.due(new=False)
    loop.thread.work(1)  # what needs no planning
    loop.now += PERIOD
    assert loop.due()
    assert loop.spy.asked[-1][1].deadline == 0
    assert loop.spy.asked[-2][1].deadline > 0
    np.testing.assert_array_equal(loop.sent[-1][2], loop.spy.asked[-1][2])
    assert loop.tally.figures()["plans_late"] == 1


def test_an_expired_answer_is_never_used() -> None:
    """The robot would execute an outdated action."""
    loop = Loop()
    loop.due()
    loop.thread.work(2)
    loop.due(new=False)
    loop.thread.work(2)
    loop.now += 1.6 * PERIOD
    assert not loop.due()
    loop.thread.work(2)
    assert loop.due(new=False)
    assert loop.spy.asked[-1][1].pending is None
    assert loop.tally.figures()["plans_dropped"] == 1


def test_without_a_new_observation_a_ready_plan_is_not_executed() -> None:
    """A frozen camera would not stop the robot."""
    loop = Loop()
    loop.due()
    loop.thread.work(2)
    loop.due(new=False)
    loop.thread.work(2)
    loop.now += PERIOD
    assert not loop.due(new=False)


def test_a_new_episode_does_not_begin_with_the_plan_of_the_last_one() -> None:
    loop = Loop()
    loop.due()
    loop.ahead.begin()
    loop.thread.work(2)
    assert not loop.due(new=False)
    assert not loop.spy.asked


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("work"), st.integers(1, 3)),
        st.tuples(st.just("wait"), st.floats(0.0, 0.3)),
        st.tuples(st.just("due"), st.booleans()),
    ),
    max_size=25,
)


@given(EVENTS)
@settings(max_examples=60)
def test_in_any_order_of_events_a_step_executes_only_the_action_chosen_for_it(events: list[Any]) -> None:
    loop = Loop()
    for what, value in events:
        if what == "work":
            loop.thread.work(value)
        elif what == "wait":
            loop.now += value
        else:
            loop.due(value)
    loop.now += 1.0
    loop.due()
    loop.thread.work(10**6)
    assert loop.due(new=False), "the loop has stalled"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"agent_name": "moto"}, "agent 'moto' does not plan"),
        ({"agent_name": "bc"}, "agent 'bc' does not plan"),
        ({"clock": "lockstep"}, "the clock is 'lockstep'"),
    ],
)
def test_planning_ahead_is_refused_where_it_makes_no_sense(changes: dict[str, Any], sentence: str) -> None:
    """An agent that filters observations would lose some silently."""
    given_ = PLANNER | changes
    with pytest.raises(MotoError, match=sentence):
        build(policy_settings(given_), given_, "test")


def test_only_agents_that_say_so_plan() -> None:
    assert [agent_plans(name) for name in ("moto", "fowm", "bc", "iql")] == [False, True, False, False]


@pytest.mark.parametrize(
    ("changes", "expected_time"),
    [
        ({"plan_time_fraction": 0.5, "control_rate": 20.0}, 0.025),
        ({"plan_deadline": 0.3}, 0.3),
        ({"clock": "lockstep", "plan_ahead": False}, None),
        ({"clock": "lockstep", "plan_ahead": False, "plan_deadline": 0.3}, 0.3),
    ],
)
def test_the_time_for_a_plan_is_a_share_of_the_period_and_without_end_in_lockstep(
    changes: dict[str, Any], expected_time: float | None
) -> None:
    """An unrequested deadline would make a run in lockstep unrepeatable."""
    given_ = PLANNER | changes
    assert build(policy_settings(given_), given_, "test").plan_time == expected_time


FIGURES = st.fixed_dictionaries(
    {
        "plan_s": st.floats(0.0, 1.0),
        "plan_iterations": st.integers(0, 9).map(float),
        "plan_cut": st.sampled_from((0.0, 1.0)),
        "policy_answered": st.sampled_from((0.0, 1.0)),
        "deadline_missed": st.sampled_from((0.0, 1.0)),
    }
)


@given(st.lists(FIGURES, min_size=1, max_size=30), st.integers(0, 30))
def test_figures_of_decisions_are_added_up_over_all_and_over_the_episode(found: list[Any], begin: int) -> None:
    tally = PlanTally()
    assert tally.figures() == {}
    for index, figures in enumerate(found):
        if index == begin:
            tally.begin()
        tally.add(figures)
        tally.add({})  # of an agent that does not plan
    told, since = tally.figures(), found[begin:] if begin < len(found) else found
    for which, prefix in ((found, ""), (since, "episode_")):
        assert told[f"{prefix}plans"] == len(which)
        assert told[f"{prefix}deadlines_missed"] == sum(figures["deadline_missed"] for figures in which)
        assert told[f"{prefix}policy_answers"] == sum(figures["policy_answered"] for figures in which)
    assert told["plan_max_ms"] == pytest.approx(1e3 * max(figures["plan_s"] for figures in found))
    assert told["plan_iterations_mean"] == pytest.approx(np.mean([figures["plan_iterations"] for figures in found]))
    assert bool(tally.sentence()) == (told["episode_deadlines_missed"] > 0.1 * told["episode_plans"])
