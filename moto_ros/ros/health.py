"""What goes wrong on a node's topics: incompatible QoS, lost samples, messages of another system."""

from __future__ import annotations

from collections import Counter
from typing import Any

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks


class TopicHealth:
    """Counts of problems by topic, filled by the middleware's events and by `session.py`."""

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.incompatible: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.foreign: Counter[str] = Counter()

    def of_subscription(self, topic: str) -> SubscriptionEventCallbacks:
        """Return the event callbacks of a subscription to `topic`."""
        return SubscriptionEventCallbacks(
            incompatible_qos=lambda event: self._set(self.incompatible, topic, event),
            message_lost=lambda event: self._set(self.lost, topic, event),
        )

    def of_publisher(self, topic: str) -> PublisherEventCallbacks:
        """Return the event callbacks of a publisher of `topic`."""
        return PublisherEventCallbacks(incompatible_qos=lambda event: self._set(self.incompatible, topic, event))

    @staticmethod
    def _set(counts: Counter[str], topic: str, event: Any) -> None:
        counts[topic] = int(event.total_count)

    def sentence(self) -> str:
        """Return one sentence on the worst problem, empty when there is none."""
        if self.incompatible:
            topics = ", ".join(sorted(self.incompatible))
            return f"{topics}: a peer's QoS is incompatible, nothing passes; give it the profile of moto_ros/ros/qos.py"
        if self.foreign:
            found = ", ".join(f"{topic} ({count})" for topic, count in sorted(self.foreign.items()))
            return f"messages of another system in this namespace are ignored: {found}; see the log for whose they are"
        if self.lost:
            found = ", ".join(f"{topic} ({count})" for topic, count in sorted(self.lost.items()))
            return f"samples lost in the middleware: {found}; set the transport for big samples, see `moto doctor`"
        return ""
