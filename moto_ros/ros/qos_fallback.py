"""Subscriptions that take what their publishers offer: every sample where that is on offer, else best effort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from moto_ros.ros import qos
from moto_ros.ros.node import MotoNode

PERIOD = 0.5
"""Seconds between two looks at who publishes."""


@dataclass
class _Listening:
    subscription: Subscription
    again: Callable[[QoSProfile], Subscription]
    topic: str
    depth: int
    reliable: bool = True


class OfferedQos:
    """Makes reliable subscriptions; where all publishers only offer best effort, it takes that, and says so.

    Drivers of cameras often offer no more, and a reliable subscription would get nothing of them at all.
    """

    def __init__(
        self, node: MotoNode[Any], changed: Callable[[str, bool], None] = lambda topic, reliable: None
    ) -> None:
        """Look at the publishers now and then; `changed` hears of the absolute topic and whether it is reliable now."""
        self._node, self._changed = node, changed
        self._all: list[_Listening] = []
        node.create_timer(PERIOD, self._look)

    def subscribe(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        depth: int = 100,
        raw: bool = False,
        outside: bool = False,
    ) -> None:
        """Subscribe for every sample, `depth` of which may wait; `outside` as in `MotoNode.subscribe`."""

        def again(profile: QoSProfile) -> Subscription:
            return self._node.subscribe(kind, topic, callback, profile, raw, outside)

        self._all.append(_Listening(again(qos.every(depth)), again, topic, depth))

    def _look(self) -> None:
        for entry in self._all:
            offers = self._node.get_publishers_info_by_topic(entry.subscription.topic_name)
            if offers and _reliable(offers) != entry.reliable:
                self._switch(entry, not entry.reliable)

    def _switch(self, entry: _Listening, reliable: bool) -> None:
        self._node.destroy_subscription(entry.subscription)
        self._node.health.incompatible.pop(entry.topic, None)
        entry.reliable = reliable
        entry.subscription = entry.again(qos.every(entry.depth) if reliable else qos.lossy(entry.depth))
        if not reliable:
            self._node.get_logger().warning(
                f"{entry.topic}: its publishers only offer best effort; lost samples are not sent again"
            )
        self._changed(entry.subscription.topic_name, reliable)


def _reliable(offers: Sequence[Any]) -> bool:
    """Return whether anybody offers to repeat what is lost."""
    return any(offer.qos_profile.reliability != ReliabilityPolicy.BEST_EFFORT for offer in offers)
