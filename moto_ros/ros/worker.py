"""Worker threads beside the executor, and the mailbox that brings their results back to the node's single thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.node import Node

Job = Callable[[], Any]


class Mailbox:
    """Calls posted by any thread, made in order by the node's executor."""

    def __init__(self, node: Node) -> None:
        """Attach to the node's executor."""
        self._calls: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._guard = node.create_guard_condition(self._drain)

    def post(self, call: Job) -> None:
        """Have the executor make `call` soon; a no-op once the node is destroyed."""
        self._calls.put(call)
        try:
            self._guard.trigger()
        except InvalidHandle:
            return

    def _drain(self) -> None:
        # Calls posted by these calls wait for the next round of the executor, after the messages that wait now.
        for _ in range(self._calls.qsize()):
            self._calls.get()()


class Worker:
    """One thread that does jobs in order. A job that raises ends the node: its error is raised in the executor."""

    def __init__(self, mailbox: Mailbox, name: str) -> None:
        """Start the thread; `name` shows in debuggers and logs."""
        self._mailbox = mailbox
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of jobs that have not started."""
        return self._jobs.qsize()

    def do(self, job: Job, then: Callable[[Any], None] | None = None) -> None:
        """Queue `job`; the executor calls `then` with its result."""
        self._jobs.put(lambda: self._finish(job(), then))

    def _finish(self, result: Any, then: Callable[[Any], None] | None) -> None:
        if then is not None:
            self._mailbox.post(lambda: then(result))

    def close(self, timeout: float = 10.0) -> bool:
        """Finish the queued jobs and stop; return whether that took less than `timeout` seconds."""
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as error:
                self._mailbox.post(_raiser(error))


def _raiser(error: Exception) -> Job:
    def fail() -> None:
        raise error

    return fail
