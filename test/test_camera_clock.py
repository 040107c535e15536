"""Stamps of frames: a policy that acts on wrong ones pairs a picture with another moment's arm."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moto_ros.camera.clock import WRAP, DeviceClock, Stamped
from moto_ros.contract.stamps import NSEC_PER_SEC

MILLI = NSEC_PER_SEC // 1000
PERIOD = NSEC_PER_SEC // 30
BOOT = 1_700_000_000 * NSEC_PER_SEC
QUICKEST, SLOWEST = 8 * MILLI, 30 * MILLI


class Line:
    """A camera whose exposures, clock and delays are known: device time = (1 + drift) x true time + offset."""

    def __init__(self, drift: float = 0.0, offset: int = -BOOT + 77 * NSEC_PER_SEC, seed: int = 0) -> None:
        self.clock = DeviceClock()
        self.drift, self.offset = drift, offset
        self.rng = np.random.default_rng(seed)
        self.now = BOOT

    def frame(self, delay: int | None = None, synchronised: bool = False) -> tuple[Stamped, int, int]:
        """Return what the clock makes of the next frame, its true exposure and its arrival in ns."""
        self.now += PERIOD
        quick = int(self.rng.integers(QUICKEST, SLOWEST))
        arrival = self.now + (quick if delay is None else delay)
        device = self.now + self.offset + round(self.drift * (self.now - BOOT))
        return self.clock.stamp(device, arrival, synchronised), self.now, arrival

    def run(self, seconds: float) -> list[tuple[Stamped, int, int]]:
        """Return the frames of some seconds."""
        return [self.frame() for _ in range(round(30 * seconds))]


@given(st.floats(-1e-4, 1e-4), st.integers(-(2**60), 2**60), st.integers(0, 2**31))
def test_stamps_follow_a_camera_that_drifts_within_its_quickest_delay(drift: float, offset: int, seed: int) -> None:
    line = Line(drift, offset, seed)
    frames = line.run(15)
    assert not any(stamped.jumped for stamped, _, _ in frames)
    for stamped, exposed, arrival in frames[30:]:
        assert stamped.stamp <= arrival
        assert -2 * MILLI < stamped.stamp - exposed < QUICKEST + 8 * MILLI


@given(st.lists(st.tuples(st.integers(0, 2**63), st.integers(0, 2**62)), max_size=60), st.booleans())
def test_stamps_never_go_backwards_whatever_a_driver_says(pairs: list[tuple[int, int]], synchronised: bool) -> None:
    clock = DeviceClock()
    stamps = [clock.stamp(device, arrival, synchronised).stamp for device, arrival in pairs]
    assert all(earlier < later for earlier, later in itertools.pairwise(stamps))


@given(st.sampled_from([-3600.0, -10.0, -0.7, 0.2, 0.7, 10.0, 3600.0]), st.integers(0, 2**31))
def test_a_jump_of_the_cameras_clock_is_counted_once_and_forgotten_after_a_second(jump: float, seed: int) -> None:
    line = Line(seed=seed)
    line.run(2)
    line.offset += round(jump * NSEC_PER_SEC)
    frames = line.run(4)
    assert sum(stamped.jumped for stamped, _, _ in frames) == 1
    for stamped, exposed, _ in frames[45:]:
        assert abs(stamped.stamp - exposed) < SLOWEST


def test_a_step_of_the_computers_clock_is_a_jump_too_and_stamps_still_only_rise() -> None:
    line = Line()
    before = line.run(2)
    line.now -= 5 * NSEC_PER_SEC
    line.offset += 5 * NSEC_PER_SEC
    after = line.run(8)
    assert sum(stamped.jumped for stamped, _, _ in after) == 1
    stamps = [stamped.stamp for stamped, _, _ in before + after]
    assert stamps == sorted(set(stamps))
    assert abs(after[-1][0].stamp - after[-1][1]) < SLOWEST


def test_frames_that_a_busy_computer_reads_late_keep_the_stamp_of_their_exposure() -> None:
    """A late frame that passed for a fresh one would be acted on."""
    line = Line()
    line.run(3)
    for delay in range(900, 0, -33):
        stamped, exposed, _ = line.frame(delay * MILLI)
        assert not stamped.jumped
        assert abs(stamped.stamp - exposed) < QUICKEST + 5 * MILLI


def test_the_first_slow_frames_of_a_camera_are_no_jump() -> None:
    line = Line()
    slow = [line.frame(delay * MILLI)[0] for delay in (400, 300, 200, 100)]
    assert not any(stamped.jumped for stamped in slow + [stamped for stamped, _, _ in line.run(1)])


def test_a_32_bit_counter_that_begins_again_is_no_jump() -> None:
    clock, start = DeviceClock(), WRAP - NSEC_PER_SEC
    for number in range(90):
        exposed = number * PERIOD
        stamped = clock.stamp((start + exposed) % WRAP + 1, BOOT + exposed + QUICKEST)
        assert not stamped.jumped
        assert stamped.stamp == BOOT + exposed + QUICKEST


def test_a_camera_that_shares_the_computers_clock_is_believed_while_that_is_possible() -> None:
    line = Line(offset=0)
    stamped, exposed, _ = line.frame(synchronised=True)
    assert stamped.stamp == exposed
    wrong = Line(offset=-7 * NSEC_PER_SEC)
    stamped, exposed, arrival = wrong.frame(synchronised=True)
    assert stamped.stamp == arrival


def test_a_camera_without_a_clock_gets_the_time_of_arrival() -> None:
    assert DeviceClock().stamp(0, BOOT).stamp == BOOT


@pytest.mark.parametrize("device", [5 * NSEC_PER_SEC, 0])
def test_a_reopened_camera_may_restart_its_clock_without_a_jump(device: int) -> None:
    clock = DeviceClock()
    first = clock.stamp(900 * NSEC_PER_SEC, BOOT)
    clock.restart()
    second = clock.stamp(device, BOOT + NSEC_PER_SEC)
    assert not second.jumped
    assert second.stamp > first.stamp
