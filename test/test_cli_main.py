"""The `moto` command: names equal the launch arguments, exit statuses mean something, problems are one sentence."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from moto_ros.cli.arguments import add_arguments, given_arguments
from moto_ros.cli.main import COMMANDS, main, parser
from moto_ros.systems.bringup import ARGUMENTS, SYSTEMS

MOTO = [sys.executable, "-m", "moto_ros.cli.main"]
WITH_SYSTEM = ("record", "pretrain", "finetune", "evaluate")


def system_options(*words: str) -> dict[str, str]:
    """Return what the system arguments on a command line mean."""
    made = argparse.ArgumentParser()
    add_arguments(made)
    return given_arguments(made.parse_args(words))


def test_every_launch_argument_is_an_option_of_the_same_name() -> None:
    for argument in ARGUMENTS:
        if argument.name != "parameters":
            value = next(iter(argument.choices)) if argument.choices else "7"
            assert system_options(f"--{argument.name}", value) == {argument.name: value}


def test_what_is_not_given_is_left_to_the_defaults() -> None:
    assert system_options() == {}


def test_parameter_overrides_are_collected_and_survive_spaces() -> None:
    given = system_options("-p", "agent.alpha:=0.5", "--parameter", "sim.note:=two words")
    assert given == {"parameters": "agent.alpha:=0.5 'sim.note:=two words'"}


@pytest.mark.parametrize("command", [*WITH_SYSTEM, "up"])
def test_help_of_a_system_shows_every_argument_with_its_default(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    for argument in ARGUMENTS:
        if argument.name != "parameters":
            assert f"--{argument.name}" in shown
            assert argument.default in shown
            assert all(choice in shown for choice in argument.choices)
    assert "NODE.NAME:=VALUE" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_sub_command_explains_its_exit_status(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "exit status" in capsys.readouterr().out


def test_each_of_the_systems_can_be_started() -> None:
    for system in SYSTEMS:
        assert parser("up").parse_args(["up", system]).system == system


@pytest.mark.parametrize(
    "words",
    [[], ["fly"], ["up", "fly"], ["finetune", "--agent", "dreamer"], ["report"], ["finetune", "--cloak", "realtime"]],
)
def test_wrong_arguments_end_with_2_and_say_what_is_possible(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: moto" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["finetune", "--cloak", "realtime"], "--cloak realtime; did you mean --clock? `moto finetune --help`"),
        (["record", "--epsiodes=3"], "did you mean --episodes?"),
        (["record", "--clock", "fast"], "argument --clock: found 'fast', expected one of auto, lockstep, realtime"),
        (["pretrain", "--agent", "dreamer"], "--agent: found 'dreamer', expected one of moto, fowm, "),
        (["pretrain", "--agent", "dreamer"], ", or module:class"),
        (["doctor", "--zzz"], "unrecognized arguments: --zzz; `moto doctor --help` lists the options"),
        (["record", "task:=window_open"], "task:=window_open; expected --task window_open"),
        (["record", "sim.max_steps:=5"], "a parameter is given as -p sim.max_steps:=5"),
    ],
)
def test_a_word_that_no_option_takes_is_answered_with_what_was_meant(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks who types in haste, or as for `ros2 launch`: a list of all options hides the one letter that is wrong."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["record", "--task", "window_opne"], "task 'window_opne'"),
        (["finetune", "--seed", "one"], "seed is 'one'"),
        (["pretrain", "-p", "agent.alhpa:=1"], "did you mean agent.alpha"),
        (["pretrain", "-p", "agent.alpha"], "'agent.alpha' is not an assignment"),
        (["evaluate", "--domain", "233"], "domain is '233'"),
        (["report", "no/such/run"], "no/such/run"),
    ],
)
def test_a_problem_is_one_sentence_and_ends_with_1(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_is_not_installed_is_named_with_what_to_do(tmp_path: Path) -> None:
    """Breaks the first try: who forgets to enter the environment would see a traceback."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from moto_ros.cli.main import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "report", "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "error: the module 'torch' is not installed; run `make build`, `. tools/enter.sh`, then `moto doctor`\n"
    )


def test_the_list_of_commands_needs_nothing_but_python() -> None:
    code = "import sys; from moto_ros.cli.main import main; main([])"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert "usage: moto" in done.stderr
