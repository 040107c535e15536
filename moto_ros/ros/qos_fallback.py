"""Subscriptions with the QoS that their publishers offer: reliable where that is offered, else best effort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from moto_ros.ros import qos
from moto_ros.ros.node import MotoNode

POLL_PERIOD = 0.5
"""Seconds between two checks of the publishers."""


@dataclass
class _Subscribed:
    subscription: Subscription
    make: Callable[[QoSProfile], Subscription]
    topic: str
    depth: int
    reliable: bool = True


class OfferedQos:
    """Makes reliable subscriptions; where all publishers only offer best effort, it falls back to that, and logs it.

    Drivers of cameras often offer no more, and a reliable subscription would receive nothing from them.
    """

    def __init__(
        self, node: MotoNode[Any], changed: Callable[[str, bool], None] = lambda topic, reliable: None
    ) -> None:
        """Check the publishers regularly; `changed` gets the absolute topic, and whether it is reliable now."""
        self._node, self._changed = node, changed
        self._all: list[_Subscribed] = []
        node.create_timer(POLL_PERIOD, self._check)

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

        def make(profile: QoSProfile) -> Subscription:
            return self._node.subscribe(kind, topic, callback, profile, raw, outside)

        self._all.append(_Subscribed(make(qos.every(depth)), make, topic, depth))

    def _check(self) -> None:
        for entry in self._all:
            offers = self._node.get_publishers_info_by_topic(entry.subscription.topic_name)
            if offers and _reliable(offers) != entry.reliable:
                self._switch(entry, not entry.reliable)

    def _switch(self, entry: _Subscribed, reliable: bool) -> None:
        self._node.destroy_subscription(entry.subscription)
        self._node.health.incompatible.pop(entry.topic, None)
        entry.reliable = reliable
        entry.subscription = entry.make(qos.every(entry.depth) if reliable else qos.lossy(entry.depth))
        if not reliable:
            self._node.get_logger().warning(
                f"{entry.topic}: its publishers only offer best effort; lost samples are not sent again"
            )
        self._changed(entry.subscription.topic_name, reliable)


def _reliable(offers: Sequence[Any]) -> bool:
    """Return whether anybody offers to repeat what is lost."""
    return any(offer.qos_profile.reliability != ReliabilityPolicy.BEST_EFFORT for offer in offers)
