"""docs/new_agent.md shows the source of the agent that ships, so that the page's code is tested code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from moto_ros.agents.registry import AGENTS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "new_agent.md").read_text()


@pytest.mark.parametrize(
    "name", ["moto_ros/agents/bc/__init__.py", "moto_ros/agents/bc/agent.py", "config/agents/bc_quick.yaml"]
)
def test_the_page_shows_the_file_as_it_is(name: str) -> None:
    blocks = re.findall(r"`([\w/.]+)`[^`]*```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert (name, (ROOT / name).read_text()) in blocks


def test_the_agent_has_less_than_100_lines() -> None:
    lines = (ROOT / "moto_ros/agents/bc/agent.py").read_text().splitlines()
    assert len(lines) < 100


def test_the_line_of_the_registry_is_there() -> None:
    line = re.search(r'^ +"bc": .*$', PAGE, re.MULTILINE)
    assert line is not None
    assert line.group() in (ROOT / "moto_ros/agents/registry.py").read_text().splitlines()
    assert AGENTS.load("bc").name == "bc"
