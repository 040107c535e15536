"""Message sessions: each message of moto_msgs has the session of its system, and a node ignores all others.

A node stamps its messages and requests, and takes only those with its own session. There are three exceptions: a stop
is taken from anybody; topics for a user's own programs (`outside`) may leave the session 0; so may a person who calls a
service by hand that only ends something (`by_hand`). Messages of other packages carry no session: camera images are
guarded by `duplicates.py`, the person's devices by the arbiter, see `operator_node.py`.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable
from typing import Any

from rclpy.client import Client
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message
from rclpy.service import Service

from moto_msgs.msg import OperatorEvent
from moto_ros.ros.health import TopicHealth

SOURCES = 20
"""Sources (session and topic) that are logged at most: the log must not grow with what another system sends."""

ENCAPSULATION = 4
"""Bytes before a serialized message that say how it is serialized (DDS-XTypes 1.3, 7.6.2.1)."""

STAMP = 8
"""Bytes of the stamp that a header begins with; the length of `frame_id` and its text follow."""


def carries_session(kind: type) -> bool:
    """Return whether messages or requests of this type have a session."""
    return kind.__module__.split(".")[0] == "moto_msgs" and hasattr(kind, "session")


def session_of(data: bytes, kind: type) -> int | None:
    """Return the session of a serialized message, of which only the header is looked at; None where it is cut short."""
    if len(data) < ENCAPSULATION or data[1] > 1:  # not plain CDR, whose alignment is known
        return int(deserialize_message(data, kind).session) if len(data) > ENCAPSULATION else None
    order, place = "<" if data[1] else ">", ENCAPSULATION + STAMP
    if len(data) < place + 4:
        return None
    length = int(struct.unpack_from(f"{order}I", data, place)[0])
    end = STAMP + 4 + length
    place = ENCAPSULATION + (end + 7) // 8 * 8  # an eight-byte number is aligned to eight bytes after the encapsulation
    return int(struct.unpack_from(f"{order}Q", data, place)[0]) if len(data) >= place + 8 else None


class Sessions:
    """Stamps and filters for one node; `health` counts ignored messages, `log` is called once for each source."""

    def __init__(
        self,
        number: int,
        health: TopicHealth,
        log: Callable[[str], None],
        writers: Callable[[str, int], str] = lambda topic, session: "",
    ) -> None:
        """Take the node's own session; `writers` names the nodes of a session that write a topic."""
        self.number, self._health, self._log, self._writers = number, health, log, writers
        self._logged: set[tuple[str, int]] = set()

    def stamp(self, publisher: Publisher, kind: type) -> Publisher:
        """Have every published message carry this session."""
        if carries_session(kind):
            publish = publisher.publish

            def stamped(message: Any) -> None:
                message.session = self.number
                publish(message)

            publisher.publish = stamped
        return publisher

    def stamp_requests(self, client: Client, kind: Any) -> Client:
        """Have every request carry this session."""
        if carries_session(kind.Request):
            call = client.call_async

            def stamped(request: Any) -> Any:
                request.session = self.number
                return call(request)

            client.call_async = stamped
        return client

    def filter(
        self, kind: type, topic: str, callback: Callable[[Any], None], raw: bool = False, outside: bool = False
    ) -> Callable[[Any], None]:
        """Return a callback that passes messages of this system on to `callback`."""
        if not carries_session(kind):
            return callback
        mine = {self.number, 0} if outside else {self.number}

        def take(message: Any) -> None:
            session = session_of(message, kind) if raw else message.session
            if session in mine or (session is not None and _is_stop(message, kind, raw)):
                callback(message)
            else:
                self._refuse(topic, session)

        return take

    def _refuse(self, topic: str, session: int | None) -> None:
        self._health.foreign[topic] += 1
        source = (topic, -1 if session is None else session)
        if source not in self._logged and len(self._logged) < SOURCES:
            self._logged.add(source)
            self._log(self._sentence(topic, session))

    def _sentence(self, topic: str, session: int | None) -> str:
        if session is None:
            return f"{topic}: a message is cut short and is ignored, expected one of moto_msgs; fix its publisher"
        whose = f"session {session}" if session else "no session"
        by = self._writers(topic, session)
        return (
            f"{topic}: messages of another system ({whose}{', ' if by else ''}{by}) are ignored, expected session "
            f"{self.number}; end the other one, or give one of the two another ROS domain"
        )

    def guard(self, service: Service, kind: Any, by_hand: bool = False) -> Service:
        """Have a service answer its own system; others get no answer, for they ask a service of their own.

        A request of session 0 was made by hand: it is answered, with a refusal unless `by_hand`.
        """
        if carries_session(kind.Request):
            answer, send = service.callback, service.send_response

            async def guarded(request: Any, response: Any) -> Any:
                if request.session == self.number or (by_hand and request.session == 0):
                    found = answer(request, response)
                    return await found if inspect.isawaitable(found) else found
                self._refuse(service.srv_name, request.session)
                if request.session:
                    return None
                response.message = (
                    f"{service.srv_name}: the request has session 0, expected {self.number}, that of this system; "
                    "give it to show that this system is meant"
                )
                return response

            def send_if_any(response: Any, header: Any) -> None:
                if response is not None:
                    send(response, header)

            service.callback = guarded
            service.send_response = send_if_any
        return service


def _is_stop(message: Any, kind: type, raw: bool) -> bool:
    if kind is not OperatorEvent:
        return False
    said = deserialize_message(message, OperatorEvent) if raw else message
    return bool(said.event == said.STOP)
