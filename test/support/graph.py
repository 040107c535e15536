"""Nodes under test and their peers in one process, over the real middleware, spun by the test itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

N = TypeVar("N", bound=Node)

PATIENCE = 60.0
"""Seconds that a test waits for what must come: a process that starts on a busy machine may take more than twenty."""


class Graph:
    """Holds nodes on one single-threaded executor; nothing runs but while the test spins."""

    def __init__(self) -> None:
        """Start empty."""
        self.executor = SingleThreadedExecutor()
        self._nodes: list[Node] = []

    def add(self, node: N) -> N:
        """Take a node in."""
        self._nodes.append(node)
        self.executor.add_node(node)
        return node

    def drop(self, node: Node) -> None:
        """Destroy a node, as when its process ends."""
        self.executor.remove_node(node)
        self._nodes.remove(node)
        node.destroy_node()

    def peer(self, name: str = "peer") -> Peer:
        """Return a node that the test publishes and receives with."""
        return Peer(self, self.add(rclpy.create_node(name)))

    def spin(self, seconds: float) -> None:
        """Spin for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def until(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> None:
        """Spin until `condition` holds; fail the test, naming `what`, when it does not within `timeout` seconds."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"still waiting after {timeout:g} s for: {what}"
            self.executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        """Destroy all nodes."""
        for node in self._nodes:
            node.destroy_node()
        self.executor.shutdown(timeout_sec=1.0)


class Peer:
    """A test's own node: publishes, receives and calls services."""

    def __init__(self, graph: Graph, node: Node) -> None:
        """Wrap `node`."""
        self.graph, self.node = graph, node

    def hear(self, kind: type, topic: str, profile: QoSProfile) -> list[Any]:
        """Return a list that fills with what arrives on `topic`."""
        heard: list[Any] = []
        self.node.create_subscription(kind, topic, heard.append, profile)
        return heard

    def advertise(self, kind: type, topic: str, profile: QoSProfile, readers: int = 1) -> Callable[[Any], None]:
        """Return the publish function of `topic`, once `readers` subscriptions are matched."""
        publisher = self.node.create_publisher(kind, topic, profile)
        self.graph.until(lambda: publisher.get_subscription_count() >= readers, f"{readers} readers of {topic}")
        return publisher.publish

    def call(self, kind: type, service: str, **fields: Any) -> Any:
        """Call a service and return its answer."""
        client = self.node.create_client(kind, service)
        self.graph.until(client.service_is_ready, f"service {service}")
        answer = client.call_async(kind.Request(**fields))
        self.graph.until(answer.done, f"answer of {service}")
        self.node.destroy_client(client)
        return answer.result()


@contextlib.contextmanager
def ros_graph(arguments: Sequence[str] | None = None) -> Iterator[Graph]:
    """Start ROS in this process, with the test's domain and perhaps arguments, and stop it again."""
    rclpy.init(args=arguments)
    graph = Graph()
    try:
        yield graph
    finally:
        graph.close()
        rclpy.try_shutdown()
