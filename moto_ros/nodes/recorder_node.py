"""The recorder node: one bag per episode, of serialized messages, closed durably before the next episode starts."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from moto_msgs.msg import Action, CameraHealth, EpisodeBag, EpisodeState, OperatorEvent, Reward, RobotState
from moto_ros.contract import topics
from moto_ros.contract.episodes import Outcome, Phase, Purpose
from moto_ros.data.bag_folder import BagFolder
from moto_ros.data.bag_metadata import Qos
from moto_ros.data.recorder_settings import RecorderSettings
from moto_ros.data.recording import Backlog, PreRoll, RecordedTopic, Recording, Sample, Saved
from moto_ros.data.recover import recover_all
from moto_ros.errors import MotoError
from moto_ros.ros import process, qos
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode
from moto_ros.ros.qos_fallback import OfferedQos
from moto_ros.ros.worker import Worker

MEBIBYTE = 2**20
DEPTH = 100
"""Messages of a topic that may wait for the executor."""


class RecorderNode(MotoNode[RecorderSettings]):
    """Writes the messages from the start of a reset until `settle` seconds after the end, without decoding them."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Recover the bags of a recorder that was killed, then subscribe."""
        super().__init__("recorder", RecorderSettings, given)
        self._folder = BagFolder(Path(self.settings.bags).expanduser(), self.settings.evaluation_folder)
        self._recover()
        self._worker = Worker(self.mailbox, "bag writer")
        self._backlog = Backlog(self.settings.backlog * MEBIBYTE)
        self._pre_roll = PreRoll(self.settings.pre_roll)
        self._recording: Recording | None = None
        self._state = EpisodeState()
        self._settling: Timer | None = None
        self._bags, self._problem = 0, ""
        self._bag = self.advertise(EpisodeBag, topics.EPISODE_BAG, qos.latched())
        self._topics: list[RecordedTopic] = []
        self._offered = OfferedQos(self, self._offer_changed)
        self._subscribe()
        self.create_timer(self.settings.flush_period, self._flush)
        self._ready = Readiness(self, self.settings.wait_for)

    def _recover(self) -> None:
        for bag, done in recover_all(self._folder.root).items():
            self.get_logger().warning(f"{bag}: {done}")

    # Topics.

    def _subscribe(self) -> None:
        # The episode state first: of several waiting messages it is then taken first, and opens the bag.
        self._record(EpisodeState, topics.EPISODE_STATE, qos.latched(10), self._on_state)
        self._record(RobotState, topics.ROBOT_STATE, qos.every(DEPTH))
        self._record(Action, topics.ACTION, qos.event())
        self._record(Reward, topics.REWARD, qos.event())
        self._record(OperatorEvent, topics.OPERATOR_EVENT, qos.event())
        if self.settings.operator_in_loop:
            self._record(Action, topics.PROPOSAL, qos.event())
        self._subscribe_to_sensors()

    def _subscribe_to_sensors(self) -> None:
        image = CompressedImage if self.settings.compressed else Image
        for camera in self.settings.cameras:
            self._record_as_offered(image, topics.camera_image(camera, self.settings.compressed))
            self._record_as_offered(CameraInfo, topics.camera_info(camera))
            self._record(CameraHealth, topics.camera_health(camera), qos.latched(10))
        for entry in self.settings.extra_topics:
            self._record_as_offered(*_topic_of(entry))

    def _record(self, kind: type, name: str, profile: QoSProfile, on_message: Any = None) -> None:
        latched = profile.durability == qos.latched().durability
        topic = self._note(kind, name, Qos(reliable=True, latched=latched, depth=profile.depth))
        self.subscribe(kind, name, partial(on_message or self._on_message, topic), profile, raw=True)

    def _record_as_offered(self, kind: type, name: str) -> None:
        topic = self._note(kind, name, Qos(reliable=True, latched=False, depth=DEPTH))
        # Extra topics may come from programs without a session.
        self._offered.subscribe(kind, name, partial(self._on_message, topic), DEPTH, raw=True, outside=True)

    def _note(self, kind: type, name: str, profile: Qos) -> str:
        topic = self.resolve_topic_name(name)
        self._topics.append(RecordedTopic(topic, _type_name(kind), profile))
        return topic

    def _offer_changed(self, topic: str, reliable: bool) -> None:
        """Note the reliability that is offered in the metadata of the next bags."""
        self._topics = [
            replace(entry, qos=replace(entry.qos, reliable=reliable)) if entry.name == topic else entry
            for entry in self._topics
        ]

    def _on_message(self, topic: str, data: bytes) -> None:
        self._keep(Sample(topic, data, self.now()))

    def _on_state(self, topic: str, data: bytes) -> None:
        state = deserialize_message(data, EpisodeState)
        if state.purpose == Purpose.RESET:
            self._on_message(topic, data)  # not recorded, but kept for the pre-roll of the next episode
            return
        if state.phase == Phase.RESETTING or (state.phase == Phase.RUNNING and self._recording is None):
            self._open(state)
        self._on_message(topic, data)
        if state.phase == Phase.ENDED and self._recording is not None:
            self._end(state)
        elif state.phase == Phase.IDLE and self._recording is not None:
            self._close("the episode node restarted before the episode's end")

    def _keep(self, sample: Sample) -> None:
        recording = self._recording
        if recording is None:
            self._pre_roll.add(sample, time.monotonic())
        elif recording.accepts(sample):
            self._worker.do(partial(recording.write, sample))

    # The life of a bag.

    def _open(self, state: EpisodeState) -> None:
        self._close("" if self._settling else "another episode began before this one's end")
        self._state = state
        folder = self._folder.new(Purpose(state.purpose), state.episode)
        meta = {"episode": str(state.episode), "purpose": Purpose(state.purpose).name.lower()}
        recording = Recording(folder, list(self._topics), self._backlog, meta, self.settings.flush_period)
        if state.phase != Phase.RESETTING:
            recording.notes.append("the recorder started in the middle of the episode")
        self._worker.do(recording.open)
        self._recording = recording
        for sample in self._pre_roll.since(time.monotonic()):
            self._keep(replace(sample, received=sample.received or self.now()))

    def _end(self, state: EpisodeState) -> None:
        self._state = state
        self._stop_settling()
        self._settling = self.create_timer(max(self.settings.settle, 0.001), self._settled)

    def _settled(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._close_when_quiet(self._recording, -1, DEPTH)

    def _close_when_quiet(self, recording: Recording | None, known: int, rounds: int) -> None:
        """Close once a round of the executor, which takes one message of every topic, brought nothing new.

        After as many rounds as a subscription is deep, all that waited at the end has been taken in any case.
        """
        if recording is None or recording is not self._recording:
            return
        received = recording.received.total()
        if received == known or rounds == 0:
            self._close()
        else:
            self.mailbox.post(partial(self._close_when_quiet, recording, received, rounds - 1))

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self.destroy_timer(self._settling)
            self._settling = None

    def _close(self, note: str = "") -> None:
        self._stop_settling()
        recording, self._recording = self._recording, None
        if recording is not None:
            if note:
                recording.notes.append(note)
            self._worker.do(recording.close, partial(self._closed, self._state))

    def _closed(self, state: EpisodeState, saved: Saved) -> None:
        self._bags += 1
        self._problem = saved.problem
        message = EpisodeBag(episode=state.episode, purpose=state.purpose, uri=str(saved.folder))
        message.header.stamp = self.get_clock().now().to_msg()
        message.messages, message.complete, message.message = saved.messages, not saved.problem, saved.problem
        self._bag.publish(message)
        if saved.problem:
            self.get_logger().warning(f"{saved.folder}: {saved.problem}")
        if state.outcome == Outcome.DISCARDED:
            self.get_logger().info(f"{saved.folder}: kept, but marked as discarded: {state.reason}")

    def _flush(self) -> None:
        if self._recording is not None:
            self._worker.do(self._recording.flush)

    def report(self) -> NodeReport:
        """Return what is being recorded and what went wrong with it."""
        recording = self._recording
        values: dict[str, object] = {"bags": self._bags}
        if recording is not None:
            values |= {"folder": recording.folder, "received": recording.received.total()}
        return NodeReport(values, warning=self._problem or self.health.sentence())

    def destroy_node(self) -> None:
        """Close the bag of a running episode as it is, then the node."""
        self._close("the recorder was stopped before the episode's end")
        if not self._worker.close():
            self.get_logger().warning("the bag could not be closed in time; it will be recovered at the next start")
        self._folder.release()
        super().destroy_node()


def _topic_of(entry: str) -> tuple[type, str]:
    topic, _, type_name = entry.partition(":")
    package, _, name = type_name.replace("/msg/", "/").partition("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name), topic
    except (ImportError, AttributeError, ValueError) as error:
        raise MotoError(
            f"extra_topics '{entry}': no message type '{type_name}', expected topic:package/msg/Type; correct it"
        ) from error


def _type_name(kind: type) -> str:
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(RecorderNode))


if __name__ == "__main__":
    main()
