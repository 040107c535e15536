"""What all nodes of moto_ros have in common: typed settings, watched topics, diagnostics, a mailbox for threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from rclpy.callback_groups import CallbackGroup
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from moto_ros.errors import MotoError
from moto_ros.ros.diagnostics import Diagnostics, NodeReport
from moto_ros.ros.duplicates import Duplicates
from moto_ros.ros.health import TopicHealth
from moto_ros.ros.log import TextLogger
from moto_ros.ros.params import settings_of
from moto_ros.ros.session import Sessions
from moto_ros.ros.worker import Mailbox

S = TypeVar("S")

SIM_TIME = "use_sim_time"
"""ROS's own parameter: whether the node's clock is what `/clock` says."""


class MotoNode(Node, Generic[S]):
    """A node whose parameters are the fields of a settings class; `given` overrides the command line's, for tests."""

    def __init__(
        self,
        name: str,
        settings: type[S] | Callable[[Mapping[str, Any]], type[S]],
        given: Mapping[str, Any] | None = None,
    ) -> None:
        """Read and check the parameters; `settings` may depend on some of them. MotoError for what does not fit."""
        overrides = [Parameter(key, value=_plain(value)) for key, value in (given or {}).items()]
        super().__init__(name, automatically_declare_parameters_from_overrides=True, parameter_overrides=overrides)
        self.simulated_time = bool(self.get_parameter(SIM_TIME).value)
        self.settings: S = settings_of(self, settings)
        self.health = TopicHealth()
        self.mailbox = Mailbox(self)
        self.diagnostics = Diagnostics(self, self.report)
        self.session = int(getattr(self.settings, "session", 0))
        peers = getattr(self.settings, "wait_for", ())
        self._duplicates = Duplicates(self, self.session, peers, self.simulated_time)
        log = self.get_logger().warning
        self._sessions = Sessions(self.session, self.health, log, self._duplicates.writers)

    def get_logger(self) -> TextLogger:
        """Return the node's logger, which takes any text."""
        return TextLogger(super().get_logger())

    def report(self) -> NodeReport:
        """Return the state of the node; nodes add their own figures."""
        return NodeReport(warning=self.health.sentence())

    def subscribe(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        profile: QoSProfile,
        raw: bool = False,
        outside: bool = False,
    ) -> Subscription:
        """Subscribe to messages of this system; other systems' messages, incompatible QoS and lost samples are counted.

        `outside`: the topic is meant for programs that are no part of the system and leave the session 0.
        """
        events = self.health.of_subscription(topic)
        mine = self._sessions.filter(kind, topic, callback, raw, outside)
        return self.create_subscription(kind, topic, mine, profile, event_callbacks=events, raw=raw)

    def advertise(self, kind: type, topic: str, profile: QoSProfile) -> Publisher:
        """Make a publisher that stamps the session, with incompatible QoS counted in the diagnostics."""
        publisher = self.create_publisher(kind, topic, profile, event_callbacks=self.health.of_publisher(topic))
        return self._sessions.stamp(publisher, kind)

    def serve(
        self, kind: type, service: str, callback: Callable[[Any, Any], Any], by_hand: bool = False, **more: Any
    ) -> Service:
        """Make a service that answers this system; `by_hand`: also a person whose request has session 0."""
        return self._sessions.guard(self.create_service(kind, service, callback, **more), kind, by_hand)

    def client(self, kind: type, service: str) -> Client:
        """Make a client whose requests say which system they are of."""
        return self._sessions.stamp_requests(self.create_client(kind, service), kind)

    @property
    def alone(self) -> bool:
        """Whether the node may publish what carries no session: it has met no other system for a while."""
        return self._duplicates.quiet

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[[], None],
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> Timer:
        """Make a timer of the steady clock: time-outs must end also where simulated time waits for an action."""
        steady = clock or Clock(clock_type=ClockType.STEADY_TIME)
        return super().create_timer(timer_period_sec, callback, callback_group, steady, **options)

    def now(self, *seen: int) -> int:
        """Return the node clock's time in nanoseconds, for stamps.

        Simulated time is no earlier than the stamps `seen` (ns): an observation may overtake `/clock` on its way.
        """
        now: int = self.get_clock().now().nanoseconds
        return max(now, *seen) if seen and self.simulated_time else now

    def refuse_simulated_time(self) -> None:
        """Raise MotoError where the node is to follow `/clock`: devices are stamped by the system's clock."""
        if self.simulated_time:
            raise MotoError(
                f"{self.get_fully_qualified_name()}: parameter 'use_sim_time' is true, expected false for a device, "
                "which is stamped by the system's clock; leave it out"
            )


def _plain(value: Any) -> Any:
    return list(value) or [""] if isinstance(value, (tuple, list)) else value
