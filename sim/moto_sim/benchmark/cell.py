"""One run of a benchmark, in a process of its own: demonstrations, offline phase, online episodes, evaluations."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from moto_ros.agents.common.replay_settings import WHOLE_EPISODES, steps_after_success
from moto_ros.agents.interface import EDITED, Spaces
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
from moto_sim.scripted_help import ScriptedHelp
from moto_sim.world import World, make_world

STOPPED = 75
"""Exit status of a run that was asked to stop and can be resumed (EX_TEMPFAIL)."""


class BenchmarkRun:
    """One run of a suite. Started again, it resumes from its newest checkpoint."""

    def __init__(self, suite_run: SuiteRun, suite_folder: SuiteFolder) -> None:
        """Read the settings of the run; MotoError where they do not fit."""
        self.suite_run, self.suite_folder = suite_run, suite_folder
        self.task = build(TaskSettings, suite_run.task_values, suite_run.id)
        self.agent_settings = build(agent_settings(suite_run.agent), suite_run.agent_values, suite_run.id)
        self.settings = build(TrainerSettings, suite_run.trainer_values, suite_run.id)
        self.spaces = Spaces(self.task.image_shape, self.task.proprio_size, self.task.action_size)
        self._world: World | None = None
        self._stop = False
        self._progress = ProgressReporter(suite_folder.progress(suite_run))

    @property
    def world(self) -> World:
        """Return the simulated world, made when first asked for."""
        if self._world is None:
            self._world = make_world(self.task.world, self.task.image_size, **self.task.options)
            if self._world.action_size != self.task.action_size:
                raise MotoError(
                    f"{self.suite_run.id}: action_size is {self.task.action_size}, expected {self._world.action_size}, "
                    f"that of world {self.task.world}; set task.action_size"
                )
        return self._world

    @property
    def ends_at_success(self) -> bool:
        """Return whether an episode ends at success: the task says so, or the agent learns nothing of what follows."""
        return self.task.success_steps > 0 or steps_after_success(self.agent_settings) != WHOLE_EPISODES

    def stop(self, *_: object) -> None:
        """Ask the run to stop after the current update or episode; also a signal handler."""
        self._stop = True

    def stopping(self) -> bool:
        """Return whether the run was asked to stop."""
        return self._stop

    def run(self) -> bool:
        """Run to the end (True) or until `stop` (False), with a checkpoint; then write the rows of the results."""
        run = RunFolder(self.suite_folder.run_folder(self.suite_run))
        with run.locked():
            self._write_parameters(run)
            session = self._open(run, self.prepare())
            done = self._run_session(session)
            session.close()
            write_rows(self.suite_folder.results(self.suite_run), results_of(self.suite_run, run.path))
        if done:
            self.suite_folder.finish(self.suite_run)
        return done

    def prepare(self) -> list[Path]:
        """Return the bags of demonstrations; those that are missing are made."""
        return demonstrations(self.suite_folder.data(self.suite_run), self._recipe(), self._own_world)

    def _recipe(self) -> Recipe:
        run = self.suite_run
        return Recipe(self.task, run.demonstrations, run.data, run.data_seed, run.only_successful)

    def _own_world(self) -> World:
        """Return a new world, which the caller closes."""
        self._progress.report("demonstrations", 0)
        return make_world(self.task.world, self.task.image_size, **self.task.options)

    def _write_parameters(self, run: RunFolder) -> None:
        run.create()
        of_agent = {f"agent.{name}": value for name, value in self.suite_run.agent_values.items()}
        values = self.suite_run.task_values | of_agent
        write_parameters(run.config / "cell.yaml", "/**", values)

    def _open(self, run: RunFolder, bags: Sequence[Path]) -> TrainingRun:
        """Open the run; a new one takes in the demonstrations."""
        session = TrainingRun.open(
            run,
            self.suite_run.agent,
            self.agent_settings,
            self.settings,
            self.spaces,
            lambda index: self._store(run, index),
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
            prior_rule=self.suite_run.prior_rule,
            steps_after_success=steps_after_success(self.agent_settings),
            success_hold=self.task.success_hold,
        )
        if index is not None:
            store.restore(index, self.task)
        return store

    def _run_session(self, session: TrainingRun) -> bool:
        done = offline_runner.run(
            session,
            lambda planned: self._play(session, planned),
            on_update=lambda progress: self._progress.report(progress.round, session.metrics.clock.updates),
            stop=self.stopping,
        )
        if not done:
            session.save()
        return done

    def _play(self, session: TrainingRun, planned: RunEpisode) -> tuple[Episode, Sequence[float], Sequence[float]]:
        """Run an episode that the schedule asks for; one of evaluation may have a twin that samples its actions."""
        self._progress.report(f"{planned.purpose} episode", session.metrics.clock.updates)
        player = self._player(session, planned, sample=planned.sample)
        online = len(session.schedule.position.steps)
        helps = planned.purpose == "training" and online < self.task.helped_episodes
        episode = self._collect(player, planned, self._help(player, planned.seed) if helps else None)
        if player.edited is not None:
            episode.info[EDITED] = player.edited
        if planned.purpose == "evaluation":
            probe = self._probe(episode, player.predicted_return)
            if self.suite_run.sampled_twin:
                twin = self._collect(self._player(session, planned, sample=True), planned)
                probe |= {"success": int(twin.succeeded), "return": float(twin.reward.sum())}
            session.metrics.row(PROBE, id=planned.id, **probe)
        return episode, player.uncertainty, player.success_probability

    def _player(self, session: TrainingRun, asked: RunEpisode, *, sample: bool) -> PredictingPlayer:
        size, device = self.task.action_size, str(session.device)
        return PredictingPlayer(session.agent, size, asked.seed, sample=sample, device=device, arm=asked.arm)

    def _help(self, player: PredictingPlayer, seed: int) -> ScriptedHelp:
        return ScriptedHelp(self.world, seed, int(self.task.helped_share * self.task.max_steps), player.executed)

    def _collect(self, player: PredictingPlayer, planned: RunEpisode, help: ScriptedHelp | None = None) -> Episode:
        task = self.task
        episode = collect(
            self.world,
            player,
            task.max_steps,
            planned.seed,
            task.cameras,
            task.proprio,
            stop_on_success=self.ends_at_success,
            success_hold=task.success_hold,
            help=help,
        )
        episode.info["id"] = planned.id
        return episode

    def _probe(self, episode: Episode, predicted: float | None) -> dict[str, float | int | None]:
        """Return what is worth knowing of an evaluation episode besides its outcome."""
        return {
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
    # They ran to the step limit; bags of earlier versions say that success ended those in which it held at the end.
    return [replace(episode, is_terminal=np.zeros_like(episode.is_terminal)) for episode in episodes]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what `cell.json` describes, in the folder of its suite; return exit status 75 when it was stopped.

    With a third argument, "data", only its demonstrations are made.
    """
    replace_unknown_letters()
    description, folder, *only = sys.argv[1:] if arguments is None else arguments
    watch_parent(GRACE)
    try:
        benchmark_run = BenchmarkRun(read_run(Path(description)), SuiteFolder(folder))
        if only == ["data"]:
            print(f"{len(benchmark_run.prepare())} bags in {benchmark_run.suite_folder.data(benchmark_run.suite_run)}")
            return 0
        signal.signal(signal.SIGTERM, benchmark_run.stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        done = benchmark_run.run()
        benchmark_run.close()
    except (MotoError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 1
    return 0 if done else STOPPED


if __name__ == "__main__":
    sys.exit(main())
