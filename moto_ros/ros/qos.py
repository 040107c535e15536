"""QoS profiles, named by what they mean."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(depth: int, *, reliable: bool = True, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def stream_out(depth: int = 100) -> QoSProfile:
    """Return the profile of a publisher of frames or states: reliable, so that it suits readers of both kinds.

    `depth` is how far a reader that wants every sample may fall behind: three seconds of a camera at 30 Hz.
    """
    return _profile(depth)


def newest() -> QoSProfile:
    """Return the profile of a reader that only wants the newest sample: late ones are worthless (sensor data)."""
    return _profile(1, reliable=False)


def every(depth: int = 100) -> QoSProfile:
    """Return the profile of a reader that wants every sample: assembler, recorder, and all in lockstep."""
    return _profile(depth)


def lossy(depth: int = 100) -> QoSProfile:
    """Return the profile of a reader that wants every sample of a best-effort publisher."""
    return _profile(depth, reliable=False)


def command(period: float, lifespan: float) -> QoSProfile:
    """Return the profile of actions: reliable, depth 1; late ones expire in the middleware (both arguments in s)."""
    profile = _profile(1)
    profile.deadline = Duration(nanoseconds=int(2e9 * period))
    profile.lifespan = Duration(nanoseconds=int(1e9 * lifespan))
    return profile


def action(lockstep: bool, rate: float, lifespan: float) -> QoSProfile:
    """Return the profile of a publisher of actions at `rate` (Hz); `lifespan` in s.

    In lockstep the world waits for the action however long it takes: it must not expire.
    """
    return event() if lockstep else command(1.0 / rate, lifespan)


def human() -> QoSProfile:
    """Return the profile of a reader of what a person does: from any publisher, and no press of a button missed."""
    return _profile(50, reliable=False)


def event() -> QoSProfile:
    """Return the profile of messages that are sent once and must arrive: rewards, actions as data."""
    return _profile(100)


def latched(depth: int = 1) -> QoSProfile:
    """Return the profile of facts that a late joiner needs: episode state, weights, status."""
    return _profile(depth, latched=True)
