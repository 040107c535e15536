"""One run, assembled: agent, learner, schedule, metrics and checkpoints over a run folder. No ROS.

The trainer node asks `schedule.next()` and carries the answer out with the methods here; `pretrain` and the benchmarks
do the same without topics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch

from moto_ros.agents.interface import Agent, Spaces
from moto_ros.agents.registry import make_agent
from moto_ros.config import Value
from moto_ros.data.episode import Episode
from moto_ros.files import set_aside
from moto_ros.training.arm_bandit import ArmOutcome
from moto_ros.training.artifacts import save_prediction, save_rollout
from moto_ros.training.checkpoint import Checkpoint, CheckpointFolder, restore_global_rng
from moto_ros.training.episode_results import conduct_of, finite_mean, rate_fields, result_of, summary
from moto_ros.training.learner import Learner, Progress, Store, never
from moto_ros.training.metrics import ARM_ROW, MetricsWriter
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.run_schedule import EpisodeResult, Evaluation, Offline, RunEpisode, RunSchedule, Update
from moto_ros.training.settings import (
    TrainerSettings,
    budget_of,
    choose_device,
    configuration,
    identity_of,
    plan_of,
)
from moto_ros.training.uncertainty_quantiles import offline_quantiles
from moto_ros.training.weights import pack


class RunStore(Store, Protocol):
    """What a session needs of the replay store."""

    def add(self, episode: Episode, bag: Path | None, origin: str) -> Any:
        """Take in an episode; `origin` is "offline" or "online"."""
        ...

    def episodes(self) -> list[Episode]:
        """Return every episode in order."""
        ...

    def nothing_to_imitate(self) -> str:
        """Return a sentence when no episode may be imitated, else ""."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the index of the store as plain JSON values."""
        ...


class TrainingRun:
    """A run that is open: learns, judges episodes, saves. Open one with `TrainingRun.open`."""

    def __init__(
        self, run: RunFolder, agent: Agent, settings: TrainerSettings, agent_settings: Any, store: RunStore
    ) -> None:
        self.run = run
        self.agent = agent
        self.settings = settings
        self.store = store
        self.device = choose_device(settings.device)
        self.metrics = MetricsWriter(run)
        self.learner = Learner(
            agent, store, self.metrics, settings.seed, device=self.device, log_every=settings.log_every
        )
        self.schedule = RunSchedule(settings, budget_of(settings, agent_settings, agent.phases), agent.arms)
        self.schedule.pin(settings.pinned_arm)  # refuses an arm that the agent does not have
        self.identity = identity_of(agent, agent_settings)
        self.digest = self.identity.digest
        self.checkpoints = CheckpointFolder(run.checkpoints, self.identity, keep=settings.keep_checkpoints)
        self.quantiles: list[float] = []
        """0, 1, ... 100 % of the uncertainty on recorded data; empty until measured."""
        self.resumed_from: Checkpoint | None = None
        self._saved_at = time.monotonic()

    @classmethod
    def open(
        cls,
        run: RunFolder,
        agent_name: str,
        agent_settings: Any,
        settings: TrainerSettings,
        spaces: Spaces,
        make_store: Callable[[Mapping[str, Any] | None], RunStore],
        data: Mapping[str, Value] | None = None,
    ) -> TrainingRun:
        """Open a new run, or take up the run that the folder holds at its newest whole checkpoint.

        `make_store` gets the replay index of the checkpoint, or None in a new run, and returns the filled store.
        `data` is what the run learns from, see `RunFolder.open`.
        Raises MotoError when the folder holds a run of another configuration.
        """
        plan = plan_of(settings, agent_settings)
        run.open(configuration(settings, agent_name, agent_settings), settings.seed, plan, data)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        device = choose_device(settings.device)
        agent = make_agent(agent_name, spaces, agent_settings, settings.seed, device)
        folder = CheckpointFolder(run.checkpoints, identity_of(agent, agent_settings))
        found = folder.load()
        if found is None and run.metrics_file.exists() and run.metrics_file.stat().st_size:
            set_aside(run.metrics_file)  # of a run whose checkpoints are gone, or somebody's own
        store = make_store(None if found is None else found.state["replay"])
        session = cls(run, agent, settings, agent_settings, store)
        if found is None:
            torch.manual_seed(settings.seed)
        else:
            session._restore(found)
        return session

    def _restore(self, found: Checkpoint) -> None:
        self.agent.load_state_dict(found.agent)
        found.agent.clear()
        self.learner.load_state(found.state["learner"])
        self.schedule.load_state(found.state["conductor"])
        self.metrics.load_state(found.state["metrics"])
        self.quantiles = list(found.state.get("uncertainty_quantiles", ()))
        restore_global_rng(found.rng)
        self.resumed_from = found
        for reason in found.refused:
            self.metrics.row("note", text=f"refused {reason}")

    def learn(
        self,
        action: Offline | Update,
        *,
        on_update: Callable[[Progress], None] | None = None,
        stop: Callable[[], bool] = never,
    ) -> bool:
        """Do the updates asked for, saving on the way; return False when `stop` ended them early."""
        name = "offline" if isinstance(action, Offline) else f"online-{action.round:06d}"

        def after_update(progress: Progress) -> None:
            if time.monotonic() - self._saved_at > self.settings.checkpoint_every > 0:
                self.save()
            if on_update is not None:
                on_update(progress)

        if not self.learner.work(name, action.updates, on_update=after_update, stop=stop):
            return False
        self._learned(action)
        return True

    def _learned(self, action: Offline | Update) -> None:
        if isinstance(action, Offline):
            self.schedule.offline_ended()
            self.measure_uncertainty()
            self.save()
            return
        self.schedule.update_ended()
        if (action.round + 1) % self.settings.checkpoint_rounds == 0:
            self.save()

    def measure_uncertainty(self) -> None:
        """Measure how unsure the model is on recorded data: what its uncertainty while acting is ranked by."""
        steps, episodes = self.settings.quantile_steps, self.store.episodes() if self.settings.quantile_steps else []
        self.quantiles = offline_quantiles(self.agent, episodes, steps, self.device, self.settings.seed)
        if self.quantiles:
            self.metrics.row("quantiles", values=self.quantiles)

    def add_demonstration(self, episode: Episode, bag: Path | None) -> None:
        """Take in a recorded episode before the offline phase."""
        self.store.add(episode, bag, "offline")
        result = result_of(episode, int(episode.info.get("id", -1)))
        self._episode_row("demonstration", result, conduct_of(episode))

    def take(
        self,
        started: RunEpisode,
        episode: Episode,
        bag: Path | None,
        uncertainty: Sequence[float] = (),
        ranks: Sequence[float] = (),
        **facts: float,
    ) -> EpisodeResult:
        """Take in an episode that the schedule asked for: learn from it later, or count it in its evaluation.

        `uncertainty` is the policy's at each step, `ranks` its place among the values on recorded data, 0 to 1;
        `facts` are more figures for its row of metrics (policy_version...).
        """
        result = result_of(episode, started.id)
        result = replace(result, arm=result.arm or started.arm)
        if started.purpose == "training":
            self.store.add(episode, bag, "online")
            self.metrics.clock.episode += 1
            self.metrics.clock.env_steps += result.steps
        self.schedule.episode_ended(result)
        measured = {"uncertainty": finite_mean(uncertainty), "uncertainty_rank": finite_mean(ranks)}
        known = {name: mean for name, mean in measured.items() if mean is not None}
        reason = started.arm_reason if result.arm == started.arm else f"{started.arm} was asked for"
        figures = known | facts | conduct_of(episode)
        self._episode_row(started.purpose, result, {**figures, "arm": result.arm, "arm_reason": reason})
        if started.purpose == "evaluation":
            self._evaluated(episode, uncertainty)
        else:
            self._arm_row(result.arm)
        return result

    def _arm_row(self, arm: str) -> None:
        """Write the success so far of the arm that acted a training episode, where the agent has several."""
        outcomes = self.arm_outcomes(arm)
        if len(self.agent.arms) > 1 and outcomes:
            solved = sum(outcome.success for outcome in outcomes)
            belief = self.schedule.bandit.beliefs(self.schedule.position.outcomes)[arm]
            rate = rate_fields(solved, len(outcomes))
            self.metrics.row(ARM_ROW, purpose="training", arm=arm, **rate, posterior_mean=belief.mean)

    def arm_outcomes(self, arm: str) -> list[ArmOutcome]:
        """Return the outcomes of the training episodes that an arm acted; none for an arm that the agent lacks."""
        return [one for one in self.schedule.position.outcomes if one.arm == arm and arm in self.agent.arms]

    def _episode_row(self, purpose: str, result: EpisodeResult, facts: Mapping[str, float | str]) -> None:
        fields = {"id": result.id, "success": int(result.success), "return": result.reward, "steps": result.steps}
        self.metrics.row("episode", purpose=purpose, **fields, **facts)

    def _evaluated(self, episode: Episode, uncertainty: Sequence[float]) -> None:
        current = self.schedule.position.evaluations[-1]
        if len(current.results) == 1:
            self._picture(f"{current.after:06d}", episode, uncertainty)
        ended = self.schedule.evaluation_just_ended()
        if ended is not None:
            self._evaluation_row(ended)
            self.save()

    def _evaluation_row(self, ended: Evaluation) -> None:
        figures = summary(ended.results)
        self.metrics.row("evaluation", after=ended.after, arm=ended.arm, **figures)
        if len(self.agent.arms) > 1:
            rate = rate_fields(figures["successes"], figures["n"])
            self.metrics.row(ARM_ROW, purpose="evaluation", arm=ended.arm, after=ended.after, **rate)

    def _picture(self, tag: str, episode: Episode, uncertainty: Sequence[float]) -> None:
        """Save what the report shows of an evaluation: its first episode, and the model's prediction of it."""
        save_rollout(self.run.plots, tag, episode, uncertainty)
        save_prediction(self.run.plots, tag, self.agent, episode, self.device)

    def weights(self) -> tuple[bytes, str]:
        """Return the acting weights as safetensors bytes and their hexadecimal SHA-256."""
        return pack(self.agent)

    def save(self) -> Path:
        """Write a checkpoint now."""
        state = {
            "learner": self.learner.state(),
            "conductor": self.schedule.state(),
            "metrics": self.metrics.state(),
            "replay": self.store.state(),
            "uncertainty_quantiles": self.quantiles,
            "arm": self.schedule.better_arm(),
        }
        path = self.checkpoints.save(self.agent.state_dict(), state)
        self._saved_at = time.monotonic()
        return path

    def close(self) -> None:
        """Close the metrics; the caller saves before if it wants to."""
        self.metrics.close()
