"""A simulated Franka arm behind the real protocol, in a process of its own, to be frozen, killed and made to fault."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = 60.0
"""Seconds until it must serve, on a machine that is busy."""

ADDRESSES = itertools.count(1)


def free_address() -> str:
    """Return a loopback address of this process: the ports are fixed by the protocol, so each server has its own."""
    high, low = divmod(os.getpid() % 0xFFFF, 0x100)
    return f"127.{100 + next(ADDRESSES) % 100}.{high}.{1 + low % 250}"


class FrankyServer:
    """Runs `python -m moto_sim.franka_process` on `address`."""

    def __init__(self, address: str = "", hand: bool = True) -> None:
        """Start it and wait until it serves."""
        self.address, self._hand = address or free_address(), hand
        self._process = self._start()

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def fault(self, error: str, stubborn: bool = False) -> None:
        """Raise one of the arm's errors, with the reflex that follows; `stubborn`: only `clear` helps."""
        self._say(f"fault {error}{' stubborn' if stubborn else ''}")

    def clear(self) -> None:
        """Clear the error, as a person at the arm does."""
        self._say("clear")

    def freeze(self) -> None:
        """Stop the process's execution: the connection stays open and nothing comes any more."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power failure would."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def restart(self) -> None:
        """Kill it where it runs, and start it again on the same address, with the arm at its start pose."""
        self.kill()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        paths = [str(ROOT), str(ROOT / "sim"), os.environ.get("PYTHONPATH", "")]
        command = [sys.executable, "-m", "moto_sim.franka_process", "--address", self.address]
        process = subprocess.Popen(
            command if self._hand else [*command, "--without-hand"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline() if select.select([process.stdout], [], [], START)[0] else ""
        assert "serves" in line, f"franky-sim did not start on {self.address}: {line!r}"
        return process

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


@contextlib.contextmanager
def franky_server(address: str = "", hand: bool = True) -> Iterator[FrankyServer]:
    """Run a server for the block; module-scoped fixtures wrap this."""
    server = FrankyServer(address, hand)
    try:
        yield server
    finally:
        server.kill()
