"""The newest complete observation, for a policy that acts while messages come in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moto_ros.data.decode import decode_image
from moto_ros.data.joints import JointOrder
from moto_ros.data.layout import StepLayout
from moto_ros.data.pairing import Paired, Pairing
from moto_ros.data.proprio import vector
from moto_ros.errors import MotoError


@dataclass(frozen=True)
class Observation:
    """Input of a policy: image uint8 (H, W, 3 x cameras) or None, proprio float32 (P,), and its stamps (ns)."""

    image: np.ndarray | None
    proprio: np.ndarray
    camera_stamps: tuple[int, ...]
    state_stamp: int

    @property
    def stamp(self) -> int:
        """Return the oldest of its stamps (ns)."""
        return min((*self.camera_stamps, self.state_stamp))


class Observer(Pairing):
    """Decodes paired messages; a message is decoded only if it becomes an observation.

    `counts` also has bad: images or states that cannot be used. `joints` is the order that the agent was trained with.
    """

    def __init__(self, layout: StepLayout, joints: JointOrder | None = None) -> None:
        """Observe as `layout` says."""
        super().__init__(layout)
        self.joints = JointOrder() if joints is None else joints

    def newest(self, after_ns: int = 0, now_ns: int | None = None) -> Observation | None:
        """Return the newest complete observation not returned before, with all stamps at or after `after_ns`.

        With `now_ns` observations older than `max_age` are refused. None: there is no new observation.
        """
        chosen = self.take(after_ns, now_ns)
        return None if chosen is None else self._decoded(chosen)

    def _decoded(self, chosen: Paired) -> Observation | None:
        try:
            frames = [decode_image(chosen[topic][1], self.layout) for topic in self.topics[:-1]]
            proprio = vector(chosen["state"][1], self.layout, self.joints)
        except MotoError as error:
            self.counts["bad"] += 1
            self.problems.add("observation", str(error))
            return None
        image = np.concatenate(frames, axis=2) if frames else None
        stamps = tuple(chosen[topic][0] for topic in self.topics[:-1])
        return Observation(image, proprio, stamps, chosen["state"][0])
