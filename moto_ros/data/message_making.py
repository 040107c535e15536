"""Makes messages for bags without ROS: every field zero or empty but those that are given."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.definitions import contract_types


def make(kind: str, stamp: int, **fields: Any) -> Any:
    """Return a message with a header, its stamp (ns) and the given fields, all others zero or empty."""
    message = blank(kind)
    for name, value in fields.items():
        setattr(message, name, value)
    set_time(message.header.stamp, stamp)
    return message


def blank(kind: str) -> Any:
    """Return a message with every field zero or empty."""
    store = contract_types()
    return store.types[kind](**{name: _empty(described) for name, described in store.fielddefs[kind][1]})


def _empty(described: Any) -> Any:
    kind, detail = described
    if kind == Nodetype.NAME:
        return blank(detail)
    if kind == Nodetype.BASE:
        return {"string": "", "bool": False}.get(detail[0], 0)
    element, length = detail
    if element[0] == Nodetype.BASE and element[1][0] != "string":
        return np.zeros(length if kind == Nodetype.ARRAY else 0, element[1][0])
    return [_empty(element) for _ in range(length)] if kind == Nodetype.ARRAY else []


def set_time(stamp: Any, nanoseconds: int) -> Any:
    """Write nanoseconds into a ROS time; return it."""
    stamp.sec, stamp.nanosec = nanoseconds // NSEC_PER_SEC, nanoseconds % NSEC_PER_SEC
    return stamp


def image(pixels: np.ndarray, stamp: int) -> Any:
    """Return RGB uint8 (H, W, 3) as sensor_msgs/Image with its stamp (ns)."""
    height, width, channels = pixels.shape
    size = {"height": height, "width": width, "step": width * channels}
    return make("sensor_msgs/msg/Image", stamp, encoding="rgb8", data=np.ascontiguousarray(pixels).reshape(-1), **size)
