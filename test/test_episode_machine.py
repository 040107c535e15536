"""The episode state machine without ROS: what ends an episode, what it waits for, and that every wait has an end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moto_ros.contract.episodes import EpisodeStatus, Outcome, Phase, Purpose, Request
from moto_ros.episode.episode_machine import RESET_IDS, ROBOT, EpisodeMachine, EpisodeRules
from moto_ros.episode.series import EpisodeSeries, SeriesSettings, start_seed
from moto_ros.errors import MotoError


class Notes:
    """A world that only takes notes."""

    def __init__(self) -> None:
        self.states: list[EpisodeStatus] = []
        self.resets: list[Request] = []
        self.ends: list[tuple[EpisodeStatus, str]] = []

    def announce(self, status: EpisodeStatus) -> None:
        self.states.append(status)

    def reset(self, request: Request) -> None:
        self.resets.append(request)

    def finished(self, status: EpisodeStatus, problem: str) -> None:
        self.ends.append((status, problem))

    def phases(self) -> list[Phase]:
        return [status.phase for status in self.states]


RULES = EpisodeRules(max_steps=5, reset_timeout=10.0, step_timeout=2.0, bag_timeout=3.0)


def request(episode: int = 7, max_steps: int = 0) -> Request:
    return Request(episode, Purpose.TRAINING, seed=1, max_steps=max_steps)


def running(rules: EpisodeRules = RULES, max_steps: int = 0) -> tuple[EpisodeMachine, Notes]:
    notes = Notes()
    machine = EpisodeMachine(rules, notes)
    assert machine.request(0.0, request(max_steps=max_steps)) == ""
    machine.reset_done(1.0, 7, 123)
    return machine, notes


def steps(machine: EpisodeMachine, count: int, success: bool = False) -> None:
    for step in range(1, count + 1):
        machine.reward(1.0 + 0.1 * step, 7, step, success, terminal=False)


def test_an_episode_runs_to_its_limit_and_says_so_once() -> None:
    machine, notes = running()
    steps(machine, 5)
    assert notes.phases() == [Phase.RESETTING, Phase.RUNNING, Phase.ENDED]
    assert (machine.status.step, machine.status.outcome, machine.status.start) == (5, Outcome.TIME_LIMIT, 123)


def test_the_limit_of_the_request_wins_over_the_configured_one() -> None:
    machine, _ = running(max_steps=2)
    steps(machine, 2)
    assert machine.status.phase is Phase.ENDED
    assert machine.status.step == 2


def test_an_episode_continues_after_success_by_default() -> None:
    machine, _ = running()
    steps(machine, 4, success=True)
    assert machine.status.phase is Phase.RUNNING


def test_success_ends_the_episode_after_the_wanted_number_of_steps_in_a_row() -> None:
    machine, _ = running(EpisodeRules(max_steps=50, success_steps=2))
    for step, success in enumerate([True, False, True, True, True], start=1):
        machine.reward(2.0, 7, step, success, terminal=False)
    assert (machine.status.outcome, machine.status.step) == (Outcome.SUCCESS, 4)


def test_a_terminal_failure_is_not_a_time_limit() -> None:
    machine, _ = running()
    machine.reward(2.0, 7, 1, False, terminal=True)
    assert machine.status.outcome is Outcome.FAILURE


def test_repeated_and_foreign_rewards_do_not_count_as_steps() -> None:
    machine, _ = running()
    steps(machine, 2)
    machine.reward(2.0, 7, 2, False, terminal=False)
    machine.reward(2.0, 6, 3, False, terminal=False)
    assert machine.status.step == 2


def test_nothing_after_the_end_changes_it() -> None:
    machine, notes = running()
    steps(machine, 5)
    machine.reward(3.0, 7, 6, True, terminal=True)
    machine.fault(3.0, ROBOT, "reflex")
    assert machine.end(3.0, Outcome.DISCARDED, "") != ""
    assert (machine.status.step, machine.status.outcome) == (5, Outcome.TIME_LIMIT)
    assert len(notes.states) == 3


def test_a_reset_without_an_answer_ends_in_one_sentence_not_in_waiting() -> None:
    notes = Notes()
    machine = EpisodeMachine(RULES, notes)
    machine.request(0.0, request())
    machine.tick(9.9)
    assert machine.status.phase is Phase.RESETTING
    machine.tick(10.0)
    assert machine.status.outcome is Outcome.ABORTED
    assert "robot/reset" in machine.status.reason


def test_a_person_who_prepares_the_scene_is_given_time() -> None:
    machine = EpisodeMachine(EpisodeRules(reset_timeout=10.0, scene_reset="operator", scene_timeout=50.0), Notes())
    machine.request(0.0, request())
    machine.tick(59.0)
    assert machine.status.phase is Phase.RESETTING
    machine.tick(60.0)
    assert machine.status.outcome is Outcome.ABORTED


@pytest.mark.parametrize(("acted", "who"), [(-1, "nobody sent action 0"), (0, "no reward for action 0")])
def test_a_stall_names_who_does_not_answer(acted: int, who: str) -> None:
    machine, _ = running()
    machine.action(7, acted)
    machine.tick(3.0)
    assert machine.status.outcome is Outcome.ABORTED
    assert who in machine.status.reason


def test_a_robot_fault_aborts_and_keeps_the_steps() -> None:
    machine, _ = running()
    steps(machine, 3)
    machine.fault(2.0, ROBOT, "cartesian reflex")
    assert (machine.status.outcome, machine.status.step, machine.status.reason) == (
        Outcome.ABORTED,
        3,
        "cartesian reflex",
    )


def test_the_next_episode_starts_only_when_the_bag_of_the_last_is_closed() -> None:
    machine, notes = running()
    steps(machine, 5)
    assert machine.request(2.0, request(8)) == ""
    assert len(notes.resets) == 1
    machine.saved(2.5, 7, complete=True, message="")
    assert [asked.episode for asked in notes.resets] == [7, 8]


def test_a_silent_recorder_is_reported_and_does_not_stop_the_run() -> None:
    machine, notes = running()
    steps(machine, 5)
    machine.tick(10.0)
    assert "recorder" in notes.ends[0][1]
    assert not machine.busy


def test_an_incomplete_bag_is_not_taken_for_a_saved_one() -> None:
    machine, notes = running()
    steps(machine, 5)
    machine.saved(2.0, 7, complete=False, message="disk full")
    assert notes.ends[0][1] == "disk full"


def test_a_second_request_while_one_runs_is_refused_with_a_reason() -> None:
    machine, _ = running()
    assert "episode 7 is running" in machine.request(1.5, request(8))


RESUME = EpisodeRules(max_steps=5, step_timeout=2.0, bag_timeout=3.0, fault="pause", camera_loss="resume")
ABORT = EpisodeRules(max_steps=5, step_timeout=2.0, bag_timeout=3.0, recover_timeout=8.0, camera_loss="abort")
ASKED = EpisodeRules(max_steps=5, bag_timeout=3.0, start_on="operator", start_timeout=20.0)
SCENE = EpisodeRules(max_steps=5, bag_timeout=3.0, scene_reset="policy", reset_steps=3)


def test_an_episode_waits_for_the_operators_start_each_time() -> None:
    notes = Notes()
    machine = EpisodeMachine(ASKED, notes)
    machine.operator_start(0.0)  # pressed too early: nobody has asked for an episode yet
    assert machine.request(1.0, request()) == ""
    assert (notes.resets, machine.waits_for, machine.busy) == ([], "waits for operator/start", True)
    machine.operator_start(5.0)
    assert [asked.episode for asked in notes.resets] == [7]
    machine.reset_done(6.0, 7, 1)
    machine.end(7.0, Outcome.SUCCESS, "")
    machine.saved(8.0, 7, complete=True, message="")
    machine.request(9.0, request(8))
    assert machine.waits_for


def test_an_episode_that_nobody_starts_ends_with_what_to_do_and_without_a_bag() -> None:
    notes = Notes()
    machine = EpisodeMachine(ASKED, notes)
    machine.request(0.0, request())
    machine.tick(19.9)
    assert machine.busy
    machine.tick(20.0)
    assert (machine.status.episode, machine.status.outcome, machine.busy) == (7, Outcome.ABORTED, False)
    assert "operator/start" in machine.status.reason
    assert notes.phases() == [Phase.ENDED]
    assert [problem for _, problem in notes.ends] == [""]


def test_waiting_for_a_start_can_be_given_up_by_the_service() -> None:
    machine = EpisodeMachine(ASKED, Notes())
    machine.request(0.0, request())
    assert "operator/start" in machine.request(1.0, request(8))
    assert machine.end(1.0, Outcome.DISCARDED, "lunch") == ""
    assert (machine.status.outcome, machine.busy) == (Outcome.DISCARDED, False)


def test_a_lost_camera_pauses_the_episode_until_the_camera_has_recovered() -> None:
    machine, _ = running(RESUME)
    machine.fault(2.0, "camera wrist", "camera wrist: no frame")
    assert machine.paused == "camera wrist: no frame"
    machine.fault(3.5, "camera wrist", "camera wrist: still no frame")
    machine.fault(3.9, "camera wrist", "")
    machine.tick(5.8)
    assert machine.status.phase is Phase.RUNNING
    steps(machine, 5)
    assert machine.status.outcome is Outcome.TIME_LIMIT


def test_a_camera_that_stays_away_ends_the_episode_by_name_even_if_old_rewards_still_come() -> None:
    machine, _ = running(RESUME)
    machine.fault(2.0, "camera wrist", "camera wrist: no frame")
    machine.reward(3.9, 7, 1, False, terminal=False)
    machine.tick(4.0)
    assert machine.status.outcome is Outcome.ABORTED
    assert "camera wrist" in machine.status.reason


def test_the_next_reset_waits_for_the_camera_whose_loss_aborted_an_episode() -> None:
    machine, notes = running(ABORT)
    machine.fault(2.0, "camera wrist", "camera wrist: no frame")
    assert (machine.status.outcome, machine.status.reason) == (Outcome.ABORTED, "camera wrist: no frame")
    machine.saved(2.5, 7, complete=True, message="")
    machine.request(3.0, request(8))
    assert (len(notes.resets), machine.waits_for) == (1, "waits for camera wrist to recover")
    machine.fault(9.0, "camera wrist", "")
    assert [asked.episode for asked in notes.resets] == [7, 8]


def test_a_robot_that_does_not_recover_is_not_reset_and_the_reason_is_said() -> None:
    machine, notes = running(ABORT)
    machine.fault(2.0, ROBOT, "reflex on joint 4; recover")
    machine.saved(2.5, 7, complete=True, message="")
    machine.request(3.0, request(8))
    machine.tick(10.9)
    assert machine.busy
    machine.tick(11.0)
    assert (machine.status.episode, machine.status.outcome, len(notes.resets)) == (8, Outcome.ABORTED, 1)
    assert "reflex on joint 4" in machine.status.reason


def test_a_paused_episode_resumes_after_recovery_but_a_stop_ends_it() -> None:
    machine, _ = running(RESUME)
    machine.fault(2.0, ROBOT, "reflex")
    assert machine.status.phase is Phase.RUNNING
    machine.fault(3.0, ROBOT, "")
    machine.fault(3.1, ROBOT, "reflex")
    machine.fault(3.2, ROBOT, "reflex", final=True)
    assert machine.status.outcome is Outcome.ABORTED


@pytest.mark.parametrize("solved", [True, False])
def test_the_scene_is_reset_by_a_separate_episode_that_is_not_recorded(solved: bool) -> None:
    notes = Notes()
    machine = EpisodeMachine(SCENE, notes)
    machine.request(0.0, request())
    number = RESET_IDS + 7
    assert [(asked.episode, asked.purpose) for asked in notes.resets] == [(number, Purpose.RESET)]
    machine.reset_done(1.0, number, 1)
    assert "is running" in machine.request(1.0, request(8))
    for step in range(1, 4):
        machine.reward(1.0, number, step, solved, terminal=False)
    assert [status.purpose for status, _ in notes.ends] == [Purpose.RESET]
    assert notes.ends[0][0].step == (1 if solved else 3)
    assert [asked.episode for asked in notes.resets] == [number, 7]
    machine.reset_done(2.0, 7, 1)
    assert machine.status.purpose is Purpose.TRAINING


def test_the_episode_waits_for_recovery_from_a_fault_of_the_scene_reset() -> None:
    notes = Notes()
    machine = EpisodeMachine(SCENE, notes)
    machine.request(0.0, request())
    machine.reset_done(1.0, RESET_IDS + 7, 1)
    machine.fault(2.0, ROBOT, "reflex")
    assert (len(notes.resets), machine.waits_for) == (1, "waits for robot to recover")
    machine.fault(3.0, ROBOT, "")
    assert [asked.episode for asked in notes.resets] == [RESET_IDS + 7, 7]


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("reward"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("reset_done"), st.integers(6, 9), st.booleans()),
        st.tuples(st.just("request"), st.integers(6, 9), st.booleans()),
        st.tuples(st.just("saved"), st.integers(6, 9), st.booleans()),
        st.tuples(st.just("end"), st.integers(1, 5), st.booleans()),
        st.tuples(st.just("fault"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("start"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("tick"), st.integers(0, 5), st.booleans()),
    ),
    max_size=60,
)


def play(machine: EpisodeMachine, events: list[tuple[str, int, bool]]) -> float:
    """Feed events, a tick advancing time by its number of seconds."""
    now = 0.0
    for kind, number, flag in events:
        if kind == "reward":
            machine.reward(now, machine.status.episode, number, flag, terminal=False)
        elif kind == "reset_done":
            machine.reset_done(now, number, 1)
        elif kind == "request":
            machine.request(now, request(number))
        elif kind == "saved":
            machine.saved(now, number, flag, "")
        elif kind == "fault":
            machine.fault(now, (ROBOT, "camera wrist")[number], "broken" if flag else "")
        elif kind == "start":
            machine.operator_start(now)
        elif kind == "end":
            machine.end(now, Outcome(number), "")
        else:
            now += number
            machine.tick(now)
    return now


@settings(max_examples=300)
@given(EVENTS, st.sampled_from([RULES, RESUME, ABORT, ASKED, SCENE]))
def test_after_any_events_the_machine_becomes_idle_and_announces_each_state_once(
    events: list[tuple[str, int, bool]], rules: EpisodeRules
) -> None:
    notes = Notes()
    machine = EpisodeMachine(rules, notes)
    now = play(machine, events)
    for _ in range(12):
        now += 100.0
        machine.tick(now)
    assert not machine.busy
    order = {
        Phase.RESETTING: {Phase.RUNNING, Phase.ENDED},
        Phase.RUNNING: {Phase.ENDED},
        Phase.ENDED: {Phase.RESETTING, Phase.ENDED},
    }
    pairs = zip(notes.phases(), notes.phases()[1:], strict=False)
    assert all(second in order[first] for first, second in pairs)
    assert len(notes.ends) == notes.phases().count(Phase.ENDED)
    assert len(notes.resets) == notes.phases().count(Phase.RESETTING)


def test_a_series_replaces_aborted_episodes_and_stops_at_the_wanted_number() -> None:
    series = EpisodeSeries(SeriesSettings(automatic_episodes=2, first_episode=10))
    for outcome in (Outcome.TIME_LIMIT, Outcome.ABORTED, Outcome.TIME_LIMIT):
        asked = series.next()
        series.finished(EpisodeStatus(asked.episode, outcome=outcome), "", success=True)
    assert series.over
    assert (series.done, series.successes, asked.episode) == (2, 2, 12)


def test_a_series_that_only_fails_gives_up_with_the_reason() -> None:
    series = EpisodeSeries(SeriesSettings(automatic_episodes=2, max_failures=2))
    series.finished(EpisodeStatus(0, outcome=Outcome.ABORTED, reason="no camera"), "", success=False)
    with pytest.raises(MotoError, match="no camera"):
        series.finished(EpisodeStatus(1, outcome=Outcome.ABORTED, reason="no camera"), "", success=False)


def test_start_states_differ_between_episodes_and_purposes_but_repeat_with_the_seed() -> None:
    seeds = {start_seed(3, purpose, episode) for purpose in Purpose for episode in range(20)}
    assert len(seeds) == 20 * len(Purpose)
    assert start_seed(3, Purpose.TRAINING, 5) == start_seed(3, Purpose.TRAINING, 5)
