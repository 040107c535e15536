"""Does a whole training run in one thread, without ROS: for pre-training, benchmarks and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moto_ros.data.episode import Episode
from moto_ros.errors import MotoError
from moto_ros.training.learner import RoundProgress, never
from moto_ros.training.run_schedule import Done, Offline, Publish, RunEpisode, Update
from moto_ros.training.session import TrainingRun

Play = Callable[[RunEpisode], tuple[Episode, Sequence[float], Sequence[float]]]
"""Runs an episode with the session's agent; returns it, and uncertainty and probability of success at each step."""


def run(
    session: TrainingRun,
    play: Play,
    *,
    on_update: Callable[[RoundProgress], None] | None = None,
    stop: Callable[[], bool] = never,
) -> bool:
    """Do what the schedule decides until the run is done (True) or `stop` ends it early (False)."""
    while not isinstance(action := session.schedule.next(), Done):
        if stop():
            return False
        if isinstance(action, (Offline, Update)):
            session.learn(action, on_update=on_update, stop=stop)
        elif isinstance(action, Publish):
            session.schedule.published(action.version)
        elif isinstance(action, RunEpisode):
            session.schedule.episode_started(action)
            episode, uncertainty, success_probability = play(action)
            session.take(action, episode, None, uncertainty, success_probability=success_probability)
        else:
            _lose_interrupted(session, action.episode)
    session.save()
    return True


def _lose_interrupted(session: TrainingRun, episode: int) -> None:
    """Run an episode again that a killed process left unfinished: without ROS no other process finishes it."""
    session.schedule.episode_lost(episode, "its process was killed")


def pretrain(
    session: TrainingRun, *, on_update: Callable[[RoundProgress], None] | None = None, stop: Callable[[], bool] = never
) -> bool:
    """Do the offline phase only; return False when `stop` ended it early."""
    action = session.schedule.next()
    if not isinstance(action, Offline):
        return True
    if not session.store.holds("all"):
        raise MotoError(f"{session.run.bags}: no usable episode, expected demonstrations; record some or name bags")
    return session.learn(action, on_update=on_update, stop=stop)
