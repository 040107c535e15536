"""Layout of a step, and its topics: the settings that every reader of messages shares."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from moto_ros.config import parameter, unknown_parameter
from moto_ros.contract import topics
from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.proprio_fields import PROPRIO_FIELDS
from moto_ros.errors import MotoError

MAX_IMAGE_SIZE = 1024


@dataclass(frozen=True)
class StepLayout:
    """Sizes and timing of an observation and an action; the same object for live topics, bags and the policy."""

    cameras: tuple[str, ...] = parameter(("agent",), "cameras, in the order of the image channels")
    image_size: int = parameter(64, "side of the square image to learn from", unit="px", low=8, high=MAX_IMAGE_SIZE)
    image_policy: str = parameter(
        "resize",
        "what to do with frames of another size: crop to the central square and resize, or leave them out",
        choices=("resize", "reject"),
    )
    proprio: tuple[str, ...] = parameter((), "fields of the robot state that are observed, in order")
    joint_count: int = parameter(7, "number of joints in the robot state", low=0, high=64)
    joint_names: tuple[str, ...] = parameter(
        (), "joints to take from a state that names them, in order; a|b: either name; empty: those of the first state"
    )
    action_size: int = parameter(4, "length of the action vector", low=1, high=64)
    control_rate: float = parameter(10.0, "rate of control steps", unit="Hz", low=0.1, high=1000.0)
    pairing_tolerance: float = parameter(
        0.0, "maximum difference of stamps in an observation; 0: equal stamps (lockstep)", unit="s", low=0.0, high=10.0
    )
    max_age: float = parameter(
        0.0, "maximum age of an observation that a policy acts on; 0: no limit (lockstep)", unit="s", low=0.0, high=10.0
    )

    def __post_init__(self) -> None:
        """Raise MotoError for unknown or repeated names, and for an empty observation."""
        for name in self.proprio:
            if name not in PROPRIO_FIELDS:
                raise MotoError(unknown_parameter(name, list(PROPRIO_FIELDS), "proprio"))
        for key in ("cameras", "proprio"):
            if len(set(getattr(self, key))) != len(getattr(self, key)):
                raise MotoError(f"parameter '{key}' is {getattr(self, key)}, expected each name once; remove repeats")
        if not self.cameras and not self.proprio:
            raise MotoError("parameters 'cameras' and 'proprio' are both empty, expected something to observe; set one")

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Return (H, W, 3 x cameras) of the concatenated image, or None without cameras."""
        return (self.image_size, self.image_size, 3 * len(self.cameras)) if self.cameras else None

    @property
    def proprio_size(self) -> int:
        """Return the length of the proprioception vector."""
        return sum(PROPRIO_FIELDS[name].size or self.joint_count for name in self.proprio)

    @property
    def tolerance_ns(self) -> int:
        """Return the pairing tolerance in nanoseconds."""
        return round(self.pairing_tolerance * NSEC_PER_SEC)

    @property
    def period_ns(self) -> int:
        """Return the control period in nanoseconds."""
        return round(NSEC_PER_SEC / self.control_rate)


def layout_values(layout: StepLayout) -> dict[str, Any]:
    """Return the layout's own values by name, without those that a subclass adds."""
    return {entry.name: getattr(layout, entry.name) for entry in fields(StepLayout)}


@dataclass(frozen=True)
class TopicMap:
    """The role of each topic. The defaults are the contract's topics; other values map bags of other programs."""

    namespace: str = parameter("", "namespace of relative topic names, e.g. left_arm")
    compressed: bool = parameter(False, "whether cameras publish JPEG or PNG (sensor_msgs/CompressedImage)")
    camera_topics: tuple[str, ...] = parameter(
        (), "image topics in the order of `cameras`; empty: those of the contract"
    )
    state_topics: tuple[str, ...] = parameter((topics.ROBOT_STATE,), "topics that contain the fields of `proprio`")
    action_topic: str = parameter(topics.ACTION, "topic of commanded actions")
    reward_topic: str = parameter(topics.REWARD, "topic of rewards")
    episode_topic: str = parameter(topics.EPISODE_STATE, "topic that marks the episodes")
    action_fields: tuple[str, ...] = parameter(
        (), "fields of a foreign action message, e.g. twist.linear or points.0.positions; empty: guessed by its type"
    )
    action_names: tuple[str, ...] = parameter(
        (), "joints of a foreign action that names them, in order; a|b: either name; empty: those of the first action"
    )
    stamp_source: str = parameter(
        "header",
        "time of foreign messages: their header's stamp (log time for those without one), or the bag's log time",
        choices=("header", "log"),
    )
    action_low: tuple[float, ...] = parameter(
        (), "command that corresponds to action -1: one number, or one for each entry"
    )
    action_high: tuple[float, ...] = parameter(
        (), "command that corresponds to action +1: one number, or one for each entry"
    )
    reward_source: str = parameter(
        "topic",
        "source of rewards: the reward topic, 1 at the last step of each episode, or none",
        choices=("topic", "success_at_end", "zero"),
    )
    episode_source: str = parameter(
        "topic", "what an episode is: as the episode topic says, or the whole bag", choices=("topic", "whole_bag")
    )

    def absolute(self, topic: str) -> str:
        """Return a topic's absolute name."""
        if topic.startswith("/"):
            return topic
        prefix = self.namespace.strip("/")
        return f"/{prefix}/{topic}" if prefix else f"/{topic}"

    def roles(self, layout: StepLayout) -> dict[str, str]:
        """Return role by topic as configured: `camera/<name>`, `state`, `state/<n>`, `action`, `reward`, `episode`."""
        found = dict(self._camera_roles(layout))
        for index, topic in enumerate(self.state_topics):
            found[topic] = f"state/{index}" if index else "state"
        others = {"action": self.action_topic, "reward": self.reward_topic, "episode": self.episode_topic}
        return found | {topic: role for role, topic in others.items() if topic}

    def other_cameras(self, layout: StepLayout) -> dict[str, str]:
        """Return the roles of the contract's camera topics in the form (raw or compressed) that is not configured."""
        if self.camera_topics:
            return {}
        return {topics.camera_image(camera, not self.compressed): f"camera/{camera}" for camera in layout.cameras}

    def _camera_roles(self, layout: StepLayout) -> list[tuple[str, str]]:
        if self.camera_topics and len(self.camera_topics) != len(layout.cameras):
            raise MotoError(
                f"parameter 'camera_topics' has {len(self.camera_topics)} entries, expected {len(layout.cameras)}, "
                f"one for each of cameras {list(layout.cameras)}; give both lists the same length"
            )
        contract = [topics.camera_image(camera, self.compressed) for camera in layout.cameras]
        names_given = self.camera_topics or contract
        return [(topic, f"camera/{camera}") for topic, camera in zip(names_given, layout.cameras, strict=True)]


@dataclass
class Problems:
    """Sentences for the user, one for each kind of problem, with its count."""

    first: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, sentence: str, times: int = 1) -> None:
        """Count a problem; the first sentence of each kind is the one that is shown."""
        self.first.setdefault(kind, sentence)
        self.counts[kind] = self.counts.get(kind, 0) + times

    def state(self, kind: str, sentence: str) -> None:
        """Set the sentence of a kind, in place of the one before."""
        self.first[kind], self.counts[kind] = sentence, 1

    def sentences(self) -> list[str]:
        """Return one sentence for each kind, in the order of their first appearance."""
        return [
            text if self.counts[kind] == 1 else f"{text} ({self.counts[kind]} such cases)"
            for kind, text in self.first.items()
        ]
