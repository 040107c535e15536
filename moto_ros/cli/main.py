"""Entry point of `moto`: finds the sub-command, runs it, prints a problem as one sentence."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from moto_ros.errors import MotoError, sentence
from moto_ros.screen import ReaderGone, screens
from moto_ros.stopping import leave, signals_handled_by
from moto_ros.terminal import replace_unknown_letters

PROBLEM = 1
STATUS = """exit status: 0 done; 1 a problem, in one sentence; 2 wrong arguments; 128 + n when signal n stopped it
(130 Ctrl-C, 143 SIGTERM, 129 a closed terminal, 141 a closed output pipe) or ended a process of the system;
else the status of the process that ended the system"""

COMMANDS = {
    "finetune": (
        "finetune",
        "record demonstrations if there are none, pre-train, fine-tune, evaluate; a later call resumes",
    ),
    "record": ("systems", "record demonstrations of a task into bags, one per episode"),
    "pretrain": ("systems", "pre-train an agent from recorded bags"),
    "evaluate": ("systems", "run evaluation episodes with a checkpoint's policy and print its success rate"),
    "up": ("up", "start the processes of a system; all stop when one ends or on Ctrl-C"),
    "report": ("report", "write the HTML report of one run, or compare several"),
    "benchmark": ("benchmark", "run a suite of experiments on simulated worlds, resume it, draw the figures"),
    "bag": ("bag", "show what bags contain: episodes, steps, topics, rates, gaps, success, what is wrong"),
    "export": ("export", "write bags as a dataset of another program: lerobot"),
    "import": ("import_", "write a dataset of another program as bags: lerobot"),
    "workspace": ("workspace", "measure the box that an arm may move in, by guiding the arm by hand"),
    "calibrate": (
        "calibrate",
        "find a camera's pose (m, quaternion) on the arm's base or hand from views of a board",
    ),
    "doctor": (
        "doctor",
        "check this machine: what it has, what it lacks and what to do; exits 1 if something is missing",
    ),
}
"""Sub-command -> module in this folder and help. A module has `configure(parser)` and `run(options)`."""


def parser(chosen: str = "") -> argparse.ArgumentParser:
    """Return the parser of `moto`; only the chosen sub-command's module is imported and gets its options.

    So `moto doctor` works where the requirements of the others are not installed. Raises ModuleNotFoundError where
    those of the chosen one are not.
    """
    description = "Pre-train a manipulation policy from rosbags, fine-tune it live over ROS 2 topics."
    made = argparse.ArgumentParser(prog="moto", description=description, epilog=STATUS)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in COMMANDS.items():
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=STATUS)
        if name == chosen:
            module = _module(name)
            module.configure(added)
            added.set_defaults(function=module.run)
    return made


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"moto_ros.cli.{COMMANDS[command][0]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command and return its exit status.

    A signal ends it at once, also while it imports, unless a sub-command has started processes or has work to save.
    """
    replace_unknown_letters()
    words = sys.argv[1:] if arguments is None else list(arguments)
    with signals_handled_by(leave), screens(raise_when_closed=True):
        return _run(words)


def _run(words: list[str]) -> int:
    try:
        os.getcwd()  # a folder that was deleted would end the process within a library
        options = _parsed(parser(next((word for word in words if word in COMMANDS), "")), words)
        status = int(options.function(options))
        sys.stdout.flush()
        return status
    except ReaderGone:
        return 128 + signal.SIGPIPE
    except (MotoError, OSError) as error:
        return _problem(sentence(error))
    except ModuleNotFoundError as error:
        advice = "run `make build`, `. tools/enter.sh`, then `moto doctor`"
        return _problem(f"the module '{error.name}' is not installed; {advice}")


def _parsed(made: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Parse the command line; an unknown option ends the command with status 2 and a suggestion."""
    options, unknown = made.parse_known_args(words)
    if unknown:
        made.error(f"unrecognized arguments: {' '.join(unknown)}; {_meant(unknown[0], options)}")
    return options


def _meant(word: str, options: argparse.Namespace) -> str:
    """Return what to do about an unknown option or word of the chosen sub-command."""
    name, assigned, value = word.lstrip("-").partition(":=")
    known = [option for option in vars(options) if option not in ("command", "function")]
    if assigned:  # as ros2 launch and ros2 run take them
        return f"expected --{name} {value}" if name in known else f"a parameter is given as -p {word.lstrip('-')}"
    close = difflib.get_close_matches(name.partition("=")[0], known)
    meant = f"did you mean {' or '.join(f'--{option}' for option in close)}? " if close else ""
    return f"{meant}`moto {options.command} --help` lists the options"


def _problem(sentence: str) -> int:
    with contextlib.suppress(ReaderGone):  # without a reader the status still says it
        print(f"error: {sentence}", file=sys.stderr)
    return PROBLEM


if __name__ == "__main__":
    sys.exit(main())
