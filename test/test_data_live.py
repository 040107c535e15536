"""An episode assembled from live ROS messages and from the bag of the same messages is equal to the bit."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bags import Recipe, Sent, lockstep_episode

from moto_ros.data.assembler import EpisodeAssembler
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.bag_writer import BagWriter
from moto_ros.data.layout import StepLayout
from moto_ros.data.proprio_fields import PROPRIO_FIELDS

LAYOUT = StepLayout(cameras=("agent", "wrist"), image_size=12, proprio=tuple(PROPRIO_FIELDS))


def received(sent: Sent) -> Any:
    """Return the rclpy object that a node gets for a message on the wire."""
    serialization = importlib.import_module("rclpy.serialization")
    package, _, name = sent.type_name.split("/")
    kind = getattr(importlib.import_module(f"{package}.msg"), name)
    return serialization.deserialize_message(sent.cdr(), kind)


@pytest.mark.ros
@pytest.mark.parametrize("jpeg", [False, True])
def test_live_and_bag_are_equal_to_the_bit(tmp_path: Path, jpeg: bool) -> None:
    """The policy would be trained on other numbers than it acts on."""
    serialization = importlib.import_module("rclpy.serialization")
    messages = lockstep_episode(Recipe(steps=15, jpeg=jpeg, side=(48, 64), outcome="success"))
    live, writer = EpisodeAssembler(LAYOUT, 3), BagWriter(tmp_path / "bag")
    for sent in messages:
        message = received(sent)
        live.add(sent.role, message)
        writer.add_topic(sent.topic, sent.type_name)
        writer.write(sent.topic, serialization.serialize_message(message), sent.log_time)
    assert writer.close().complete
    (recorded,) = read_episodes(tmp_path / "bag", LAYOUT).episodes
    seen = live.assemble()
    assert seen.info == recorded.info
    for name, rows in seen.arrays().items():
        assert rows.dtype == recorded.arrays()[name].dtype
        assert np.array_equal(rows, recorded.arrays()[name]), name
