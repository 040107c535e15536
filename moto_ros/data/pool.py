"""Pool of decoded messages, by stamp or by step, from which episodes are assembled."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Protocol, TypeVar

import numpy as np

from moto_ros.data.commands import check_limits, command, mark, point_ahead, scalar
from moto_ros.data.decode import decode_image
from moto_ros.data.fields import message_stamp, state_fields
from moto_ros.data.incidents import Incidents
from moto_ros.data.joints import JointOrder
from moto_ros.data.layout import Problems, StepLayout, TopicMap
from moto_ros.data.proprio import join
from moto_ros.data.records import Action, PhaseRecord, Reward, read_action, read_phase, read_reward
from moto_ros.data.track import Track
from moto_ros.errors import MotoError


class Ordered(Protocol):
    """A record with an order, which decides between two for the same step or episode."""

    @property
    def order(self) -> Any:
        """Return the value to compare; the smallest counts."""


R = TypeVar("R", bound=Ordered)


class MessagePool:
    """Received messages, independent of their order: the same set of messages gives the same pool.

    `frames` by camera, `states` whole and `fields` each by itself, all by stamp; `actions`, `rewards` and `phases` of
    the contract by episode; `commands`, `foreign_rewards` and `marks` are their counterparts in foreign bags, by stamp.
    `counts` has `received`, `duplicate`, `bad`...; `problems` a sentence for each kind of bad message.
    """

    def __init__(self, layout: StepLayout, topics: TopicMap | None = None, joints: JointOrder | None = None) -> None:
        """Keep the parts of `layout`; `topics` maps foreign messages, `joints` is the order of joints."""
        self.layout = layout
        self.topics = topics or TopicMap()
        self.joints = JointOrder() if joints is None else joints
        check_limits(self.topics, layout)
        self.frames = {camera: Track() for camera in layout.cameras}
        self.states = Track()
        self.fields: defaultdict[str, Track] = defaultdict(Track)
        self.commands, self.foreign_rewards, self.marks = Track(), Track(), Track()
        self.actions: defaultdict[int, dict[int, Action]] = defaultdict(dict)
        self.rewards: defaultdict[int, dict[int, Reward]] = defaultdict(dict)
        self.phases: dict[int, PhaseRecord] = {}
        self.incidents = Incidents()
        self.counts: Counter[str] = Counter()
        self.problems = Problems()

    def add(self, role: str, message: Any, received_ns: int | None = None) -> None:
        """Add a message in the role `camera/<name>`, `state`, `action`, `reward`, `episode` or `health`.

        Never raises for the content of a message: a bad one is counted and described in `problems`.
        """
        kind, _, name = role.partition("/")
        if kind == "camera":
            self.add_frame(name, message_stamp(message, received_ns), self._decoded(message), received_ns)
        elif kind in ("state", "action", "reward", "episode"):
            self.counts["received"] += 1
            getattr(self, f"_add_{kind}")(message, received_ns)
        elif kind == "health":
            self.incidents.camera(message_stamp(message, received_ns) or 0, message)
        else:
            known = "camera/<name>, state, action, reward, episode or health"
            raise MotoError(f"role '{role}' is unknown, expected {known}")

    def _decoded(self, message: Any) -> np.ndarray | MotoError:
        try:
            return decode_image(message, self.layout)
        except MotoError as error:
            return error

    def add_frame(
        self, camera: str, stamp: int | None, frame: np.ndarray | MotoError, received_ns: int | None = None
    ) -> None:
        """Add a decoded frame, or the error of its decoding; cameras that are not in the layout are ignored."""
        if camera not in self.frames:
            self.counts["ignored"] += 1
            return
        self.counts["received"] += 1
        if isinstance(frame, MotoError) or stamp is None:
            self._bad(f"camera/{camera}", f"camera {camera}: {frame if stamp is not None else 'a frame has no stamp'}")
        elif not self.frames[camera].receive(stamp, frame, received_ns):
            self.counts["duplicate"] += 1

    def _add_state(self, message: Any, received_ns: int | None) -> None:
        self.incidents.robot(message_stamp(message, received_ns) or 0, message)
        found, sentence = state_fields(message, self.layout, self.joints)
        values = join(found, self.layout)
        if sentence or (self.layout.proprio and not found):
            self._bad("state", f"robot state: {sentence or 'has none of the fields of proprio'}; it is left out")
        elif values is not None:
            self._stamped(self.states, message, received_ns, values)
        else:
            for name, numbers in found.items():
                self._stamped(self.fields[name], message, received_ns, numbers)

    def _stamped(self, track: Track, message: Any, received_ns: int | None, sample: np.ndarray) -> None:
        stamp = message_stamp(message, received_ns)
        if stamp is None:
            self._bad("stamp", f"{type(message).__name__}: has no stamp and no time of receipt; it is left out")
        elif not track.receive(stamp, sample, received_ns):
            self.counts["duplicate"] += 1

    def _add_action(self, message: Any, received_ns: int | None) -> None:
        if not hasattr(message, "camera_stamps"):
            self._foreign("action", self.commands, message, received_ns)
            return
        action = read_action(message)
        where = f"action of episode {action.episode}, step {action.step}"
        if len(action.values) != self.layout.action_size:
            found, expected = len(action.values), self.layout.action_size
            self._bad("action size", f"{where}: has {found} values, expected {expected}; set action_size, or fix it")
        elif not np.isfinite(action.values).all():
            self._bad("action value", f"{where}: holds NaN or infinity, expected numbers in [-1, 1]; it is left out")
        else:
            self._note_range(where, action.values)
            np.clip(action.values, -1.0, 1.0, out=action.values)
            self._keep(self.actions[action.episode], action.step, action)

    def _note_range(self, where: str, values: np.ndarray) -> None:
        largest = float(np.abs(values).max())
        if largest > 1.0:
            self.counts["clipped"] += 1
            self.problems.add("range", f"{where}: holds {largest:.6g}, expected numbers in [-1, 1]; it is clipped")

    def _foreign(self, kind: str, track: Track, message: Any, received_ns: int | None) -> None:
        """Add an action, reward or episode mark of another program."""
        try:
            sample = self._foreign_sample(kind, message)
        except MotoError as error:
            self._bad(kind, str(error))
            return
        if kind == "action":
            self._note_range("action", sample)
            sample = np.clip(sample, -1.0, 1.0)
        self._stamped(track, message, received_ns, sample)

    def _foreign_sample(self, kind: str, message: Any) -> np.ndarray:
        if kind == "action":
            self._note_points(message)
            return command(message, self.topics, self.layout, self.joints)
        return np.array(scalar(message) if kind == "reward" else mark(message))

    def _note_points(self, message: Any) -> None:
        points = getattr(message, "points", None)
        if points is not None and len(points) > 1 and not self.topics.action_fields:
            text = (
                f"action: a trajectory has {len(points)} points, of which number {point_ahead(message)} (from 0), the"
            )
            hint = "first that lies ahead, is the command; set action_fields, e.g. points.-1.positions, for another"
            self.problems.add("points", f"{text} {hint}")

    def _add_reward(self, message: Any, received_ns: int | None) -> None:
        if not hasattr(message, "terminal"):
            self._foreign("reward", self.foreign_rewards, message, received_ns)
            return
        reward = read_reward(message)
        if np.isfinite(reward.value):
            self._keep(self.rewards[reward.episode], reward.step, reward)
        else:
            where = f"reward of episode {reward.episode}, step {reward.step}"
            self._bad("reward", f"{where}: is {reward.value}, expected a finite number; it is left out")

    def _add_episode(self, message: Any, received_ns: int | None) -> None:
        if not hasattr(message, "phase"):
            self._foreign("episode", self.marks, message, received_ns)
            return
        phase = read_phase(message)
        known = self.phases.get(phase.episode)
        self.phases[phase.episode] = phase if known is None else min(known, phase, key=lambda record: record.order)

    def _keep(self, table: dict[int, R], number: int, record: R) -> None:
        if number in table:
            self.counts["duplicate"] += 1
            record = min(table[number], record, key=lambda kept: kept.order)
        table[number] = record

    def _bad(self, kind: str, sentence: str) -> None:
        self.counts["bad"] += 1
        self.problems.add(kind, sentence)

    def episodes(self) -> list[int]:
        """Return the numbers of all episodes with steps or rewards, sorted; without any, of those that ended.

        The state of an episode alone may be the latched one of the episode before.
        """
        ended = {number for number, phase in self.phases.items() if phase.ended}
        return sorted(set(self.actions) | set(self.rewards) or ended)
