"""The generated interfaces: each can be imported, keeps its values on the wire, and says what its fields mean."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from rclpy.serialization import deserialize_message, serialize_message

PACKAGE = Path(__file__).resolve().parents[1]
FILES = sorted([*PACKAGE.glob("msg/*.msg"), *PACKAGE.glob("srv/*.srv")])
FIELD = re.compile(r"^[A-Za-z][\w/]*(\[\d*\])?\s+\w+\s*(#.*)?$")


def classes(path: Path) -> list[type]:
    """Return the message classes of an interface file."""
    found = getattr(import_module(f"moto_msgs.{path.parent.name}"), path.stem)
    return [found] if path.suffix == ".msg" else [found.Request, found.Response]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_interface_goes_over_the_wire(path: Path) -> None:
    """Breaks every node: an interface that is not named in CMakeLists.txt is not generated."""
    for kind in classes(path):
        assert deserialize_message(serialize_message(kind()), kind) == kind()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_interface_says_what_it_is_and_what_each_field_means(path: Path) -> None:
    """Breaks whoever writes a node of their own: units and frames are nowhere else."""
    first, *lines = path.read_text().splitlines()
    assert first.startswith("# ")
    fields = [line for line in lines if FIELD.match(line)]
    assert fields
    assert [line for line in fields if "#" not in line and not line.startswith("std_msgs/Header")] == []
