"""Duplicate nodes: a node ends with one sentence where another one has its name or publishes one of its topics.

Each node announces on `/system/node` who it is and what it publishes. It is one topic for the whole ROS domain, since
two systems in different namespaces may still conflict, by `/clock`. The topic is latched, so a node that starts learns
of all that run, and of none that was killed: the announcement of a dead process is gone with it, while the graph shows
its endpoints until the middleware forgets it (20 s in Fast DDS). Of two nodes in conflict the one whose system started
later ends. One of a system whose start is over never does: the system that was there first runs undisturbed, also
beside a computer whose clock is slow, or one that took a minute to start its nodes.

A publisher without an announcement is no node of this package, or a dead one. A node waits for as long as the
middleware takes to forget a dead one; a publisher that is there from the start and still there then is alive, and the
node ends.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from moto_msgs.msg import SystemNode
from moto_ros.contract import topics
from moto_ros.contract.session import started
from moto_ros.errors import MotoError
from moto_ros.ros import qos
from moto_ros.ros.convert import to_nanoseconds, to_time

POLL_PERIOD = 0.2
"""Seconds until a running node announces itself, and between two checks of the time."""

GRAPH_PERIOD = 1.0
"""Seconds between two checks of the graph, which ask for each topic that the node publishes."""

QUIET_TIME = 1.5
"""Seconds without another system after which a node is ready, and publishes what has no session, such as images."""

ANNOUNCEMENT_TIME = 6.0
"""Seconds that a node waits for the announcements of all nodes in the graph, of which some may be dead.

It is two periods of Fast DDS's own announcements, of which one may be lost on a busy machine.
"""

START_TIME = 15.0
"""Seconds that a start takes: until then a node ends for one that was there before."""

LEASE_TIME = 30.0
"""Seconds after which a middleware has forgotten a process that was killed."""

COMMON_TOPICS = ("/rosout", "/parameter_events", topics.DIAGNOSTICS)
"""Topics that every node publishes."""

WHAT_TO_DO = "end the other one, or start this one in another namespace or ROS domain (arguments namespace, domain)"
WHAT_TO_DO_SIMULATED = (
    "end the other one, or start this one in another ROS domain (argument domain): a domain has one /clock"
)


class Duplicates:
    """Announces a node; ends it at its start, by a MotoError raised in the executor, where it is a duplicate.

    Nodes of one session are started together and know who publishes what; of nodes started by hand (session 0) two may
    publish the same topic if one waits for the other as one of its `peers`.
    """

    def __init__(self, node: Node, session: int, peers: Sequence[str], simulated_time: bool = False) -> None:
        """Start to listen; the announcement follows once the node runs, with the topics that it has by then."""
        self._node, self._peers = node, frozenset(peers)
        self._what_to_do = WHAT_TO_DO_SIMULATED if simulated_time else WHAT_TO_DO
        self._mine = SystemNode(session=session, node=node.get_fully_qualified_name(), instance=secrets.randbits(62))
        self._mine.header.stamp = to_time(time.time_ns())
        self._others: dict[int, SystemNode] = {}
        self._unknown_since: dict[tuple[str, str], float] = {}
        self._began: float | None = None
        self._checked = float("-inf")
        self._subscription = node.create_subscription(
            SystemNode, topics.SYSTEM_NODE, self._on_message, qos.latched(100)
        )
        self._publisher = node.create_publisher(SystemNode, topics.SYSTEM_NODE, qos.latched())
        self._timer = node.create_timer(POLL_PERIOD, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def quiet(self) -> bool:
        """Whether the node has run for a while, with all others announced, without meeting another system."""
        if self._mine.settled or self._began is None:
            return self._mine.settled
        age = time.monotonic() - self._began
        all_announced = self._node.count_publishers(topics.SYSTEM_NODE) <= len(self._others) + 1
        return age > (QUIET_TIME if all_announced else ANNOUNCEMENT_TIME)

    def writers(self, topic: str, session: int) -> str:
        """Return the names of a session's nodes that publish a topic; for 0 also those without an announcement."""
        known = {other.node: other.session for other in self._others.values()} | {self._mine.node: self._mine.session}
        found = {_name(info) for info in self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(topic))}
        return ", ".join(sorted(name for name in found if known.get(name, 0) == session))

    # Nodes that announce themselves.

    def _on_message(self, other: SystemNode) -> None:
        if other.instance == self._mine.instance:
            return
        self._others[other.instance] = other
        conflict = self._conflict(other)
        if conflict and not self._settled(self._mine) and (self._settled(other) or _age(other) < _age(self._mine)):
            raise MotoError(f"{conflict}, expected no other; {self._what_to_do}")

    def _settled(self, node: SystemNode) -> bool:
        """Return whether the start of a node's system is over; it then is for each of its nodes."""
        known = (self._mine, *self._others.values())
        return node.settled or any(one.settled for one in known if one.session == node.session != 0)

    def _conflict(self, other: SystemNode) -> str:
        """Return which name or topic the other node already has, in words; empty for none."""
        if other.node == self._mine.node:
            return f"{self._mine.node}: a node of this name runs already, {_system(other)}"
        if other.session == self._mine.session and (other.session or other.node.split("/")[-1] in self._peers):
            return ""
        both = sorted(self._topics() & set(other.topics))
        return f"{both[0]}: {other.node} publishes it already, {_system(other)}" if both else ""

    def _topics(self) -> set[str]:
        own = (*COMMON_TOPICS, self._publisher.topic_name, self._node.resolve_topic_name(topics.READY))
        return {publisher.topic_name for publisher in self._node.publishers} - set(own)

    # Time.

    def _check(self) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began = now
            self._announce()
        starts = now - self._began < START_TIME
        if now - self._checked >= GRAPH_PERIOD:
            self._checked = now
            self._check_unknown(now, starts)
        if not starts and not self._mine.settled:
            self._mine.settled = True
            self._announce()
        if self._mine.settled and not self._unknown_since:
            self._timer.cancel()

    def _announce(self) -> None:
        self._mine.topics = sorted(self._topics())
        self._publisher.publish(self._mine)

    def _check_unknown(self, now: float, starts: bool) -> None:
        found = {(topic, name) for topic in self._topics() for name in self._unknown(topic)}
        known = self._unknown_since
        self._unknown_since = {who: known.get(who, now) for who in found if starts or who in known}
        for (topic, name), since in self._unknown_since.items():
            if now - since > LEASE_TIME:
                raise MotoError(f"{topic}: {name} publishes it too, and is no node of this system; {self._what_to_do}")

    def _unknown(self, topic: str) -> set[str]:
        """Return the publishers of a topic that are neither this node, nor peers, nor have announced themselves."""
        found = [_name(info) for info in self._node.get_publishers_info_by_topic(topic)]
        space = self._node.get_namespace().rstrip("/")
        own = sum(publisher.topic_name == topic for publisher in self._node.publishers)
        known = {other.node for other in self._others.values()} | {f"{space}/{peer}" for peer in self._peers}
        if found.count(self._mine.node) <= own:
            known.add(self._mine.node)
        else:
            known.discard(self._mine.node)
        return set(found) - known


def _age(node: SystemNode) -> tuple[int, ...]:
    """Return what orders nodes by when their systems started; those started by hand are systems of their own."""
    stamp = to_nanoseconds(node.header.stamp)
    since = started(node.session) if node.session else stamp // 1_000_000
    return since, node.session, stamp, node.instance


def _name(info: Any) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def _system(node: SystemNode) -> str:
    since = started(node.session) / 1e3 if node.session else to_nanoseconds(node.header.stamp) / 1e9
    clock = f"{datetime.fromtimestamp(since):%H:%M:%S}"
    return (
        f"of the system started at {clock} (session {node.session})" if node.session else f"started at {clock} by hand"
    )
