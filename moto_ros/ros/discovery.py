"""Who is ready: a node says its name once every topic and service it shares with its peers is connected both ways.

With simulated time it also knows the time by then: what came before would be logged at 0.

A reliable volatile sample reaches only the readers its writer has matched. So the first episode waits until nobody
can lose a sample to discovery that is still under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String

from moto_ros.contract import topics
from moto_ros.ros import qos

PERIOD = 0.1
"""Seconds between two looks at the graph."""

STEADY = 3
"""Looks in a row that must find everything connected: reader and writer announcements may overtake each other."""

PATIENCE = 100
"""Looks after which a person is told what is missing: ten seconds, longer than any start that goes well."""

OWN_AFFAIRS = ("/rosout", "/parameter_events", topics.SYSTEM_NODE)


class Ready:
    """Says this node's name, and its session, on `system/ready` when connected to `peers`; keeps what others say.

    Make it last in the node's constructor: its publisher tells the peers that all else exists.
    """

    def __init__(self, node: Node, peers: Sequence[str], changed: Callable[[], None] | None = None) -> None:
        """Begin to look; `changed` is called when another node says its name."""
        self._node, self._changed = node, changed
        self._session = int(getattr(node, "session", 0))
        self._peers = frozenset(peers) - {node.get_name()}
        self._said: set[str] = set()
        self._steady = self._looks = 0
        self._logged: set[str] = set()
        self.waits_for = ""
        self._subscription = node.create_subscription(String, topics.READY, self._on_message, qos.latched(depth=50))
        self._publisher = node.create_publisher(String, topics.READY, qos.latched())
        self._timer = node.create_timer(PERIOD, self._look)

    @property
    def said(self) -> bool:
        """Whether this node has said its name."""
        return self._timer.is_canceled()

    def present(self) -> set[str]:
        """Return the nodes that are ready now: they said so and have not left the graph."""
        return self._said & self._announced()

    def _on_message(self, message: String) -> None:
        name, _, session = message.data.partition(" ")
        if (session or "0") != str(self._session):
            return  # another system's node
        self._said.add(name)
        if self._changed is not None:
            self._changed()

    def _announced(self) -> set[str]:
        return {info.node_name for info in self._node.get_publishers_info_by_topic(self._publisher.topic_name)}

    def _look(self) -> None:
        self.waits_for = self._unconnected()
        self._looks += 1
        self._steady = 0 if self.waits_for else self._steady + 1
        self._log()
        if self._steady >= STEADY or not self._peers:
            self._timer.cancel()
            name = self._node.get_name()
            self._publisher.publish(String(data=f"{name} {self._session}" if self._session else name))

    def _log(self) -> None:
        """Log what is still missing, each thing once, so that the log of a start that failed says why."""
        if self.waits_for and self._looks >= PATIENCE and self.waits_for not in self._logged:
            self._logged.add(self.waits_for)
            self._node.get_logger().warning(f"not ready: {self.waits_for}")

    def _unconnected(self) -> str:
        absent = self._peers - self._announced()
        if absent:
            return f"waits for {', '.join(sorted(absent))} to start"
        for endpoint, matched, wanted in self._endpoints():
            if matched < wanted:
                return f"{endpoint}: {matched} of {wanted} peers connected; compare their QoS if this stays"
        if self._node.get_parameter("use_sim_time").value and not self._node.get_clock().now().nanoseconds:
            return "waits for /clock; start the simulator, or see why it publishes no time"
        waiting = [client.srv_name for client in self._node.clients if not client.service_is_ready()]
        return f"waits for service {', '.join(waiting)}" if waiting else ""

    def _endpoints(self) -> list[tuple[str, int, int]]:
        node = self._node
        readers = [
            (topic.topic_name, topic.get_subscription_count(), node.get_subscriptions_info_by_topic(topic.topic_name))
            for topic in node.publishers
            if topic.topic_name not in OWN_AFFAIRS
        ]
        writers = [
            (topic.topic_name, _publishers(node, topic), node.get_publishers_info_by_topic(topic.topic_name))
            for topic in node.subscriptions
            if topic.topic_name not in OWN_AFFAIRS
        ]
        return [(name, matched, self._count(infos)) for name, matched, infos in readers + writers]

    def _count(self, infos: Sequence[Any]) -> int:
        return sum(info.node_name in self._peers for info in infos)


def _publishers(node: Node, subscription: Any) -> int:
    # Humble's rclpy cannot ask a subscription; the graph's count is the next best.
    count = getattr(subscription, "get_publisher_count", None)
    return count() if count is not None else node.count_publishers(subscription.topic_name)
