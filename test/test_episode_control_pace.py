"""When actions are due in real time: never before the last was executed, never faster than the rate, without drift."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moto_ros.episode.control_pace import ControlPace, PaceSettings

PERIOD = 0.1


def pace(lag: int = 0, clock: str = "realtime") -> ControlPace:
    return ControlPace(PaceSettings(clock=clock, control_rate=1 / PERIOD, reward_lag=lag, action_lifespan=0.3))


def test_an_action_the_robot_has_not_taken_is_not_followed_by_another() -> None:
    """The numbers of policy and robot would drift apart, and the episode would stall."""
    found = pace(lag=1)
    assert found.due(0.0)
    found.send(0.0)
    assert not found.due(5.0)
    found.on_action_taken(1)
    assert found.due(5.0)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_rewards_may_fall_behind_by_the_lag_and_no_further(lag: int) -> None:
    """A dead reward node would be noticed only after an episode without rewards."""
    found = pace(lag)
    for step in range(lag):
        found.send(float(step))
        found.on_action_taken(step + 1)
        assert found.due(step + 0.99)
    found.send(float(lag))
    found.on_action_taken(lag + 1)
    assert not found.due(100.0)
    found.on_reward(1, 7)
    assert found.due(100.0)


def test_without_lag_the_next_observation_is_not_older_than_the_reward() -> None:
    """The policy would act on what it saw before its last action."""
    found = pace(lag=0)
    found.send(0.0)
    found.on_reward(1, 700)
    assert (found.earliest_stamp(500), found.earliest_stamp(900)) == (700, 900)
    lagging = pace(lag=1)
    lagging.on_reward(1, 700)
    assert lagging.earliest_stamp(500) == 500


@given(st.lists(st.floats(0.0, 0.4), min_size=1, max_size=60))
def test_late_actions_delay_no_later_control_tick(delays: list[float]) -> None:
    """The control rate would sink by the sum of all delays."""
    found, now = pace(lag=1), 3.0
    found.send(now)
    for step, delay in enumerate(delays, start=1):
        found.on_action_taken(step)
        found.on_reward(step, step)
        due = next(t for n in range(1, 100) if found.due(t := 3.0 + n * PERIOD + 1e-9) and t > now)
        assert due - now >= PERIOD / 2 - 1e-6
        now = due + delay * PERIOD
        found.send(now)
    assert now < 3.0 + (len(delays) + 1) * PERIOD


@given(st.lists(st.floats(0.0, 3.0), min_size=2, max_size=60))
def test_actions_paced_by_rewards_are_never_faster_than_the_rate_allows(waits: list[float]) -> None:
    found, now, sent = pace(lag=0), 0.0, []
    for wait in waits:
        now += wait * PERIOD
        if found.due(now):
            found.send(now)
            sent.append(now)
            found.on_reward(found.sent, 1)
    assert all(after - before >= 0.75 * PERIOD - 1e-9 for before, after in pairwise(sent))


def test_an_action_not_taken_within_its_lifespan_is_sent_again_once_each_lifespan() -> None:
    found = pace(lag=1)
    assert not found.action_expired(9.0)
    found.send(10.0)
    assert not found.action_expired(10.29)
    assert found.action_expired(10.31)
    found.resend(10.31)
    assert not found.action_expired(10.6)
    found.on_action_taken(1)
    assert not found.action_expired(20.0)


def test_periods_without_an_action_are_counted() -> None:
    found = pace(lag=1)
    found.tick(0.0)
    found.send(1.0)
    for now in (1.1, 1.2, 1.3):
        found.tick(now)
    assert found.counts["periods_without_action"] == 2


def test_in_lockstep_the_world_waits_so_an_action_is_always_due() -> None:
    found = pace(clock="lockstep")
    found.send(0.0)
    assert found.due(0.0)
