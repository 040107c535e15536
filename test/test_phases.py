"""What a job does, phase by phase: what cannot work is refused at once, and what was not done is no success."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from moto_ros.agents.registry import make_agent
from moto_ros.cli.main import main
from moto_ros.config import part
from moto_ros.data.layout import StepLayout
from moto_ros.errors import MotoError
from moto_ros.nodes.learning_settings import as_begun, data_part, spaces_of
from moto_ros.robot import franka_checks
from moto_ros.stopping import SAVE_TIME, STOP_TIME
from moto_ros.systems.bringup import System, resolve
from moto_ros.systems.exit_causes import ExitCauses
from moto_ros.systems.phases import SystemPhase, finetune, phases, unfinished
from moto_ros.systems.preflight import check
from moto_ros.training.checkpoint import CheckpointFolder, Identity
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.run_schedule import Done, EpisodeResult, Offline, Publish, RunEpisode, RunSchedule
from moto_ros.training.settings import TrainerSettings, agent_digest, agent_identity, budget_of, configuration

pytestmark = pytest.mark.sim

ANY_KERNEL = "franka.realtime:=false"
SHORT = {"preset": "ci", "parameters": "evaluation_episodes:=1"}


def _bag(folder: Path, number: int) -> None:
    """Make what counts as a closed bag of a demonstration."""
    bag = folder / "bags" / "offline" / f"episode_{number}"
    bag.mkdir(parents=True)
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")


# Parameters that contradict what the system must set.


@pytest.mark.parametrize(
    ("system", "given", "sentence"),
    [
        ("finetune", {"parameters": "episode.automatic_episodes:=1"}, "is 1, but finetune sets it to 0; leave it out"),
        ("finetune", {"parameters": "automatic_episodes:=1"}, "'automatic_episodes' of the episode node is 1"),
        ("finetune", {"episodes": "1", "parameters": "online_episodes:=2"}, "is 2, but finetune sets it to 1"),
        ("finetune", {"parameters": "trainer.seed:=5"}, "'seed' of the trainer node is 5, .* or give argument seed"),
        ("finetune", {"parameters": "policy.seed:=5"}, "'seed' of the policy node is 5"),
        ("finetune", {"parameters": "clock:=realtime"}, "'clock' of the sim node is 'realtime', .* argument clock"),
        ("finetune", {"parameters": "policy.agent_name:=bc"}, "'agent_name' of the policy node"),
        ("finetune", {"parameters": "trainer.bags:=elsewhere"}, "'bags' of the trainer node .* give argument bags"),
        ("finetune", {"parameters": "recorder.bags:=elsewhere"}, "'bags' of the recorder node"),
        ("finetune", {"parameters": "trainer.run:=elsewhere"}, "'run' of the trainer node"),
        ("finetune", {"parameters": "wait_for:=[]"}, r"'wait_for' of the sim node is \(\)"),
        ("finetune", {"checkpoint": "a", "parameters": "trainer.checkpoint:=b"}, "'checkpoint' of the trainer node"),
        ("pretrain", {"device": "cpu", "parameters": "trainer.device:=cuda"}, "'device' of the trainer node"),
        ("record", {"episodes": "2", "parameters": "automatic_episodes:=3"}, "is 3, but record sets it to 2"),
        ("record", {"parameters": "sim.expert:=false"}, "'expert' of the sim node is False"),
        ("record", {"parameters": "episode.purpose:=training"}, "'purpose' of the episode node is 'training'"),
        ("evaluate", {"parameters": "episode.first_episode:=7"}, "'first_episode' of the episode node is 7"),
        (
            "evaluate",
            {"operator": "on", "parameters": "operator_in_loop:=false"},
            "'operator_in_loop' of the policy node is False",
        ),
        ("finetune", {"parameters": "trainer.image_size:=32"}, "'image_size' is 64 in the policy node and 32 in the"),
        ("finetune", {"parameters": "policy.agent.deter:=32"}, "'agent.deter' is 32 in the policy node"),
        ("finetune", {"parameters": "policy.proprio:=[ee_position]"}, "'proprio' is"),
    ],
)
def test_a_parameter_that_contradicts_its_system_is_refused(system: str, given: dict[str, str], sentence: str) -> None:
    """Breaks trust: the run would do something else than was asked, or nothing, and end with status 0."""
    with pytest.raises(MotoError, match=sentence):
        resolve(system, {"run": "somewhere", **given}).check()


@pytest.mark.parametrize(
    ("system", "parameters"),
    [
        ("evaluate", "episode.automatic_episodes:=3"),
        ("record", "automatic_episodes:=3"),
        ("finetune", "trainer.online_episodes:=3"),
        ("finetune", "trainer.overlap:=true"),
        ("finetune", "device:=cpu trainer.checkpoint:=there"),
        ("finetune", "seed:=0 clock:=lockstep image_size:=32 agent.deter:=32 policy.explore:=never"),
    ],
)
def test_a_parameter_that_contradicts_nothing_is_taken(system: str, parameters: str) -> None:
    resolve(system, {"run": "somewhere", "parameters": parameters}).check()


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("record", {"bags": "mine"}, "argument bags is 'mine', which record has no use for: .* give run"),
        ("record", {"checkpoint": "mine"}, "argument checkpoint"),
        ("record", {"episodes": "0"}, "argument episodes is '0', but record runs episodes, expected 1 or more"),
        ("pretrain", {"episodes": "5"}, "argument episodes is '5', which pretrain has no use for"),
        ("pretrain", {"checkpoint": "mine"}, "in place of the offline phase"),
        ("evaluate", {"bags": "mine"}, "argument bags"),
        ("evaluate", {"device": "cuda"}, "give parameter policy.device"),
    ],
)
def test_an_argument_that_would_be_ignored_is_refused(name: str, given: dict[str, str], sentence: str) -> None:
    with pytest.raises(MotoError, match=sentence):
        next(phases(name, given))


# What is looked at before anything starts.


def _refusal(name: str, **given: str) -> str:
    with pytest.raises(MotoError) as refused:
        next(phases(name, given))
    return str(refused.value)


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_bags_that_are_not_there_are_said_before_anything_starts(name: str, tmp_path: Path) -> None:
    """Costs minutes: all nodes would start, and end after a minute with "no usable episode"."""
    run, bags = tmp_path / "run", tmp_path / "bags"
    assert f"{bags}: does not exist" in _refusal(name, run=str(run), bags=str(bags))
    bags.mkdir()
    refusal = _refusal(name, run=str(run), bags=str(bags))
    assert f"{bags}: holds no bag" in refusal
    assert "record demonstrations" in refusal
    assert not run.exists()


def test_pre_training_without_demonstrations_names_the_folder_that_lacks_them(tmp_path: Path) -> None:
    assert f"{tmp_path / 'run' / 'bags' / 'offline'}: does not exist" in _refusal("pretrain", run=str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "argument"),
    [("evaluate", "checkpoint"), ("evaluate", "reset_checkpoint"), ("finetune", "checkpoint")],
)
def test_a_checkpoint_that_is_not_there_is_said_before_anything_starts(
    name: str, argument: str, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing")
    known = {"checkpoint": missing} if name == "evaluate" else {}
    refusal = _refusal(name, run=str(tmp_path / "run"), **known | {argument: missing})
    assert f"{missing}: no whole checkpoint" in refusal
    assert not (tmp_path / "run").exists()


def test_an_evaluation_of_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path}: no whole checkpoint" in _refusal("evaluate", run=str(tmp_path))


@pytest.mark.parametrize("task", ["drawer_open", "window_open"])
def test_a_policy_that_acts_in_another_task_than_it_has_learned_is_said(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks trust in a number: the success rate would be that of a task which the policy never saw."""
    system = resolve("finetune", {"run": str(tmp_path), **SHORT})
    trainer = _trainer(system)
    shaping = configuration(part(trainer, TrainerSettings), trainer.agent_name, trainer.agent)
    RunFolder(tmp_path).open(shaping, 0, data=data_part(trainer))
    agent = make_agent(trainer.agent_name, spaces_of(part(trainer, StepLayout)), trainer.agent, 0)
    folder = CheckpointFolder(tmp_path / "checkpoints", agent_identity(trainer.agent_name, trainer.agent))
    folder.save(agent.state_dict(), {})
    check(resolve("evaluate", {"run": str(tmp_path), "task": task, "preset": "ci"}))
    said = capsys.readouterr().err
    assert ("has learned task drawer_open, and acts in task window_open now" in said) == (task == "window_open")


@pytest.mark.parametrize(("name", "parameter"), [("finetune", "trainer.pinned_arm"), ("finetune", "policy.acting_arm")])
def test_an_arm_that_the_agent_does_not_have_is_said_before_anything_is_recorded(
    name: str, parameter: str, tmp_path: Path
) -> None:
    """A person would demonstrate first, in vain."""
    refusal = _refusal(name, run=str(tmp_path / "run"), parameters=f"{parameter}:=bas")
    assert f"{parameter} is 'bas', expected an arm of the agent: base, policy" in refusal
    assert not (tmp_path / "run").exists()


def test_an_evaluation_with_other_settings_than_the_runs_says_which(tmp_path: Path) -> None:
    """Breaks the next command: "settings digest is 34a4…" does not say that a preset is missing."""
    trainer = _trainer(resolve("finetune", {"run": str(tmp_path), **SHORT}))
    shaping = configuration(part(trainer, TrainerSettings), trainer.agent_name, trainer.agent)
    RunFolder(tmp_path).open(shaping, 0, data=data_part(trainer))
    agent = make_agent(trainer.agent_name, spaces_of(part(trainer, StepLayout)), trainer.agent, 0)
    folder = CheckpointFolder(tmp_path / "checkpoints", agent_identity(trainer.agent_name, trainer.agent))
    folder.save(agent.state_dict(), {})
    refusal = _refusal("evaluate", run=str(tmp_path))
    assert re.search(r"with other settings: agent\.\S+ is \S+ here and \S+ in the run;.*as when it began", refusal)


def test_resets_by_a_second_policy_need_one(tmp_path: Path) -> None:
    """Costs minutes: the first reset would wait for a policy that nobody starts."""
    refusal = _refusal("record", run=str(tmp_path), parameters="episode.scene_reset:=policy")
    assert "argument reset_checkpoint" in refusal


def test_other_settings_than_those_of_the_run_are_said_before_anything_starts(tmp_path: Path) -> None:
    """Costs minutes: missing demonstrations would be recorded first."""
    trainer = _trainer(resolve("finetune", {"run": str(tmp_path), **SHORT}))
    kept = configuration(part(trainer, TrainerSettings), trainer.agent_name, trainer.agent)
    RunFolder(tmp_path).open(kept, trainer.seed)
    assert next(finetune({"run": str(tmp_path), **SHORT})).system.name == "record"
    refusal = _refusal("finetune", run=str(tmp_path), preset="ci", parameters="evaluation_episodes:=2")
    assert "trainer.evaluation_episodes is 2 here and 1 in the run" in refusal


def test_a_run_that_was_begun_under_another_default_rule_of_the_prior_resumes_with_it(tmp_path: Path) -> None:
    """Breaks every run of an earlier version: it would be refused, or learn from other steps than it began with."""
    given = {"run": str(tmp_path), **SHORT}
    trainer = _trainer(resolve("finetune", given))
    kept = configuration(part(trainer, TrainerSettings), trainer.agent_name, trainer.agent)
    run = RunFolder(tmp_path)
    assert as_begun(trainer, run) is trainer
    run.open(kept, trainer.seed, data=data_part(trainer) | {"prior_rule": "success_at_end"})
    assert next(finetune(given)).system.name == "record"
    assert (trainer.prior_rule, as_begun(trainer, run).prior_rule) == ("success_prefix", "success_at_end")
    whole = SHORT | {"parameters": f"{SHORT.get('parameters', '')} prior_rule:=whole".strip()}
    refusal = _refusal("finetune", run=str(tmp_path), **whole)
    assert "prior_rule is whole here and success_at_end in the run" in refusal


def test_where_episodes_end_for_learning_stays_as_it_was(tmp_path: Path) -> None:
    """Breaks a resumed run: half of what it has learned from would be cut at other rows."""
    ends = {"preset": "ci", "parameters": "agent.steps_after_success:=5"}
    trainer = _trainer(resolve("finetune", {"run": str(tmp_path), **ends}))
    assert data_part(trainer)["success_hold"] == 1
    kept = configuration(part(trainer, TrainerSettings), trainer.agent_name, trainer.agent)
    RunFolder(tmp_path).open(kept, trainer.seed, data=data_part(trainer))
    longer = ends | {"parameters": f"{ends['parameters']} success_steps:=4"}
    assert "success_hold is 4 here and 1 in the run" in _refusal("finetune", run=str(tmp_path), **longer)
    whole = _trainer(resolve("finetune", {"run": str(tmp_path), "preset": "ci", "parameters": "success_steps:=4"}))
    assert "success_hold" not in data_part(whole)


def test_a_run_of_another_task_is_refused(tmp_path: Path) -> None:
    """Breaks the result: a policy for drawers would be fine-tuned on windows, and the report would not say so."""
    given = {"run": str(tmp_path), **SHORT}
    trainer = _trainer(resolve("finetune", given | {"task": "drawer_open"}))
    kept = configuration(part(trainer, TrainerSettings), trainer.agent_name, trainer.agent)
    RunFolder(tmp_path).open(kept, trainer.seed, data=data_part(trainer))
    refusal = _refusal("finetune", **given, task="window_open")
    assert "task is window_open here and drawer_open in the run; choose a new run folder" in refusal
    assert next(finetune(given)).system.name == "record", "drawer_open is what a command without --task means"
    _bag(tmp_path, 2_000_000)
    assert next(phases("pretrain", given)).system.name == "pretrain", "bags are of any task where none is named"
    assert "task is window_open here" in _refusal("pretrain", **given, task="window_open")


def test_a_fresh_start_that_cannot_work_leaves_the_run_where_it_is(tmp_path: Path) -> None:
    """Breaks a person's trust: the run would be set aside for nothing."""
    run = tmp_path / "run"
    _bag(run, 2_000_000)
    arguments = ["finetune", "--fresh", "--run", str(run), "--bags", str(tmp_path / "missing")]
    assert main(arguments) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.fixture
def arm_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Bind a port of this machine that takes the place of the arm's; nobody listens on it yet."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setattr(franka_checks, "ARM_PORT", bound.getsockname()[1])
        yield bound


@pytest.mark.parametrize("name", ["record", "finetune"])
def test_an_arm_that_does_not_answer_is_said_before_anything_starts(
    name: str, arm_port: socket.socket, tmp_path: Path
) -> None:
    pytest.importorskip("franky", reason="franky is not installed")
    pytest.importorskip("pyrealsense2", reason="pyrealsense2 is not installed")
    given = {"run": str(tmp_path / "run"), "backend": "franka", "parameters": f"franka.host:=127.0.0.1 {ANY_KERNEL}"}
    refusal = _refusal(name, **given)
    assert f"no arm answers at 127.0.0.1:{franka_checks.ARM_PORT}" in refusal
    assert "moto doctor --host 127.0.0.1" in refusal
    arm_port.listen()
    assert next(phases(name, given)).system.name == "record"


def test_an_address_of_an_arm_that_is_none_is_said_before_anything_starts(tmp_path: Path) -> None:
    pytest.importorskip("franky", reason="franky is not installed")
    pytest.importorskip("pyrealsense2", reason="pyrealsense2 is not installed")
    given = {"run": str(tmp_path), "backend": "franka", "parameters": f"franka.host:=no-arm.invalid {ANY_KERNEL}"}
    assert "'host' is 'no-arm.invalid', which is not a known address" in _refusal("record", **given)


def test_a_kernel_that_the_driver_refuses_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Costs minutes: the driver would try for half a minute."""
    pytest.importorskip("franky", reason="franky is not installed")
    pytest.importorskip("pyrealsense2", reason="pyrealsense2 is not installed")
    monkeypatch.setattr(franka_checks, "REALTIME", tmp_path / "realtime")
    if franka_checks.has_realtime_kernel():
        pytest.skip("this kernel is real-time")
    given = {"run": str(tmp_path), "backend": "franka", "parameters": "franka.host:=127.0.0.1"}
    assert "'realtime' is true, but this computer's kernel" in _refusal("record", **given)


# Phases, and whether their work was done.


def test_fine_tuning_records_what_is_missing_first(tmp_path: Path) -> None:
    """Breaks the first command of the README, and its launch line: nothing would be there to learn from."""
    for number in (2_000_000, 2_000_003):
        _bag(tmp_path, number)
    found = finetune({"run": str(tmp_path), **SHORT})
    record = next(found)
    assert record.title == f"record 3 of 5 demonstrations into {tmp_path / 'bags' / 'offline'}"
    episode = record.system.settings()["episode"]
    assert (episode.automatic_episodes, episode.first_episode) == (3, 2_000_004)
    for number in (2_000_004, 2_000_005, 2_000_006):
        _bag(tmp_path, number)
    assert next(found).system.name == "finetune"


def test_bags_of_ones_own_need_no_recording(tmp_path: Path) -> None:
    _bag(tmp_path, 1)
    found = finetune({"run": str(tmp_path / "run"), "bags": str(tmp_path / "bags"), **SHORT})
    assert next(found).system.name == "finetune"


def test_a_run_that_was_pre_trained_from_bags_elsewhere_records_none(tmp_path: Path) -> None:
    """Breaks `moto pretrain --bags`, then `moto finetune`: it would record what the run does not learn from."""
    trainer = _trainer(resolve("finetune", {"run": str(tmp_path), **SHORT}))
    settings = part(trainer, TrainerSettings)
    _save(trainer, RunSchedule(settings, budget_of(settings, trainer.agent, ("model", "policy"))))
    phase = next(finetune({"run": str(tmp_path), **SHORT}))
    assert phase.system.name == "finetune"
    assert phase.title.startswith("resume the run in ")


def test_a_recording_that_ends_early_is_no_success(tmp_path: Path) -> None:
    """Breaks what follows: the system's status was 0 since the process that ended it had nothing to complain of."""
    found = phases("record", {"run": str(tmp_path), "episodes": "2"})
    next(found)
    _bag(tmp_path, 2_000_000)
    with pytest.raises(MotoError, match="record has ended before its work was done: 1 of 2 episodes"):
        next(found)


def test_a_run_that_is_not_complete_is_no_success(tmp_path: Path) -> None:
    _bag(tmp_path, 1)
    found = finetune({"run": str(tmp_path / "run"), "bags": str(tmp_path / "bags"), **SHORT})
    next(found)
    with pytest.raises(MotoError, match=r"finetune has ended before its work was done: .* no whole checkpoint"):
        next(found)


def _trainer(system: System) -> Any:
    return system.settings()["trainer"]


def _save(trainer: Any, schedule: RunSchedule) -> None:
    """Write a checkpoint that stands where `schedule` stands."""
    identity = Identity(trainer.agent_name, agent_digest(trainer.agent))
    folder = CheckpointFolder(RunFolder(trainer.run).checkpoints, identity)
    folder.save({"weight": torch.zeros(1)}, {"conductor": schedule.state()})


def test_what_is_left_to_do_is_what_the_newest_checkpoint_says(tmp_path: Path) -> None:
    trainer = _trainer(resolve("finetune", {"run": str(tmp_path), "episodes": "1", **SHORT}))
    settings = part(trainer, TrainerSettings)
    schedule = RunSchedule(settings, budget_of(settings, trainer.agent, ("model", "policy")))
    _save(trainer, schedule)
    assert unfinished(trainer, offline_only=True) == "the offline phase has not ended"
    said = []
    while not isinstance(action := schedule.next(), Done):
        if isinstance(action, Offline):
            schedule.offline_ended()
        elif isinstance(action, Publish):
            schedule.published(action.version)
        elif isinstance(action, RunEpisode):
            schedule.episode_started(action)
            _save(trainer, schedule)
            assert unfinished(trainer, offline_only=True) == ""
            said.append(unfinished(trainer))
            schedule.episode_ended(EpisodeResult(action.id, False, 0.0, 5))
        else:
            schedule.update_ended()
    _save(trainer, schedule)
    assert said == [
        "0 of 1 online episodes and 0 evaluation episodes are done",
        "0 of 1 online episodes and 1 evaluation episodes are done",
        "1 of 1 online episodes and 1 evaluation episodes are done",
    ]
    assert unfinished(trainer) == ""


def test_a_complete_run_ends_the_job(tmp_path: Path) -> None:
    given = {"run": str(tmp_path), "episodes": "0", "preset": "ci", "parameters": "evaluation_episodes:=0"}
    _bag(tmp_path, 1)
    found = phases("finetune", given | {"bags": str(tmp_path / "bags")})
    phase = next(found)
    trainer = _trainer(phase.system)
    settings = part(trainer, TrainerSettings)
    schedule = RunSchedule(settings, budget_of(settings, trainer.agent, ("model", "policy")))
    schedule.offline_ended()
    schedule.published(1)
    _save(trainer, schedule)
    assert list(found) == []
    assert isinstance(phase, SystemPhase)


def test_who_saves_is_not_killed_before_it_may_give_up() -> None:
    """Breaks a stop: a trainer would be killed while it writes the checkpoint that it was told to write."""
    assert STOP_TIME > SAVE_TIME


# The first cause.


def test_the_first_failure_is_the_cause() -> None:
    """Breaks the search for a fault: what was stopped because of it would seem to be at fault."""
    causes = ExitCauses()
    causes.printed("trainer", "learns\r\n\x1b[31merror: no us")
    causes.printed("trainer", "able episode; record some\x1b[0m\r\nlast words\r\n")
    causes.ended("trainer", 1, told=False)
    causes.ended("sim", -9, told=False)
    assert causes.cause == "trainer: no usable episode; record some"


@pytest.mark.parametrize(
    ("status", "text", "cause"),
    [
        (-9, "learns\n", "recorder was ended by SIGKILL; the same command resumes"),
        (-11, "error: before\n", "recorder was ended by SIGSEGV; the same command resumes"),
        (3, "Traceback\nValueError: no such", "recorder ended with status 3: ValueError: no such"),
        (1, "", "recorder ended with status 1: it printed nothing"),
        (0, "error: of no weight\n", ""),
    ],
)
def test_a_cause_is_said_however_a_process_ends(status: int, text: str, cause: str) -> None:
    causes = ExitCauses()
    causes.printed("recorder", text)
    causes.ended("recorder", status, told=False)
    assert causes.cause == cause


def test_after_ctrl_c_only_a_process_that_did_not_stop_well_is_a_failure() -> None:
    causes = ExitCauses()
    for status in (0, -2, -15, 130, 143):
        causes.ended("sim", status, told=True)
    assert causes.cause == ""
    causes.ended("trainer", -9, told=True)
    assert causes.cause == "trainer was ended by SIGKILL; the same command resumes"
