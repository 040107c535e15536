"""A ROS domain that nobody else on this machine uses, also not another test process."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator

FIRST_PORT = 22119
"""A domain is ours while we hold TCP port FIRST_PORT + domain, the convention of ROS's domain_coordinator."""

LAST_DOMAIN = 100
"""Higher domains use ports that the system hands out to others."""

PLACES = itertools.count(os.getpid())


@contextlib.contextmanager
def reserved_domain() -> Iterator[int]:
    """Hold a free domain; each search of this process starts where the last one ended."""
    for offset in PLACES:
        domain = 1 + offset % LAST_DOMAIN
        with socket.socket() as lock:
            try:
                lock.bind(("127.0.0.1", FIRST_PORT + domain))
            except OSError:
                continue
            yield domain
            return
