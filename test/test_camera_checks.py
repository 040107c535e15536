"""Checks of frames: old, repeated or frozen pictures must not pass for what the robot sees now."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moto_ros.camera.checks import FrameChecks, same_pixels
from moto_ros.camera.interface import Frame
from moto_ros.camera.newest import Newest
from moto_ros.camera.pattern import Pattern, read_number
from moto_ros.camera.rate import RateJudge, RateMeter
from moto_ros.camera.settings import CameraSettings
from moto_ros.camera.stream import BackOff
from moto_ros.config import build, config_folder, read_parameters
from moto_ros.errors import MotoError

SECOND = 1_000_000_000
PERIOD = SECOND // 30
START = 1_700_000_000 * SECOND
PATTERN = Pattern(64, 48)


def frame(number: int, shown: int | None = None, delay: float = 0.0, clock: int = 0) -> Frame:
    """Return exposure `number` of a camera at 30 Hz; its clock is ahead by `clock` ns."""
    exposed = number * PERIOD
    colour = PATTERN.colour(number if shown is None else shown)
    return Frame(colour, None, number, SECOND + exposed + clock, START + exposed + round(delay * SECOND))


def checks() -> FrameChecks:
    """Return checks that have taken the frames 0 to 59."""
    made = FrameChecks(late_after=0.2, frozen_after=3)
    assert None not in [made.take(frame(number)) for number in range(60)]
    return made


@given(st.lists(st.integers(1, 4), min_size=1, max_size=40))
def test_frames_in_order_are_all_taken_and_every_gap_of_their_numbers_is_counted(gaps: list[int]) -> None:
    made, number = FrameChecks(0.2, 3), 0
    for gap in gaps:
        number += gap
        assert made.take(frame(number)) is not None
    assert made.counts.lost == sum(gaps[1:]) - len(gaps[1:])
    assert made.counts.frames == len(gaps)
    assert made.problem == ""


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-9, 9), st.booleans()), max_size=40))
def test_whatever_comes_is_taken_or_counted_and_stamps_only_rise(events: list[tuple[int, int, bool]]) -> None:
    made, stamps = FrameChecks(0.2, 3), []
    for step, (ahead, jump, still) in enumerate(events):
        found = dataclasses.replace(frame(step + ahead, 0 if still else None), device_time=SECOND * (20 + jump))
        stamps.append(made.take(found))
    taken = [stamp for stamp in stamps if stamp is not None]
    assert taken == sorted(set(taken))
    counts = made.counts
    assert counts.frames == len(taken)
    assert counts.frames + counts.repeated + counts.out_of_order == len(events)


@pytest.mark.parametrize("again", [frame(59), dataclasses.replace(frame(60), device_time=frame(59).device_time)])
def test_a_frame_that_comes_twice_is_refused(again: Frame) -> None:
    made = checks()
    assert made.take(again) is None
    assert made.counts.repeated == 1


def test_a_frame_older_than_the_one_before_is_refused() -> None:
    made = checks()
    assert made.take(frame(58)) is None
    assert made.counts.out_of_order == 1
    assert made.take(frame(60)) is not None


def test_a_camera_that_begins_to_count_again_by_itself_is_not_refused_for_ever() -> None:
    made = checks()
    restarted = [made.take(dataclasses.replace(frame(n), arrival=START + 3 * SECOND + n * PERIOD)) for n in range(6)]
    assert restarted[:2] == [None, None]
    assert None not in restarted[2:]
    assert made.counts.clock_jumps == 1


def test_the_same_pixels_under_new_numbers_are_called_frozen_after_the_configured_number() -> None:
    made = checks()
    for number in range(60, 62):
        made.take(frame(number, shown=59))
    assert made.problem == ""
    made.take(frame(62, shown=59))
    assert "the same pixels" in made.problem
    assert made.counts.frozen == 3
    made.take(frame(63))
    assert made.problem == ""


def test_a_late_frame_is_said_to_be_late_and_keeps_the_stamp_of_its_exposure() -> None:
    made = checks()
    stamp = made.take(frame(60, delay=0.3))
    assert stamp == START + 60 * PERIOD
    assert "0.300 s old" in made.problem
    assert made.counts.late == 1


@pytest.mark.parametrize("jump", [-10, 10])
def test_a_jump_of_the_cameras_clock_is_counted_and_its_frames_stay_usable(jump: int) -> None:
    made = checks()
    stamps = [made.take(frame(number, clock=jump * SECOND)) for number in range(60, 120)]
    assert made.counts.clock_jumps == 1
    assert stamps[-1] == START + 119 * PERIOD


def test_frames_that_differ_in_a_single_pixel_are_not_the_same() -> None:
    one = PATTERN.colour(1)
    other = one.copy()
    assert same_pixels(one, other)
    other[3, 5, 1] ^= 1
    assert not same_pixels(one, other)


@given(st.integers(0, 2**32 - 1))
def test_the_synthetic_picture_carries_its_number(number: int) -> None:
    assert read_number(PATTERN.colour(number)) == number


# Rates.


def judged(rate: float, asked: float = 30.0) -> RateJudge:
    """Return the judge of five seconds at a rate."""
    judge = RateJudge(asked, tolerance=0.1, window=1.0)
    for number in range(round(5 * rate)):
        judge.add(number / rate)
    return judge


@given(st.floats(1.0, 100.0))
def test_the_start_up_gate_opens_within_ten_percent_of_the_asked_rate_only(rate: float) -> None:
    off = abs(rate - 30.0) / 30.0
    if abs(off - 0.1) > 1e-6:
        assert judged(rate).passed == (off < 0.1)


def test_a_closed_gate_says_what_was_measured_and_what_was_asked() -> None:
    assert "comes at 15.0 Hz, expected 30 Hz" in judged(15.0).problem


def test_a_camera_that_becomes_slow_later_is_counted_but_stays_past_the_gate() -> None:
    judge = judged(30.0)
    wrong = sum(judge.add(10.0 + number / 15.0) for number in range(60))
    assert wrong >= 3
    assert judge.passed
    assert "15.0 Hz" in judge.problem


def test_the_rate_shown_falls_to_nothing_when_frames_stop() -> None:
    meter = RateMeter()
    for number in range(31):
        meter.add(number / 30)
    assert meter.rate(1.0) == pytest.approx(30.0)
    assert meter.rate(5.0) == 0.0


def test_pauses_between_attempts_double_up_to_the_longest_and_begin_again_after_success() -> None:
    back_off = BackOff(0.5, 3.0)
    assert [back_off.pause() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    back_off.reset()
    assert back_off.pause() == 0.5


def test_of_frames_that_nobody_fetches_the_newest_stay() -> None:
    """Without a bound a slow reader would act on older and older frames, and fill the memory."""
    queue: Newest[int] = Newest(2)
    assert [queue.put(number) for number in range(4)] == [False, False, True, True]
    assert [queue.get(0.0) for _ in range(3)] == [2, 3, None]


# Settings.


def settings(**given: Any) -> CameraSettings:
    """Return settings of two synthetic cameras."""
    values = {"cameras": ["wrist", "front"], "devices": ["synthetic-1", "synthetic-2"]}
    return build(CameraSettings, values | given, "test")


def test_a_list_has_one_entry_a_camera_or_one_for_all() -> None:
    wrist, front = settings(rate=[15.0, 30.0], exposure=[0.008]).setups()
    assert (wrist.rate, front.rate, wrist.exposure, front.exposure) == (15.0, 30.0, 0.008, 0.008)
    assert (front.name, front.device) == ("front", "synthetic-2")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"devices": ["synthetic-1"]}, "'devices' has 1 entries, expected 2"),
        ({"devices": ["synthetic-1", "synthetic-1"]}, "each device once"),
        ({"rate": [30.0, 30.0, 30.0]}, "'rate' has 3 entries, expected 2"),
        ({"cameras": ["wrist", "wrist"]}, "each once"),
        ({"source": ["usb"]}, "expected one of realsense, opencv, topic"),
        ({"width": [0]}, "expected a size"),
        ({"source": ["opencv"], "depth": [True]}, "source opencv measures no depth"),
        ({"source": ["topic"], "exposure": [0.01]}, "belong to its own driver"),
        ({"rate": [0.0]}, "'rate' is 0.0, expected a number in 0.5..1000.0"),
        ({"reconnect_backoff_min": 20.0}, "at most reconnect_backoff_max"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_a_camera_is_opened(given: dict[str, Any], words: str) -> None:
    with pytest.raises(MotoError, match=words.replace("'", ".").replace("(", ".").replace(")", ".")):
        settings(**given)


@pytest.mark.parametrize("path", sorted((config_folder() / "cameras").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_camera_file_fits(path: Any) -> None:
    values = read_parameters(config_folder() / "nodes" / "camera.yaml", "camera") | read_parameters(path, "camera")
    assert build(CameraSettings, values, str(path)).setups()
