"""Checks before any node starts: bags, checkpoints, the run folder, the arm. A job that cannot work is refused."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from moto_ros.agents.bc.agent import BcAgent
from moto_ros.agents.common.encoder import EncoderSettings
from moto_ros.agents.registry import agent_class, make_agent
from moto_ros.config import part
from moto_ros.data.layout import StepLayout
from moto_ros.errors import MotoError
from moto_ros.nodes.learning_settings import as_begun, data_part, spaces_of
from moto_ros.policy.checkpoint_policy import find_checkpoint, is_cloned, load_base
from moto_ros.robot.arms import ARMS
from moto_ros.systems.bringup import System
from moto_ros.systems.implied_parameters import require_demonstrations
from moto_ros.training import arm_bandit
from moto_ros.training.run_folder import RunFolder, differences
from moto_ros.training.settings import TrainerSettings, agent_identity, configuration, stored_configuration


def check(system: System, *, records: bool = False, fresh: bool = False) -> None:
    """Raise MotoError where `system` cannot do its work: its parameters, or the files and the arm that they name.

    `records`: demonstrations are recorded first; `fresh`: the run folder is set aside first.
    """
    system.check()
    settings = system.settings()
    trainer = settings.get("trainer")
    if trainer is not None:
        _check_run(trainer, records=records, fresh=fresh)
        _check_arms(trainer, "trainer.pinned_arm", trainer.pinned_arm)
    if "policy" in settings:
        _check_arms(settings["policy"], "policy.acting_arm", settings["policy"].acting_arm)
    for node in ("policy", "reset_policy"):
        if node in settings and settings[node].checkpoint:
            _check_checkpoint(settings[node])
    if trainer is None and "policy" in settings:
        _say_other_task(system, settings["policy"])
    _check_scene(settings)
    check_arm(settings)


def _check_run(trainer: Any, *, records: bool, fresh: bool) -> None:
    """Check what the trainer starts from: nothing but its own folder once that holds a checkpoint."""
    run = RunFolder(Path(trainer.run).expanduser())
    if not fresh:
        shaping = configuration(part(trainer, TrainerSettings), trainer.agent_name, trainer.agent)
        run.check_configuration(shaping, data_part(as_begun(trainer, run)))
        if has_checkpoint(run):
            return
    if trainer.checkpoint and not _check_base(trainer):
        _check_checkpoint(trainer)
    if not records:
        require_demonstrations(Path(trainer.bags).expanduser() if trainer.bags else run.bag_folder("offline"))


def has_checkpoint(run: RunFolder) -> bool:
    """Return whether a run has a checkpoint, which it then resumes from."""
    return run.checkpoints.is_dir() and any(run.checkpoints.glob("checkpoint_*"))


def _check_checkpoint(settings: Any) -> None:
    """Raise MotoError where a node's checkpoint is not there, is damaged or is of another agent or other settings."""
    run = _run_of(Path(settings.checkpoint).expanduser())
    if run is not None:
        _check_agent(run, settings)
    identity = agent_identity(settings.agent_name, settings.agent)
    find_checkpoint(Path(settings.checkpoint).expanduser(), identity)


def _say_other_task(system: System, policy: Any) -> None:
    """Print which task a policy has learned, where it is to act in another one."""
    run = _run_of(Path(policy.checkpoint).expanduser())
    if run is None:
        return
    learned = str(run.identity().get("data", {}).get("task", ""))
    if learned and system.task and learned != system.task:
        print(
            f"{run.path} has learned task {learned}, and acts in task {system.task} now; "
            f"give --task {learned} for its own",
            file=sys.stderr,
            flush=True,
        )


def _check_agent(run: RunFolder, settings: Any) -> None:
    """Raise MotoError, saying which settings differ, where a run was learned by an agent that is set otherwise here."""
    asked = configuration(TrainerSettings(), settings.agent_name, settings.agent)
    stored = stored_configuration(run.identity()["configuration"], str(run.identity_file), agent=settings.agent_name)
    in_run, here = ({name: one[name] for name in one if name.startswith("agent.")} for one in (stored, asked))
    if wrong := differences(in_run, here):
        raise MotoError(
            f"{run.path} was learned by another agent or with other settings: {'; '.join(wrong)}; "
            "give --agent, --preset and -p as when it began"
        )


def _check_arms(settings: Any, name: str, arm: str) -> None:
    """Raise MotoError for an arm that the agent does not have, before anything is recorded."""
    if arm:
        spaces = spaces_of(part(settings, StepLayout))
        arm_bandit.check_arm(arm, make_agent(settings.agent_name, spaces, settings.agent, 0).arms, name)


def _check_base(trainer: Any) -> bool:
    """Return whether the trainer starts from a cloned policy; MotoError where that does not fit its agent."""
    path, agent = Path(trainer.checkpoint).expanduser(), agent_class(trainer.agent_name)
    if agent.name == BcAgent.name or not is_cloned(path):
        return False
    # The agent that the trainer will make, for a moment: it says what does not fit before anything is recorded.
    load_base(path, make_agent(trainer.agent_name, spaces_of(part(trainer, StepLayout)), trainer.agent, trainer.seed))
    _check_seen(path, trainer)
    return True


def _check_seen(path: Path, trainer: Any) -> None:
    """Raise MotoError where a cloned policy saw something else of the same size, or has another kind of latent."""
    run = _run_of(path)
    if run is None:
        return
    identity = run.identity()
    known, asked = identity.get("data", {}), data_part(trainer)
    names = [name for name in ("cameras", "image_size", "proprio") if name in known]
    latent = "agent.latent"
    wrong = differences({name: known[name] for name in names}, {name: asked[name] for name in names})
    stored = identity["configuration"].get(latent, EncoderSettings.latent)
    wrong += differences({latent: stored}, {latent: trainer.agent.base_encoder.latent})
    if wrong:
        raise MotoError(
            f"{path}: its policy was cloned from other observations or with other settings than those of this run: "
            f"{'; '.join(wrong)}; clone it again as this run sees, or give the same task and cameras"
        )


def _run_of(path: Path) -> RunFolder | None:
    """Return the run folder that a checkpoint is of; None for a checkpoint alone."""
    folders = (RunFolder(folder) for folder in (path, path.parent, path.parent.parent))
    return next((run for run in folders if run.identity_file.exists()), None)


def _check_scene(settings: Mapping[str, Any]) -> None:
    """Raise MotoError where resets wait for a second policy that is not started."""
    if "episode" in settings and settings["episode"].scene_reset == "policy" and "reset_policy" not in settings:
        raise MotoError(
            "episode node: parameter 'scene_reset' is 'policy', but there is no policy that resets the scene; name its "
            "checkpoint (argument reset_checkpoint)"
        )


def check_arm(settings: Mapping[str, Any]) -> None:
    """Raise MotoError where the settings by node name an arm that cannot be connected to."""
    if "franka" in settings and "franka_server" not in settings:
        with ARMS.using(settings["franka"].arm) as driver:
            driver.check_connection(settings["franka"])


UNUSED: dict[str, dict[str, str]] = {
    "record": {
        "bags": "demonstrations are recorded into bags/offline of the run folder: give run",
        "checkpoint": "no policy acts here",
        "reset_checkpoint": "no policy acts here",
    },
    "pretrain": {
        "episodes": "no episode is run here",
        "checkpoint": "a run begins from it, in place of the offline phase or of the base policy: give it to finetune",
        "reset_checkpoint": "no episode is run here",
    },
    "evaluate": {
        "bags": "nothing is learned here",
        "device": "nothing is learned here: for acting, give parameter policy.device",
    },
}
"""System -> argument that it does not use -> why, and what to give instead."""


def refuse_unused(name: str, given: Mapping[str, str], defaults: Mapping[str, str]) -> None:
    """Raise MotoError for an argument that would be ignored."""
    for argument, why in UNUSED.get(name, {}).items():
        if given.get(argument, defaults[argument]) != defaults[argument]:
            raise MotoError(f"argument {argument} is '{given[argument]}', which {name} has no use for: {why}")
    if name in ("record", "evaluate") and given.get("episodes") and not given["episodes"].strip("0"):
        raise MotoError(f"argument episodes is '{given['episodes']}', but {name} runs episodes, expected 1 or more")


def closed_bags(folder: Path, known: Collection[Path] = ()) -> set[Path]:
    """Return the closed bags of a folder besides those `known`."""
    return {path.parent for path in folder.glob("*/metadata.yaml")} - set(known)
