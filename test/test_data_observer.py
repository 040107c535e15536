"""A policy acts on complete, fresh observations only, and never twice on the same frame."""

from __future__ import annotations

import numpy as np
import pytest
from support.bags import image, make, robot_state

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.layout import StepLayout
from moto_ros.data.observer import Observer

MS = NSEC_PER_SEC // 1000
RNG = np.random.default_rng(0)
FRAME = np.zeros((16, 16, 3), np.uint8)


def observer(cameras: tuple[str, ...] = ("agent", "wrist"), **layout: object) -> Observer:
    return Observer(StepLayout(cameras=cameras, image_size=16, proprio=("ee_position",), **layout))


def see(found: Observer, camera: str, stamp: int, grey: int = 0) -> None:
    found.add(f"camera/{camera}", image(FRAME + np.uint8(grey), stamp))


def feel(found: Observer, stamp: int) -> None:
    found.add("state", robot_state(stamp, RNG))


def test_lockstep_observation_needs_every_part_with_one_stamp() -> None:
    """The policy would act on the new robot state with the old picture."""
    watched = observer()
    see(watched, "agent", NSEC_PER_SEC, 10)
    feel(watched, NSEC_PER_SEC)
    assert watched.newest() is None
    see(watched, "wrist", NSEC_PER_SEC, 20)
    found = watched.newest()
    assert found is not None
    assert found.image is not None
    assert found.image.shape == (16, 16, 6)
    assert found.image[0, 0].tolist() == [10, 10, 10, 20, 20, 20]
    assert (found.camera_stamps, found.state_stamp) == ((NSEC_PER_SEC, NSEC_PER_SEC), NSEC_PER_SEC)
    see(watched, "agent", 2 * NSEC_PER_SEC)
    feel(watched, 2 * NSEC_PER_SEC)
    assert watched.newest() is None


def test_the_same_frame_is_never_new_twice() -> None:
    """A camera that hangs would let the robot move on blind."""
    watched = observer(("agent",), pairing_tolerance=0.2)
    see(watched, "agent", NSEC_PER_SEC)
    feel(watched, NSEC_PER_SEC)
    assert watched.newest() is not None
    assert watched.newest() is None
    feel(watched, NSEC_PER_SEC + 50 * MS)
    assert watched.newest() is None
    see(watched, "agent", NSEC_PER_SEC)
    assert watched.newest() is None
    assert watched.counts["repeated"] == 1
    see(watched, "agent", NSEC_PER_SEC + 60 * MS)
    assert watched.newest() is not None


def test_realtime_pairs_within_the_tolerance_and_counts_the_rest() -> None:
    watched = observer(pairing_tolerance=0.03)
    see(watched, "agent", NSEC_PER_SEC)
    see(watched, "wrist", NSEC_PER_SEC + 20 * MS)
    for k in range(10):
        feel(watched, NSEC_PER_SEC + 10 * k * MS)
    found = watched.newest()
    assert found is not None
    assert found.state_stamp == NSEC_PER_SEC + 30 * MS
    see(watched, "agent", NSEC_PER_SEC + 100 * MS)
    feel(watched, NSEC_PER_SEC + 105 * MS)
    assert watched.newest() is None
    assert watched.newest() is None
    assert watched.counts["unpaired"] == 0  # the wrist's newest frame still pairs with what was given
    see(watched, "wrist", NSEC_PER_SEC + 140 * MS)
    found = watched.newest()
    assert found is None
    see(watched, "agent", NSEC_PER_SEC + 160 * MS)
    assert watched.newest() is None  # no robot state in time
    feel(watched, NSEC_PER_SEC + 150 * MS)
    found = watched.newest()
    assert found is not None
    assert found.camera_stamps == (NSEC_PER_SEC + 160 * MS, NSEC_PER_SEC + 140 * MS)


def test_messages_that_have_no_partner_are_counted() -> None:
    """Two clocks that differ would stop the policy without a word."""
    watched = observer(("agent",), pairing_tolerance=0.03)
    see(watched, "agent", NSEC_PER_SEC)
    feel(watched, NSEC_PER_SEC + 500 * MS)
    assert watched.newest() is None
    assert watched.newest() is None
    assert watched.counts["unpaired"] == 1


def test_observations_before_the_start_or_too_old_are_not_given() -> None:
    """After a reset the policy would act on where the arm was."""
    watched = observer(("agent",), max_age=0.1)
    see(watched, "agent", NSEC_PER_SEC)
    feel(watched, NSEC_PER_SEC)
    assert watched.newest(after_ns=NSEC_PER_SEC + 1) is None
    assert watched.newest(now_ns=NSEC_PER_SEC + 200 * MS) is None
    assert watched.counts["stale"] == 1
    assert watched.newest(now_ns=NSEC_PER_SEC + 50 * MS) is not None


def test_late_messages_are_counted_and_after_a_clock_jumps_back_pairing_starts_again() -> None:
    """A restarted camera whose clock starts at zero would be ignored indefinitely."""
    watched = observer(("agent",))
    see(watched, "agent", 100 * NSEC_PER_SEC)
    see(watched, "agent", 100 * NSEC_PER_SEC - 5)
    assert watched.counts["late"] == 1
    see(watched, "agent", NSEC_PER_SEC)
    feel(watched, NSEC_PER_SEC)
    assert watched.newest() is not None
    assert watched.counts["clock_jump"] == 1
    assert "jumped back by 99.000 s" in watched.problems.sentences()[0]


def test_a_bad_frame_is_no_observation() -> None:
    watched = observer(("agent",))
    watched.add("camera/agent", make("sensor_msgs/msg/CompressedImage", NSEC_PER_SEC, format="jpeg"))
    feel(watched, NSEC_PER_SEC)
    assert watched.newest() is None
    assert watched.counts["bad"] == 1
    assert "neither JPEG nor PNG" in watched.problems.sentences()[0]


def test_without_cameras_the_state_is_enough() -> None:
    watched = observer(())
    feel(watched, NSEC_PER_SEC)
    found = watched.newest()
    assert found is not None
    assert found.image is None
    assert found.proprio.dtype == np.float32


@pytest.mark.parametrize("role", ["camera/other", "reward"])
def test_other_roles_are_ignored(role: str) -> None:
    watched = observer(("agent",))
    watched.add(role, image(FRAME, NSEC_PER_SEC))
    assert watched.counts["ignored"] == 1
