"""The trainer node: learns offline from bags, then online from live topics, in its own thread."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from moto_msgs.msg import (
    Action,
    CameraHealth,
    EpisodeBag,
    EpisodeState,
    PolicyVersion,
    PolicyWeights,
    Reward,
    RobotState,
    TrainingStatus,
)
from moto_msgs.srv import StartEpisode
from moto_ros.agents.bc.agent import BcAgent
from moto_ros.agents.common.replay_settings import steps_after_success
from moto_ros.config import part
from moto_ros.contract import topics
from moto_ros.contract.episodes import EpisodeStatus, Outcome, Phase, Purpose, Request
from moto_ros.data.bag_files import check_bags
from moto_ros.data.bag_library import BagLibrary
from moto_ros.data.joints import STATE, JointOrder
from moto_ros.data.layout import StepLayout
from moto_ros.data.live_episodes import LiveEpisodes
from moto_ros.data.replay import ReplayStore
from moto_ros.errors import MotoError
from moto_ros.nodes.learning_settings import (
    TrainerNodeSettings,
    agent_part,
    as_begun,
    data_part,
    spaces_of,
    trainer_settings,
)
from moto_ros.policy.checkpoint_policy import is_cloned, load_base, load_policy
from moto_ros.ros import process, qos
from moto_ros.ros.convert import to_bytes, to_nanoseconds
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode
from moto_ros.ros.qos_fallback import OfferedQos
from moto_ros.stopping import SAVE_TIME
from moto_ros.terminal import valid_text
from moto_ros.training.fine_tuning import FineTuning, TrainerStatus
from moto_ros.training.robot_link import ClosedBag, RobotLink, Stopped, Timeouts
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.session import TrainingRun
from moto_ros.training.settings import TrainerSettings

MEBIBYTE = 2**20
PINNED_ARM = "pinned_arm"
"""The trainer's live parameter."""
PHASES = {
    "waiting": TrainingStatus.PHASE_WAITING,
    "offline": TrainingStatus.PHASE_OFFLINE,
    "online": TrainingStatus.PHASE_ONLINE,
    "evaluating": TrainingStatus.PHASE_EVALUATING,
    "done": TrainingStatus.PHASE_DONE,
    "failed": TrainingStatus.PHASE_FAILED,
}


class TrainerNode(MotoNode[TrainerNodeSettings]):
    """Shell of `FineTuning`: messages in, requests, weights and status out."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Create topics and start the learning thread."""
        super().__init__("trainer", trainer_settings, given)
        settings = self.settings
        self._run = RunFolder(Path(settings.run).expanduser())
        self._layout = part(settings, StepLayout)
        self._joints = JointOrder()
        self._live = LiveEpisodes(self._layout, self._joints)
        self._library = BagLibrary(self._run.bags, self._layout, self._joints, self.log)
        timeouts = Timeouts(
            settings.start_timeout, settings.episode_timeout, settings.bag_timeout, settings.policy_timeout
        )
        has_policy = "policy" in settings.wait_for
        self._link = RobotLink(self, self._live, self._library, timeouts, has_policy=has_policy)
        self._work: FineTuning | None = None
        self._session: TrainingRun | None = None
        self._status = TrainerStatus("waiting", "opens the run folder")
        self._make_topics()
        self._ready = Readiness(self, settings.wait_for)
        self._thread = threading.Thread(target=self._learn, name="learner", daemon=True)
        self._thread.start()

    def _make_topics(self) -> None:
        self._weights = self.advertise(PolicyWeights, topics.POLICY_WEIGHTS, qos.latched())
        self._statuses = self.advertise(TrainingStatus, topics.TRAINING_STATUS, qos.latched())
        self.create_service(Trigger, topics.TRAINER_SAVE, self._save)
        self.add_on_set_parameters_callback(self._on_parameters)
        if not self.settings.wait_for:
            return  # it pre-trains from bags, and no other node runs
        self._starter = self.client(StartEpisode, topics.EPISODE_START)
        self.subscribe(EpisodeState, topics.EPISODE_STATE, self._on_state, qos.latched(10))
        self.subscribe(EpisodeBag, topics.EPISODE_BAG, self._on_bag, qos.latched(10))
        self.subscribe(PolicyVersion, topics.POLICY_VERSION, lambda m: self._link.on_version(m.version), qos.latched())
        self._subscribe_to_steps()

    def _subscribe_to_steps(self) -> None:
        kind = CompressedImage if self.settings.compressed else Image
        images = OfferedQos(self)
        for camera in self.settings.cameras:
            topic = topics.camera_image(camera, self.settings.compressed)
            images.subscribe(kind, topic, partial(self._live.add, f"camera/{camera}"))
            self.subscribe(
                CameraHealth, topics.camera_health(camera), partial(self._live.add, "health"), qos.latched(10)
            )
        self.subscribe(RobotState, topics.ROBOT_STATE, partial(self._live.add, "state"), qos.every())
        self.subscribe(Action, topics.ACTION, partial(self._live.add, "action"), qos.event())
        self.subscribe(Reward, topics.REWARD, partial(self._live.add, "reward"), qos.event())

    # Messages in.

    def _on_state(self, message: EpisodeState) -> None:
        start, phase = to_nanoseconds(message.start), Phase(message.phase)
        outcome, purpose = Outcome(message.outcome), Purpose(message.purpose)
        arm = message.arm, message.arm_reason
        status = EpisodeStatus(message.episode, purpose, phase, message.step, start, outcome, message.reason, *arm)
        self._link.on_state(status)
        if purpose is not Purpose.RESET:
            self._live.add("episode", message)

    def _on_bag(self, message: EpisodeBag) -> None:
        self._link.on_bag(message.episode, ClosedBag(message.uri, message.complete, message.message))

    def _save(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._work is not None
        response.message = (
            "a checkpoint is saved after the current update" if response.success else "no run is open yet"
        )
        if self._work is not None:
            self._work.request_save()
        return response

    def _on_parameters(self, changed: Sequence[Parameter]) -> SetParametersResult:
        """Take the one parameter that may change while the node runs: which arm a person pins."""
        for parameter in changed:
            if parameter.name == PINNED_ARM:
                return self._pin(str(parameter.value))
        return SetParametersResult(successful=True)

    def _pin(self, arm: str) -> SetParametersResult:
        if self._session is None:
            return SetParametersResult(successful=False, reason="no run is open yet; set it again later")
        try:
            self._session.schedule.pin(arm)
        except MotoError as error:
            return SetParametersResult(successful=False, reason=str(error))
        who = f"{arm} acts every episode" if arm else "the arm of each episode is chosen by results"
        self.log(f"{PINNED_ARM}: from the next episode on, {who}")
        return SetParametersResult(successful=True)

    # NodeInterface of the link: called by the learning thread.

    def send_weights(self, version: int, data: bytes, sha256: str) -> None:
        """Publish weights."""
        message = PolicyWeights(version=version, agent=self.settings.agent_name, sha256=sha256, data=to_bytes(data))
        if self._session is not None:
            message.digest, message.uncertainty_quantiles = self._session.digest, self._session.quantiles
            message.arm = self._session.schedule.better_arm()
        message.joint_names = list(self._joints.known.get(STATE, ()))
        message.header.stamp = self.get_clock().now().to_msg()
        self.mailbox.post(partial(self._weights.publish, message))

    def log(self, sentence: str) -> None:
        """Log a line for the user."""
        self.get_logger().info(sentence)

    def ask(self, request: Request) -> None:
        """Call episode/start."""
        self.mailbox.post(partial(self._call, request))

    def _call(self, request: Request) -> None:
        if not self._starter.service_is_ready():
            self._link.on_answer(False, f"service {self._starter.srv_name} is not there; start the episode node")
            return
        call = StartEpisode.Request(episode=request.episode, purpose=int(request.purpose), seed=request.seed)
        call.arm, call.arm_reason = request.arm, request.arm_reason
        self._starter.call_async(call).add_done_callback(self._on_answer)

    def _on_answer(self, done: Future) -> None:
        answer = done.result()
        self._link.on_answer(answer.accepted, answer.message)

    def send_status(self, status: TrainerStatus) -> None:
        """Publish the status."""
        self._status = status
        self.mailbox.post(partial(self._statuses.publish, self._status_message(status)))

    def _status_message(self, status: TrainerStatus) -> TrainingStatus:
        message = TrainingStatus(phase=PHASES[status.phase], progress=float(status.progress))
        message.message = valid_text(status.message)
        message.header.stamp = self.get_clock().now().to_msg()
        message.update_rate, message.success_rate = float(status.rate), float(status.success_rate)
        losses = status.losses or {}
        message.loss_names, message.losses = list(losses), [float(value) for value in losses.values()]
        message.arm, message.arm_reason, message.better_arm = status.arm, status.arm_reason, status.better_arm
        message.arms = [arm.name for arm in status.arms]
        message.arm_episodes = [arm.episodes for arm in status.arms]
        message.arm_successes = [arm.successes for arm in status.arms]
        if self._session is not None:
            message.updates = sum(self._session.learner.updates.values())
            position = self._session.schedule.position
            message.policy_version, message.online_episodes = position.published, len(position.steps)
        return message

    # The learning thread.

    def _learn(self) -> None:
        yield_cpu(self.settings.nice)
        try:
            with self._run.locked():
                done = self._train()
        except Stopped:
            return
        except Exception as error:
            self._fail(error)
        else:
            if done:
                self.mailbox.post(self._finish)

    def _train(self) -> bool:
        session = self._session = self._open()
        try:
            self._add_demonstrations(session, self._store)
            if session.schedule.position.offline_done and not session.quantiles:
                session.measure_uncertainty()
            self._work = FineTuning(
                session,
                self._link,
                self._library,
                self.get_logger(),
                lambda: self._link.stopping,
                offline_only=not self.settings.wait_for,
            )
            return self._work.run()
        finally:
            session.close()

    def _open(self) -> TrainingRun:
        settings = as_begun(self.settings, self._run)
        if settings.prior_rule != self.settings.prior_rule:
            rules = f"'{settings.prior_rule}', with which it was begun; '{self.settings.prior_rule}' is for new runs"
            self.get_logger().info(f"{self._run.path} keeps prior_rule {rules}")
        self.settings = settings
        session = TrainingRun.open(
            self._run,
            settings.agent_name,
            agent_part(settings),
            part(settings, TrainerSettings),
            spaces_of(self._layout),
            self._make_store,
            data_part(settings),
        )
        if session.resumed_from is not None:
            self.get_logger().info(f"resumes {self._run.path} at {session.resumed_from.path.name}")
        elif settings.checkpoint:
            self._start_from(Path(settings.checkpoint).expanduser(), session)
        return session

    def _start_from(self, checkpoint: Path, session: TrainingRun) -> None:
        """Begin a new run with a policy of this agent, or with a cloned one as the base policy."""
        if session.agent.name != BcAgent.name and is_cloned(checkpoint):
            joint_names = load_base(checkpoint, session.agent)
            session.schedule.base_given()
            self.log(f"starts from the cloned policy of {checkpoint}; no base policy is cloned")
        else:
            weights = load_policy(checkpoint, session.agent, session.identity)
            joint_names = weights.joint_names
            session.schedule.starts_from(weights.arm)
            self.log(f"starts from {checkpoint}; the offline phase is left out")
        if joint_names:
            self._joints.settle(STATE, joint_names)
            self._joints.expected(STATE, self._layout.joint_names)

    def _make_store(self, state: Mapping[str, Any] | None) -> ReplayStore:
        settings = self.settings
        store = self._store = ReplayStore(
            self._run.cache,
            settings.memory * MEBIBYTE,
            prior_rule=settings.prior_rule,
            capacity=settings.capacity,
            joints=self._joints,
            steps_after_success=steps_after_success(agent_part(settings)),
            success_hold=settings.success_hold,
        )
        if state is not None:
            store.restore(state, self._layout, settings.topics)
        return store

    def _add_demonstrations(self, session: TrainingRun, store: ReplayStore) -> None:
        folder = Path(self.settings.bags).expanduser() if self.settings.bags else self._run.bags / "offline"
        if session.resumed_from is not None:
            settled = session.schedule.position.offline_done
            self._compare(folder, store, settled)
            if settled:
                return  # the demonstrations of a finished offline phase do not change
        if folder != self._run.bags / "offline":
            check_bags(folder)
        for bag, episode in self._library.demonstrations(folder, self.settings.topics, store):
            if self._link.stopping:
                raise Stopped
            session.add_demonstration(episode, bag)
            for problem in self._library.problems:
                self.get_logger().warning(f"{bag}: {problem}")
        for problem in self._library.left_out:
            self.get_logger().warning(problem)
        self.get_logger().info(f"replay holds {len(store)} recorded episodes")
        if not store.holds("all"):
            raise MotoError(f"{folder}: no usable episode, expected bags of demonstrations; record some or name bags")
        if problem := store.nothing_to_imitate():
            self.get_logger().warning(problem)

    def _compare(self, folder: Path, store: ReplayStore, settled: bool) -> None:
        """Raise MotoError where the demonstrations are not those that the run has learned from."""
        differences = self._library.differences(folder, self.settings.topics, store, self._run.started())
        if not settled:
            differences.added.clear()  # they will be learned from too
        if not (what := differences.sentence()):
            return
        known = {bag.resolve().parent for bag in store.recorded()}
        text = f"{folder}: of its bags, compared with those that the run has learned from: {what}"
        own = self._run.bag_folder("offline").resolve()
        if folder.resolve() == own and not any(own in (parent, *parent.parents) for parent in known):
            where = ", ".join(sorted(map(str, known)))
            self.get_logger().warning(f"{text}; not looked at, since the run has learned from {where}")
        elif self.settings.changed_bags == "ignore":
            self.get_logger().warning(f"{text}; ignored, as changed_bags says")
        else:
            raise MotoError(
                f"{text}; expected the same bags, since a run reads them only once; give --run another folder and "
                f"--bags {folder} to learn from them as they are, or add -p trainer.changed_bags:=ignore to continue"
            )

    def _finish(self) -> None:
        self._statuses.wait_for_all_acked(Duration(seconds=1))
        raise process.Finished(0)

    def _fail(self, error: Exception) -> None:
        self.send_status(TrainerStatus("failed", str(error)))
        self.mailbox.post(partial(self._raise, error))

    def _raise(self, error: Exception) -> None:
        self._statuses.wait_for_all_acked(Duration(seconds=1))
        raise error

    def report(self) -> NodeReport:
        """Return phase and update rate, and what is wrong on its topics."""
        failed = self._status.message if self._status.phase == "failed" else ""
        values = {"phase": self._status.phase, "message": self._status.message, "updates_per_s": self._status.rate}
        return NodeReport(values, warning=self.health.sentence(), error=failed)

    def destroy_node(self) -> None:
        """Let the learning thread save and end, then destroy the node."""
        self._link.stop()
        self._thread.join(SAVE_TIME)
        super().destroy_node()


def yield_cpu(nice: int) -> None:
    """Lower the priority of the calling thread, and of those it starts, to this nice value."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, max(nice, os.getpriority(os.PRIO_PROCESS, thread)))


def _make() -> TrainerNode:
    node = TrainerNode()
    yield_cpu(node.settings.nice)  # frames are decoded on this thread
    return node


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(_make))


if __name__ == "__main__":
    main()
