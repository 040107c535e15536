"""The middleware settings that carry camera images between processes without loss."""

from __future__ import annotations


def environment() -> dict[str, str]:
    """Return the environment variables every process of a system needs.

    Fast DDS's default transports fragment a 0.9 MB image over UDP and drop most of it; LARGE_DATA moves it through
    shared memory, or TCP between machines. Other middlewares ignore the variable.
    """
    return {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}
