"""Arbitration of each step: blending without a jump, devices with a time-out, a policy that is uncertain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from moto_ros.config import build
from moto_ros.errors import MotoError
from moto_ros.teleop.arbiter import Arbiter, BlendRules, Source
from moto_ros.teleop.buttons import ButtonNumbers, Buttons
from moto_ros.teleop.decider import Decider
from moto_ros.teleop.human import Human, shaped
from moto_ros.teleop.operator_settings import OperatorSettings
from moto_ros.teleop.uncertainty_guard import UncertaintyGuard, UncertaintyRules, Verdict

SIZE, GRIP = 4, 3
POLICY, HUMAN = Source.POLICY, Source.HUMAN
ACTIONS = arrays(np.float32, SIZE, elements=st.floats(-1.0, 1.0, width=32))
RUNS = st.lists(st.tuples(st.sampled_from([POLICY, HUMAN]), ACTIONS), min_size=1, max_size=40)
NONE = math.nan


def settings(**given: Any) -> OperatorSettings:
    return build(
        OperatorSettings, {"control_rate": 10.0, "translation_step": 0.02, "rotation_step": 0.1, **given}, "test"
    )


def human(**given: Any) -> Human:
    found = settings(**given)
    return Human(found, found.control_rate)


def stick(x: float = 0.0, held: bool = True, **buttons: int) -> tuple[list[float], list[int]]:
    """Return axes and buttons of a gamepad with its left stick `x` forward and, maybe, the dead-man button held."""
    numbers = {"gripper": 0, "success": 3, "stop": 8}
    states = [0] * 11
    states[5] = int(held)
    for name, state in buttons.items():
        states[numbers[name]] = state
    return [0.0, x, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], states


# Blending.


@given(RUNS, st.integers(1, 6))
def test_executed_actions_never_leave_their_bounds_and_end_at_the_source(
    run: list[tuple[Source, np.ndarray]], steps: int
) -> None:
    arbiter, streak = Arbiter(BlendRules(steps), SIZE, GRIP), 0
    before: Source | None = None
    for who, values in run:
        streak = streak + 1 if who is before else 1
        found = arbiter.decide(who, values)
        assert np.abs(found).max() <= 1.0
        if streak >= steps or before is None:
            np.testing.assert_array_equal(found, values)
        before = who


@given(RUNS, st.integers(1, 6))
def test_no_hand_over_jumps_further_than_its_share(run: list[tuple[Source, np.ndarray]], steps: int) -> None:
    """The arm would jerk whenever a person takes over or lets go. Only stopping is allowed at once."""
    arbiter, last, streak = Arbiter(BlendRules(steps), SIZE, GRIP), None, 0
    before: tuple[Source, np.ndarray] | None = None
    for who, values in run:
        streak = streak + 1 if before is not None and before[0] is who else 1
        found = arbiter.decide(who, values)
        if last is not None and before is not None and streak == 1 and values[:GRIP].any():
            assert np.abs(found - last).max() <= np.abs(values - last).max() / steps + 1e-6
        last, before = found.copy(), (who, values)


@given(ACTIONS, ACTIONS, st.integers(2, 6))
def test_a_steady_source_is_reached_in_equal_steps(old: np.ndarray, new: np.ndarray, steps: int) -> None:
    arbiter = Arbiter(BlendRules(steps), SIZE, GRIP)
    found = [arbiter.decide(POLICY, old), *(arbiter.decide(HUMAN, new) for _ in range(steps))]
    if new[:GRIP].any():
        jumps = np.diff(np.stack(found), axis=0)
        np.testing.assert_allclose(jumps, np.tile((new - old) / steps, (steps, 1)), atol=1e-5)


def test_a_person_who_takes_over_at_rest_stops_the_robot_at_once() -> None:
    arbiter = Arbiter(BlendRules(5), SIZE, GRIP)
    arbiter.decide(POLICY, np.ones(SIZE, np.float32))
    np.testing.assert_array_equal(arbiter.decide(HUMAN, np.array([0, 0, 0, 1.0])), [0, 0, 0, 1])


# Devices.


@given(st.floats(-1.0, 1.0), st.floats(0.0, 0.9), st.floats(0.0, 1.0))
def test_shaping_keeps_the_sign_the_bounds_and_the_ends(value: float, dead_band: float, expo: float) -> None:
    found = float(shaped(np.array([value]), dead_band, expo)[0])
    assert abs(found) <= 1.0 + 1e-12
    assert found * value >= 0.0
    assert found == 0.0 if abs(value) <= dead_band else True
    np.testing.assert_allclose(shaped(np.array([1.0, -1.0, 0.0]), dead_band, expo), [1.0, -1.0, 0.0])


def test_a_twist_in_si_units_becomes_the_share_of_full_speed_along_the_bases_axes() -> None:
    """A person's 0.1 m/s would be another speed on the robot, or another direction."""
    axes = ["x", "y", "z", "rx", "ry", "rz", "gripper"]
    found = human(action_axes=axes, action_size=7)
    found.twist([0.1, -0.2, 0.05], [0.5, 0.0, -2.0], now=1.0)
    np.testing.assert_allclose(found.action(1.0), [0.5, -1.0, 0.25, 0.5, 0.0, -1.0, 1.0])
    fixed = human(**{"twist.full_speed": 0.4})
    fixed.twist([0.1, 0.0, 0.0], [0.0] * 3, now=1.0)
    np.testing.assert_allclose(fixed.action(1.0), [0.25, 0.0, 0.0, 1.0])


def test_a_joystick_counts_only_while_its_dead_man_button_is_held() -> None:
    found = human()
    found.joy(*stick(1.0, held=False), now=1.0)
    assert (found.control_source(1.0), found.action(1.0)[0]) == ("", 0.0)
    found.joy(*stick(1.0), now=1.1)
    assert (found.control_source(1.1), found.action(1.1)[0]) == ("joy", 1.0)
    found.joy(*stick(1.0, held=False), now=1.2)
    assert found.control_source(1.2) == ""


def test_a_silent_device_moves_nothing_and_lets_go() -> None:
    """A joystick out of range would drive the arm indefinitely."""
    found = human(human_timeout=0.25)
    found.joy(*stick(1.0), now=1.0)
    assert found.action(1.2)[0] == 1.0
    assert (found.control_source(1.3), found.action(1.3)[0]) == ("", 0.0)
    found.take_over()
    assert (found.control_source(1.3), found.action(1.3)[0]) == ("service", 0.0)
    found.let_go()
    assert found.control_source(1.3) == ""


def test_a_person_at_rest_for_long_enough_lets_go_of_a_6d_mouse() -> None:
    found = human(release_after=0.5)
    found.twist([0.2, 0.0, 0.0], [0.0] * 3, now=1.0)
    for tenth in range(1, 5):
        found.twist([0.0] * 3, [0.0] * 3, now=1.0 + tenth / 10)
        assert found.control_source(1.0 + tenth / 10) == "twist"
    found.twist([0.001, 0.0, 0.0], [0.0] * 3, now=1.6)
    assert found.control_source(1.6) == ""


def test_a_twist_that_is_not_finite_or_late_is_refused_and_counted() -> None:
    found = human()
    found.twist([math.nan, 0.0, 0.0], [0.0] * 3, now=1.0)
    assert found.control_source(1.0) == ""
    assert found.is_late(2.0, "operator/twist")
    assert found.is_late(-2.0, "operator/twist"), "a clock that is ahead hides every delay"
    assert not found.is_late(0.1, "operator/twist")
    assert found.counts == {"human_not_finite": 1, "human_stale": 2}
    assert "synchronise the clocks" in found.refusal


def test_the_gripper_button_opens_and_closes_in_turn_and_starts_where_the_policy_left_it() -> None:
    found = human()
    found.hold_gripper(-0.3)
    found.joy(*stick(), now=1.0)
    assert found.action(1.0)[GRIP] == -1.0
    for now, expected in ((1.1, 1.0), (1.2, 1.0), (1.3, -1.0)):
        found.joy(*stick(gripper=int(now != 1.2)), now=now)
        assert found.action(now)[GRIP] == expected


def test_an_axis_the_joystick_does_not_have_is_named() -> None:
    found = human(**{"joy.axis.z": 9})
    found.joy(*stick(1.0), now=1.0)
    assert found.action(1.0)[0] == 1.0
    assert "has 8 axes, but joy.axis.z is 9" in found.refusal


def test_a_button_says_its_word_once_however_long_it_is_held() -> None:
    found = Buttons(ButtonNumbers())
    pressed = [found.pressed(stick(success=state)[1]) for state in (0, 1, 1, 0, 1)]
    assert [[name for name in names if name != "dead_man"] for names in pressed] == [
        [],
        ["success"],
        [],
        [],
        ["success"],
    ]


def test_a_late_message_still_stops_the_robot_and_does_nothing_else() -> None:
    found = human()
    assert found.joy(*stick(1.0, success=1, stop=1), now=1.0, late=True) == ["stop"]
    assert found.control_source(1.0) == ""


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"action_size": 7}, "expected 7 entries"),
        ({"action_axes": ["j1", "j2", "j3", "j4"], "proposals": "none"}, "demonstrate with Cartesian"),
    ],
)
def test_axes_that_do_not_fit_are_refused_in_one_sentence(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MotoError, match=sentence):
        settings(**wrong)


# A policy that is uncertain.


def judged(action: str, ranks: list[float]) -> list[Verdict]:
    guard = UncertaintyGuard(UncertaintyRules(action, uncertainty_quantile=0.9, uncertainty_steps=2))
    return [guard.judge(rank) for rank in ranks]


def test_the_guard_acts_after_as_many_uncertain_steps_in_a_row_as_configured() -> None:
    no, held, asked = Verdict.NONE, Verdict.HELD, Verdict.ASKED
    ranks = [0.95, 0.5, 0.95, 0.99, 0.95, 0.9, 0.95, NONE, 0.95]
    assert judged("hold", ranks) == [no, no, no, held, held, no, no, no, no]
    assert judged("ask", ranks) == [no, no, no, *[asked] * 6]
    assert judged("off", [1.0] * 4) == [no] * 4


def test_a_guard_without_quantiles_reports_that_it_has_no_effect() -> None:
    guard = UncertaintyGuard(UncertaintyRules("hold"))
    guard.judge(NONE)
    assert "no effect" in guard.sentence()


def decided(decider: Decider, count: int, rank: float, now: float = 0.0) -> list[tuple[float, Verdict]]:
    found = [decider.answer(now, np.array([1.0, 0.0, 0.0, -1.0], np.float32), rank) for _ in range(count)]
    assert all(one.values[GRIP] == -1.0 for one in found), "the gripper lets go of what it holds"
    return [(round(float(one.values[0]), 3), one.verdict) for one in found]


def test_an_uncertain_policy_is_slowed_or_held_with_its_gripper_unmoved_and_resumes_smoothly() -> None:
    given = {"uncertainty_steps": 1, "blend_steps": 2, "uncertainty_speed": 0.5}
    for action, speed, verdict in (("slow", 0.5, Verdict.SLOWED), ("hold", 0.0, Verdict.HELD)):
        found = settings(uncertainty_action=action, **given)
        decider = Decider(found, Human(found, 10.0))
        assert decided(decider, 1, 0.1) == [(1.0, Verdict.NONE)]
        assert decided(decider, 2, 1.0)[-1] == (speed, verdict)
        assert decided(decider, 2, 0.1) == [((speed + 1.0) / 2, Verdict.NONE), (1.0, Verdict.NONE)]


def test_a_policy_that_asks_waits_until_a_person_has_helped() -> None:
    found = settings(uncertainty_action="ask", uncertainty_steps=1, blend_steps=1)
    person = Human(found, 10.0)
    decider = Decider(found, person)
    assert decided(decider, 1, 0.0) == [(1.0, Verdict.NONE)]
    assert decided(decider, 2, 1.0) == [(0.0, Verdict.ASKED)] * 2
    assert decided(decider, 1, 0.0) == [(0.0, Verdict.ASKED)]
    person.joy(*stick(-1.0), now=5.0)
    helped = decider.answer(5.0, np.zeros(SIZE, np.float32), 1.0)
    assert (helped.source, helped.verdict, helped.values[0]) == (Source.HUMAN, Verdict.NONE, -1.0)
    assert decided(decider, 1, 0.0, now=9.0) == [(1.0, Verdict.NONE)]
