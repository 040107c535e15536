"""What all nodes of moto_ros have in common: typed settings, watched topics, diagnostics, a mailbox for threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from moto_ros.errors import MotoError
from moto_ros.ros.diagnostics import Diagnostics, Report
from moto_ros.ros.health import TopicHealth
from moto_ros.ros.params import settings_of
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

    def report(self) -> Report:
        """Return how the node does; nodes add their own figures."""
        return Report(warning=self.health.sentence())

    def listen(
        self, kind: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile, raw: bool = False
    ) -> Subscription:
        """Subscribe, with incompatible QoS and lost samples counted in the diagnostics."""
        events = self.health.of_subscription(topic)
        return self.create_subscription(kind, topic, callback, profile, event_callbacks=events, raw=raw)

    def speak(self, kind: type, topic: str, profile: QoSProfile) -> Publisher:
        """Make a publisher, with incompatible QoS counted in the diagnostics."""
        return self.create_publisher(kind, topic, profile, event_callbacks=self.health.of_publisher(topic))

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

    def tell(self, sentence: str) -> None:
        """Print one line for the person who watches the terminal."""
        print(sentence, flush=True)


def _plain(value: Any) -> Any:
    return list(value) or [""] if isinstance(value, (tuple, list)) else value
