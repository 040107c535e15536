"""An arm without commands, on the real driver: while it reports that it is idle, it does not move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

pytest.importorskip("franky")
pytest.importorskip("franky_sim")

import franky
from support.franka import pause, robot_settings
from support.franky_server import franky_server
from support.log import KeptLog

from moto_ros.robot.franka_arm import FrankaArm
from moto_ros.robot.reset import SceneSettings
from moto_ros.robot.robot import ResetJob, Robot
from moto_ros.robot.safety import ArmReading, Command, Mode

pytestmark = [pytest.mark.sim, pytest.mark.realtime]  # the simulated arm brakes in real time

STAYS = 1e-3
"""m that the measured and the commanded pose may move while the arm is not commanded."""

WAIT = 60.0
ALONG_Y = np.array([0.0, 1.0, 0.0, 0.0])


class Rig:
    """A supervised arm that has moved home, and all its readings since."""

    def __init__(self, address: str) -> None:
        settings = robot_settings(address, home_spread_position=(0.0, 0.0, 0.0))
        self.arm = FrankaArm(settings)
        self.robot = Robot(settings, SceneSettings(), self.arm, KeptLog(), self._crashed)
        self.crashes: list[Exception] = []
        self.seen: list[ArmReading] = []
        self.robot.connect().result(WAIT)
        self._closing = False
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _crashed(self, error: Exception) -> None:
        self.crashes.append(error)

    def _watch(self) -> None:
        while not self._closing:
            seen = self.robot.reading
            if seen is not None and (not self.seen or seen is not self.seen[-1]):
                self.seen.append(seen)
            time.sleep(0.002)

    def act(self, episode: int) -> None:
        """Reset, and drive along y until the arm moves at full speed."""
        assert self.robot.reset(ResetJob(episode, 0)).result(WAIT) == ""
        for step in range(8):
            self.robot.submit(Command(episode, step, ALONG_Y, time.monotonic()))
            time.sleep(0.1)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition."""
        end = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < end, f"still waiting for {what}"
            time.sleep(0.002)

    def mode(self, mode: Mode) -> None:
        """Wait for a mode."""
        self.until(lambda: self.robot.safety.reading.mode is mode, mode.name)

    def commanded(self) -> np.ndarray:
        """Return the pose (3,) m that the arm's own controller holds."""
        found: list[np.ndarray] = []

        def look(robot: franky.Robot) -> None:
            found.append(np.array(robot.state.O_T_EE_d.translation))

        assert self.arm._connection is not None
        self.arm._connection.do(look, WAIT)
        return found[0]

    def close(self) -> None:
        """End it."""
        self._closing = True
        self._watcher.join()
        self.robot.close()
        assert self.crashes == []


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with franky_server() as server:
        made = Rig(server.address)
        yield made
        made.close()


def end(rig: Rig, episode: int) -> None:
    rig.robot.safety.end(episode)


def silence_then_end(rig: Rig, episode: int) -> None:
    rig.mode(Mode.HOLD)
    rig.robot.safety.end(episode)


def long_silence_then_end(rig: Rig, episode: int) -> None:
    rig.mode(Mode.HOLD)
    pause(rig.arm, 1.0)
    rig.robot.safety.end(episode)


def stop_and_recover_at_once(rig: Rig, episode: int) -> None:
    rig.robot.stop("stopped; call robot/recover")
    assert rig.robot.recover().result(WAIT) == ""


def reset_that_is_cancelled(rig: Rig, episode: int) -> None:
    job = ResetJob(episode + 1, 1)
    answer = rig.robot.reset(job)
    rig.until(lambda: rig.robot.safety.reading.mode is Mode.RESET and _speed(rig.robot.safety.reading) > 0.05, "motion")
    rig.robot.cancel(job, "too late")
    assert answer.result(WAIT) == "too late"


def camera_lost_then_end(rig: Rig, episode: int) -> None:
    rig.robot.safety.request_hold("camera wrist: no frame")
    rig.mode(Mode.HOLD)
    rig.robot.safety.end(episode)
    rig.robot.safety.request_hold("")


ENDINGS = [
    end,
    silence_then_end,
    long_silence_then_end,
    stop_and_recover_at_once,
    reset_that_is_cancelled,
    camera_lost_then_end,
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
def test_an_idle_arm_stays_where_it_is(rig: Rig, ending: Callable[[Rig, int], None]) -> None:
    """Breaks people who rely on an idle arm to stand: it moved 8 mm while it braked."""
    episode = 10 * ENDINGS.index(ending)
    rig.act(episode)
    assert _speed(rig.robot.safety.reading) > 0.05, "it was to move"
    first = len(rig.seen)
    ending(rig, episode)
    rig.mode(Mode.IDLE)
    commanded = rig.commanded()
    pause(rig.arm, 1.0)
    idle = np.array([seen.state.position for seen in rig.seen[first:] if seen.mode is Mode.IDLE])
    assert len(idle) > 20
    assert np.abs(idle - idle[-1]).max() < STAYS
    assert np.abs(commanded - idle[-1]).max() < STAYS
    assert np.abs(rig.commanded() - commanded).max() < STAYS


def test_between_the_end_of_a_reset_and_the_first_action_it_stays(rig: Rig) -> None:
    """Breaks first observations: the policy would see another position than the one it acts from."""
    assert rig.robot.reset(ResetJob(100, 0)).result(WAIT) == ""
    rig.mode(Mode.HOLD)
    first = len(rig.seen)
    pause(rig.arm, 2.0)
    held = rig.seen[first:]
    assert {seen.mode for seen in held} == {Mode.HOLD}
    places = np.array([seen.state.position for seen in held])
    assert np.abs(places - places[0]).max() < STAYS


def test_an_arm_that_holds_without_a_fresh_action_stays_where_it_came_to_rest(rig: Rig) -> None:
    """Breaks grasps: an impedance that sags, or a hold that ends with the control after `stop_after`."""
    rig.act(110)
    rig.mode(Mode.HOLD)
    rig.until(lambda: _speed(rig.robot.safety.reading) < 2e-3, "rest")
    pause(rig.arm, 0.1)
    first = len(rig.seen)
    pause(rig.arm, 2.0)
    places = np.array([seen.state.position for seen in rig.seen[first:]])
    assert {seen.mode for seen in rig.seen[first:]} == {Mode.HOLD}
    assert np.abs(places - places[0]).max() < STAYS
    rig.robot.safety.end(110)


def _speed(seen: ArmReading) -> float:
    return float(np.linalg.norm(seen.state.linear_velocity))
