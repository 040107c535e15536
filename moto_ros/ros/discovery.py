"""Readiness of nodes: each publishes its name once discovery has connected it with its peers, in both directions.

With simulated time a node also waits for the first `/clock`: its log messages would have the stamp 0 before. And it
waits until it may have discovered other systems, see `duplicates.py`: one node too many ends before an episode begins.

A reliable volatile sample reaches only the readers that its writer has matched. So the first episode waits until no
sample can be lost to discovery that is not complete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String

from moto_ros.contract import topics
from moto_ros.ros import qos

POLL_PERIOD = 0.1
"""Seconds between two checks of the ROS graph."""

STABLE_CHECKS = 3
"""Checks in a row that must find everything connected: reader and writer announcements may overtake each other."""

CHECKS_BEFORE_WARNING = 100
"""Checks after which a missing peer is logged: ten seconds, longer than any successful start."""

CONNECTING = "topics are still being connected"

IGNORED_TOPICS = ("/rosout", "/parameter_events", topics.SYSTEM_NODE)


class Readiness:
    """Publishes this node's name and session on `system/ready` once it is ready; knows which other nodes are.

    Create it last in the node's constructor: its publisher shows the peers that everything else exists.
    """

    def __init__(self, node: Node, peers: Sequence[str], changed: Callable[[], None] | None = None) -> None:
        """Start to check; `changed` is called when another node is ready."""
        self._node, self._changed = node, changed
        self._session = int(getattr(node, "session", 0))
        self._peers = frozenset(peers) - {node.get_name()}
        self._ready: set[str] = set()
        self._stable = self._checks = 0
        self._logged: set[str] = set()
        self.waits_for = CONNECTING
        """What keeps this node from being ready; empty once it is."""
        self._subscription = node.create_subscription(String, topics.READY, self._on_message, qos.latched(depth=50))
        self._publisher = node.create_publisher(String, topics.READY, qos.latched())
        self._timer = node.create_timer(POLL_PERIOD, self._check)

    @property
    def announced(self) -> bool:
        """Whether this node has published that it is ready."""
        return self._timer.is_canceled()

    def ready_nodes(self) -> set[str]:
        """Return the names of the nodes that are ready and still in the graph."""
        return self._ready & self._discovered()

    def _on_message(self, message: String) -> None:
        name, _, session = message.data.partition(" ")
        if (session or "0") != str(self._session):
            return  # another system's node
        self._ready.add(name)
        if self._changed is not None:
            self._changed()

    def _discovered(self) -> set[str]:
        return {info.node_name for info in self._node.get_publishers_info_by_topic(self._publisher.topic_name)}

    def _check(self) -> None:
        self.waits_for = self._unconnected()
        self._checks += 1
        self._stable = 0 if self.waits_for else self._stable + 1
        self._log()
        if self._stable < STABLE_CHECKS and self._peers:
            self.waits_for = self.waits_for or CONNECTING
        elif not getattr(self._node, "alone", True):
            self.waits_for = "still looking for other systems in this ROS domain"
        else:
            self._timer.cancel()
            self.waits_for = ""
            name = self._node.get_name()
            self._publisher.publish(String(data=f"{name} {self._session}" if self._session else name))

    def _log(self) -> None:
        """Log what is still missing, each sentence once, so that the log of a failed start says why."""
        if self.waits_for and self._checks >= CHECKS_BEFORE_WARNING and self.waits_for not in self._logged:
            self._logged.add(self.waits_for)
            self._node.get_logger().warning(f"not ready: {self.waits_for}")

    def _unconnected(self) -> str:
        absent = self._peers - self._discovered()
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
            if topic.topic_name not in IGNORED_TOPICS
        ]
        writers = [
            (topic.topic_name, _publishers(node, topic), node.get_publishers_info_by_topic(topic.topic_name))
            for topic in node.subscriptions
            if topic.topic_name not in IGNORED_TOPICS
        ]
        return [(name, matched, self._count(infos)) for name, matched, infos in readers + writers]

    def _count(self, infos: Sequence[Any]) -> int:
        return sum(info.node_name in self._peers for info in infos)


def _publishers(node: Node, subscription: Any) -> int:
    # Humble's rclpy cannot ask a subscription; the graph's count is the next best.
    count = getattr(subscription, "get_publisher_count", None)
    return count() if count is not None else node.count_publishers(subscription.topic_name)
