"""One run of a benchmark, in a process of its own: demonstrations, offline phase, online episodes, evaluations."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moto_ros.agents.common.replay_settings import steps_after_success
from moto_ros.agents.interface import Spaces
from moto_ros.agents.registry import agent_settings
from moto_ros.config import build, write_parameters
from moto_ros.data.episode import Episode
from moto_ros.data.layout import TopicMap
from moto_ros.data.replay import ReplayStore
from moto_ros.errors import MotoError, sentence
from moto_ros.experiments.engine import GRACE
from moto_ros.experiments.progress import ProgressReporter
from moto_ros.experiments.results import PROBE, results_of, write_rows
from moto_ros.experiments.return_prediction import PredictingPlayer, discounted
from moto_ros.experiments.suite import SuiteRun, TaskSettings
from moto_ros.experiments.suite_folder import SuiteFolder, read_run
from moto_ros.stopping import watch_parent
from moto_ros.terminal import replace_unknown_letters
from moto_ros.training import offline_runner
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.run_schedule import RunEpisode
from moto_ros.training.session import TrainingRun
from moto_ros.training.settings import TrainerSettings
from moto_sim.benchmark.demonstrations import Recipe, demonstrations
from moto_sim.rollout import collect
from moto_sim.world import World, make_world

STOPPED = 75
"""Exit status of a run that was asked to stop and can go on (EX_TEMPFAIL)."""


class Runner:
    """Carries a cell out; opened again, it goes on from the newest checkpoint."""

    def __init__(self, cell: SuiteRun, place: SuiteFolder) -> None:
        """Read the cell's settings; MotoError for what does not fit."""
        self.cell, self.place = cell, place
        self.task = build(TaskSettings, cell.task_values, cell.id)
        self.agent_settings = build(agent_settings(cell.agent), cell.agent_values, cell.id)
        self.settings = build(TrainerSettings, cell.trainer_values, cell.id)
        self.spaces = Spaces(self.task.image_shape, self.task.proprio_size, self.task.action_size)
        self._world: World | None = None
        self._stop = False
        self._progress = ProgressReporter(place.progress(cell))

    @property
    def world(self) -> World:
        """Return the simulated world, made when first asked for."""
        if self._world is None:
            self._world = make_world(self.task.world, self.task.image_size, **self.task.options)
            if self._world.action_size != self.task.action_size:
                raise MotoError(
                    f"{self.cell.id}: action_size is {self.task.action_size}, expected {self._world.action_size} as "
                    f"world {self.task.world} has; set task.action_size"
                )
        return self._world

    def stop(self, *_: object) -> None:
        """Ask for the end at the next update or episode; also a signal handler."""
        self._stop = True

    def stopping(self) -> bool:
        """Return whether the end was asked for."""
        return self._stop

    def run(self) -> bool:
        """Run to the end (True) or until `stop` (False), with a checkpoint; then write the rows of the results."""
        run = RunFolder(self.place.run_folder(self.cell))
        with run.locked():
            self._write_parameters(run)
            session = self._open(run, self.prepare())
            done = self._run_session(session)
            session.close()
            write_rows(self.place.results(self.cell), results_of(self.cell, run.path))
        if done:
            self.place.finish(self.cell)
        return done

    def prepare(self) -> list[Path]:
        """Return the bags of demonstrations, made where they are missing."""
        return demonstrations(self.place.data(self.cell), self._recipe(), self._own_world)

    def _recipe(self) -> Recipe:
        cell = self.cell
        return Recipe(self.task, cell.demonstrations, cell.data, cell.data_seed, cell.only_successful)

    def _own_world(self) -> World:
        """Return a world that whoever asks for it closes."""
        self._progress.report("demonstrations", 0)
        return make_world(self.task.world, self.task.image_size, **self.task.options)

    def _write_parameters(self, run: RunFolder) -> None:
        run.create()
        values = self.cell.task_values | {f"agent.{name}": value for name, value in self.cell.agent_values.items()}
        write_parameters(run.config / "cell.yaml", "/**", values)

    def _open(self, run: RunFolder, bags: Sequence[Path]) -> TrainingRun:
        """Open the run; a new one takes in the demonstrations."""
        session = TrainingRun.open(
            run, self.cell.agent, self.agent_settings, self.settings, self.spaces, lambda index: self._store(run, index)
        )
        if session.resumed_from is None:
            for bag in bags:
                for episode in _episodes(session, bag, self.task):
                    session.add_demonstration(episode, bag)
            if warning := session.store.nothing_to_imitate():
                print(f"warning: {warning}", file=sys.stderr)
        self._progress.expect(session.schedule.budget)
        return session

    def _store(self, run: RunFolder, index: Mapping[str, Any] | None) -> ReplayStore:
        store = ReplayStore(
            run.cache,
            prior_rule=self.cell.prior_rule,
            steps_after_success=steps_after_success(self.agent_settings),
        )
        if index is not None:
            store.restore(index, self.task)
        return store

    def _run_session(self, session: TrainingRun) -> bool:
        done = offline_runner.run(
            session,
            lambda asked: self._play(session, asked),
            on_update=lambda progress: self._progress.report(progress.round, session.metrics.clock.updates),
            stop=self.stopping,
        )
        if not done:
            session.save()
        return done

    def _play(self, session: TrainingRun, asked: RunEpisode) -> tuple[Episode, Sequence[float]]:
        """Run an episode that the schedule asks for; one of evaluation has a twin that samples its actions."""
        self._progress.report(f"{asked.purpose} episode", session.metrics.clock.updates)
        player = self._player(session, asked, sample=asked.sample)
        episode = self._collect(player, asked)
        if asked.purpose == "evaluation":
            twin = self._collect(self._player(session, asked, sample=True), asked)
            session.metrics.row(PROBE, id=asked.id, **self._probe(episode, twin, player.predicted_return))
        return episode, player.uncertainty

    def _player(self, session: TrainingRun, asked: RunEpisode, *, sample: bool) -> PredictingPlayer:
        size, device = self.task.action_size, str(session.device)
        return PredictingPlayer(session.agent, size, asked.seed, sample=sample, device=device, arm=asked.arm)

    def _collect(self, player: PredictingPlayer, asked: RunEpisode) -> Episode:
        episode = collect(self.world, player, self.task.max_steps, asked.seed, self.task.cameras, self.task.proprio)
        episode.info["id"] = asked.id
        return episode

    def _probe(self, episode: Episode, twin: Episode, predicted: float | None) -> dict[str, float | int | None]:
        """Return what is worth knowing of an evaluation episode besides its outcome."""
        return {
            "success": int(twin.succeeded),
            "return": float(twin.reward.sum()),
            "best": float(episode.reward.max()),
            "predicted": predicted,
            "achieved": discounted(episode.reward, self.agent_settings),
        }

    def close(self) -> None:
        """Free the world."""
        if self._world is not None:
            self._world.close()


def _episodes(session: TrainingRun, bag: Path, layout: TaskSettings) -> list[Episode]:
    """Return the episodes of a bag of demonstrations; MotoError where it gives none."""
    store: Any = session.store
    episodes, problems = store.cache.read(bag, layout, TopicMap())
    if not episodes:
        raise MotoError(f"{bag}: holds no usable episode ({'; '.join(problems)}); remove it, and it is made again")
    return list(episodes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cell that `cell.json` describes, in the suite's folder; exit status 75 when it was stopped.

    A third argument, "data", makes its demonstrations and no more.
    """
    replace_unknown_letters()
    description, folder, *only = sys.argv[1:] if arguments is None else arguments
    watch_parent(GRACE)
    try:
        runner = Runner(read_run(Path(description)), SuiteFolder(folder))
        if only == ["data"]:
            print(f"{len(runner.prepare())} bags in {runner.place.data(runner.cell)}")
            return 0
        signal.signal(signal.SIGTERM, runner.stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        done = runner.run()
        runner.close()
    except (MotoError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 1
    return 0 if done else STOPPED


if __name__ == "__main__":
    sys.exit(main())
