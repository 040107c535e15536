"""`moto bag info`: what a bag holds and what is wrong with it, for people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.bags import Recipe, lockstep_episode, write_bag

from moto_ros.cli.main import main


@pytest.fixture
def bags(tmp_path: Path) -> Path:
    """Return a folder with two bags of the contract, one episode each."""
    for episode in (3, 4):
        write_bag(tmp_path / "bags" / f"episode_{episode:06d}", lockstep_episode(Recipe(episode=episode, steps=7)))
    return tmp_path / "bags"


def cut(bags: Path) -> Path:
    """Cut the file of the second bag in half, as a full disk or a killed recorder does."""
    (path,) = (bags / "episode_000004").glob("*.mcap")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return bags


def test_a_folder_of_bags_shows_every_episode(bags: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bag", "info", str(bags)]) == 0
    shown = capsys.readouterr().out
    assert "episode_000003" in shown
    assert "episode_000004" in shown
    assert "2 bags" in shown
    assert "14 steps" in shown


def test_one_bag_shows_its_topics_with_the_roles_they_play(
    bags: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main(["bag", "info", str(bags / "episode_000003")])
    shown = capsys.readouterr().out
    assert any("moto_msgs/msg/Action" in line and " action " in line for line in shown.splitlines())


def test_what_is_wrong_is_said_and_the_rest_is_counted(bags: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["bag", "info", str(cut(bags)), "--json"])
    whole, half = json.loads(capsys.readouterr().out)
    assert whole["episodes"][0]["steps"] == 7
    assert any("cut or damaged" in text for text in half["problems"])
    assert half["messages"] < whole["messages"]


def test_a_bag_that_gives_no_step_ends_with_1(bags: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script that checks last night's recordings relies on it."""
    (path,) = (bags / "episode_000004").glob("*.mcap")
    path.write_bytes(b"")
    assert main(["bag", "info", str(bags)]) == 1
    assert "problem episode_000004" in capsys.readouterr().out


def test_a_folder_without_bags_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bag", "info", str(tmp_path)]) == 1
    assert f"{tmp_path}: holds no bag" in capsys.readouterr().err


def test_a_mapping_on_the_command_line_decides_what_a_step_is(bags: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["bag", "info", str(bags / "episode_000003"), "--json", "-p", "cameras:=['overhead']"])
    (facts,) = json.loads(capsys.readouterr().out)
    assert any("overhead" in text for text in facts["problems"])
