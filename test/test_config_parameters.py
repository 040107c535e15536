"""Parameters: what a user writes in files and on the command line becomes typed settings, or one clear sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moto_ros.config import (
    REQUIRED,
    build,
    digest,
    flatten,
    group,
    parameter,
    parse,
    present_names,
    read_parameters,
    shipped,
    specs,
    write_parameters,
)
from moto_ros.errors import MotoError


@dataclass(frozen=True)
class Gripper:
    """A group inside settings."""

    width: float = parameter(0.04, "opening", unit="m", low=0.0, high=0.08)
    fingers: tuple[str, ...] = parameter(("left", "right"), "names")


@dataclass(frozen=True)
class Settings:
    """One parameter of every kind."""

    address: str = parameter(REQUIRED, "where the arm answers")
    steps: int = parameter(10, "steps", low=1, high=100)
    rate: float = parameter(1e-3, "learning rate", low=0.0)
    gains: tuple[float, ...] = parameter((1.0, 2.0), "stiffness", unit="N/m", low=0.0)
    mode: str = parameter("fast", "speed", choices=("fast", "slow"))
    quiet: bool = parameter(False, "say less")
    gripper: Gripper = group(Gripper)


GIVEN: dict[str, Any] = {"address": "arm"}


def sentence(values: dict[str, Any]) -> str:
    """Return what the user reads when `values` cannot be used."""
    with pytest.raises(MotoError) as error:
        build(Settings, GIVEN | values, "trainer.yaml")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_required_parameter_that_is_not_set_is_named() -> None:
    with pytest.raises(MotoError, match=r"trainer\.yaml: parameter 'address' .*missing"):
        build(Settings, {}, "trainer.yaml")


def test_an_unknown_parameter_gets_the_closest_known_name() -> None:
    assert "did you mean gripper.width" in sentence({"gripper.widht": 0.02})


def test_an_unknown_parameter_like_no_other_gets_the_list_of_all() -> None:
    assert "address, gains, gripper.fingers" in sentence({"zzzz": 1})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("steps", 0, "an integer in 1..100"),
        ("steps", 2.5, "an integer in 1..100"),
        ("steps", True, "an integer"),
        ("steps", "ten", "an integer"),
        ("rate", math.nan, "a number in 0.0..inf"),
        ("rate", math.inf, "a number"),
        ("rate", -1e-9, "a number in 0.0..inf"),
        ("mode", "fsat", "one of fast, slow"),
        ("quiet", 1, "true or false"),
        ("quiet", "true", "true or false"),
        ("gripper.width", 0.09, "a number in 0.0..0.08 (m)"),
        ("address", 7, "a text"),
        ("address", None, "a text"),
        ("gains", 3.0, "a list"),
        ("gains", "3, 4", "a list"),
        ("gains", {"x": 1.0}, "a list"),
        ("gains", [1.0, -2.0], "a number in 0.0..inf (N/m)"),
    ],
)
def test_a_wrong_value_is_said_with_what_was_expected(name: str, value: Any, expected: str) -> None:
    said = sentence({name: value})
    assert f"parameter '{name}' is {value!r}" in said or f"parameter '{name}' is {value[1]!r}" in said
    assert expected in said


def test_a_whole_number_is_a_number() -> None:
    assert build(Settings, GIVEN | {"rate": 1, "gains": [3]}, "").gains == (3.0,)


def test_an_integer_that_ros_cannot_hold_is_refused() -> None:
    @dataclass(frozen=True)
    class Free:
        """No range of its own."""

        count: int = parameter(0, "any integer")

    with pytest.raises(MotoError, match="an integer"):
        build(Free, {"count": 2**63}, "")


def test_an_empty_list_can_be_written_in_a_ros_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    write_parameters(path, "/moto/arm", flatten(build(Settings, GIVEN | {"gripper.fingers": []}, "")))
    assert "- ''" in path.read_text()
    assert build(Settings, read_parameters(path, "arm"), str(path)).gripper.fingers == ()


def test_groups_are_named_with_dots() -> None:
    assert build(Settings, GIVEN | {"gripper.width": 0.01}, "").gripper == Gripper(width=0.01)
    assert set(specs(Settings)) == set(flatten(build(Settings, GIVEN, "")))


def test_help_shows_unit_range_and_choices() -> None:
    assert specs(Settings)["gripper.width"].describe() == "opening [m, 0.0..0.08]"
    assert specs(Settings)["mode"].describe() == "speed [fast | slow]"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate", "1e-5", 1e-5),
        ("rate", "3", 3.0),
        ("steps", "12", 12),
        ("quiet", "true", True),
        ("gains", "[1, 2.5]", (1.0, 2.5)),
        ("address", "172.16.0.2", "172.16.0.2"),
        ("address", "[not, a, list", "[not, a, list"),
    ],
)
def test_a_command_line_text_becomes_the_parameters_type(name: str, text: str, value: object) -> None:
    assert parse(specs(Settings)[name], text, "--parameter") == value


@pytest.mark.parametrize("text", ["[1, 2", "2024-13-45", "{a: 1}", "", "1, 2"])
def test_a_command_line_text_that_does_not_fit_is_one_sentence(text: str) -> None:
    with pytest.raises(MotoError, match="gains") as error:
        parse(specs(Settings)["gains"], text, "--parameter")
    assert "\n" not in str(error.value)


texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
numbers = st.floats(0.0, allow_nan=False, allow_infinity=False)
settings = st.builds(
    Settings,
    address=texts | st.sampled_from(["1e-5", "on", "null", "~", "0x1F", "2024-01-01", "1:30", "-", "a: b", "# no"]),
    steps=st.integers(1, 100),
    rate=numbers,
    gains=st.lists(numbers, max_size=4).map(tuple),
    mode=st.sampled_from(["fast", "slow"]),
    quiet=st.booleans(),
    gripper=st.builds(
        Gripper,
        width=st.floats(0.0, 0.08),
        fingers=st.lists(texts.filter(bool), max_size=3).map(tuple),
    ),
)


@given(settings)
def test_what_a_run_writes_it_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, made: Settings) -> None:
    """Breaks resuming: a run that reads another configuration than it wrote refuses to go on."""
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    write_parameters(path, "/moto/arm", flatten(made))
    again = build(Settings, read_parameters(path, "arm"), str(path))
    assert again == made
    assert digest(flatten(again)) == digest(flatten(made))


def test_a_different_value_gives_a_different_digest() -> None:
    one, other = (flatten(build(Settings, GIVEN | {"steps": steps}, "")) for steps in (10, 11))
    assert digest(one) != digest(other)


def write(path: Path, text: str) -> Path:
    """Write a parameter file."""
    path.write_text(text)
    return path


def test_a_nodes_own_section_is_read_over_every_nodes_section(tmp_path: Path) -> None:
    everyone = "/**: {ros__parameters: {steps: 9, gripper: {width: 0.01}}}\n"
    for name in ("/moto/arm", "arm", "robot"):
        path = write(tmp_path / "a.yaml", f"{everyone}{name}: {{ros__parameters: {{steps: 5}}}}\n")
        assert read_parameters(path, "robot", "arm") == {"steps": 5, "gripper.width": 0.01}


def test_another_nodes_section_is_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "camera: {ros__parameters: {steps: 5}}")
    assert read_parameters(path, "arm") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found NoneType"),
        ("- 1", "found list"),
        ("arm: {steps: 5}", "'arm' has no 'ros__parameters'"),
        ("arm: {ros__parameters: [5]}", "'arm' has no 'ros__parameters'"),
        ("1: {ros__parameters: 5}", "'1' has no 'ros__parameters'"),
        ("arm: [", "not YAML"),
        ("arm: {ros__parameters: {a: !!python/object:os.system x}}", "not YAML"),
    ],
)
def test_a_file_that_is_no_parameter_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path / "broken.yaml", text)
    with pytest.raises(MotoError, match=said) as error:
        read_parameters(path, "arm")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(MotoError, match=r"weights\.yaml"):
        read_parameters(path)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(MotoError, match=r"nowhere\.yaml: cannot be read \(No such file"):
        read_parameters(Path("nowhere.yaml"))


def test_an_unknown_shipped_file_gets_the_list_of_known_ones() -> None:
    with pytest.raises(MotoError, match="task 'no_such_task'"):
        shipped("tasks", "no_such_task")


def test_a_path_to_a_users_own_file_is_taken_as_it_is() -> None:
    assert shipped("tasks", "mine/task.yaml") == Path("mine/task.yaml")


@dataclass(frozen=True)
class Renamed:
    """Settings with parameters that had other names."""

    smoothing: float = parameter(0.5, "smoothing", low=0.0, high=1.0, formerly="mix")
    pause: float = parameter(1.0, "pause", unit="s", formerly=("retry", "wait"))
    gripper: Gripper = group(Gripper)


@dataclass(frozen=True)
class Outer:
    """A group with such parameters."""

    size: int = parameter(1, "size")
    inner: Renamed = group(Renamed)


FORMER = {"inner.mix": "inner.smoothing", "inner.retry": "inner.pause", "inner.wait": "inner.pause"}
NAMES = ["size", "inner.smoothing", "inner.pause", "inner.gripper.width", *FORMER, "unknown"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers()), max_size=8, unique_by=lambda item: item[0]))
def test_a_former_name_means_the_present_one_and_both_are_refused(items: list[tuple[str, int]]) -> None:
    """Somebody's own YAML file would be refused after an update, or one of two values would be dropped unsaid."""
    warnings: list[str] = []
    meant = [FORMER.get(name, name) for name, _ in items]
    known = specs(Outer).values()
    if len(set(meant)) < len(meant):
        with pytest.raises(MotoError, match=r"mine\.yaml: parameter 'inner\..*' is given under two names") as caught:
            present_names(known, dict(items), "mine.yaml", warnings.append)
        assert "\n" not in str(caught.value)
        return
    found = present_names(known, dict(items), "mine.yaml", warnings.append)
    assert list(found.items()) == [(name, value) for name, (_, value) in zip(meant, items, strict=True)]
    old = [name for name, _ in items if name in FORMER]
    assert [warning.split("'")[1::2][:2] for warning in warnings] == [[name, FORMER[name]] for name in old]
    assert present_names(known, found, "mine.yaml", warnings.append) == found, "done twice is done once"


def test_a_former_name_is_said_once_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Every node of every phase of a job would repeat the warning."""
    for _ in range(2):
        assert build(Renamed, {"mix": 0.25}, "once.yaml").smoothing == 0.25
    assert capsys.readouterr().err == (
        "warning: once.yaml: parameter 'mix' is now called 'smoothing', and the next minor version no longer takes the "
        "former name; rename it\n"
    )


def test_a_value_under_a_former_name_is_checked_like_any_other() -> None:
    with pytest.raises(
        MotoError, match=r"mine\.yaml: parameter 'smoothing' is 2\.0, expected a number in 0\.0\.\.1\.0"
    ):
        build(Renamed, {"mix": 2.0}, "mine.yaml")
