"""The arguments of a system as command-line options, made from `bringup.ARGUMENTS`: one name everywhere."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Container
from functools import partial

from moto_ros.registry import expected_choice
from moto_ros.systems.bringup import ARGUMENTS, Argument

OVERRIDES = "parameters"
"""The argument that collects parameter overrides; on the command line it is -p, as often as needed."""

NAMES = tuple(argument.name for argument in ARGUMENTS)


def add_arguments(parser: argparse.ArgumentParser, only: Container[str] = NAMES) -> None:
    """Add the system arguments, or `only` those named, as options of the same name, and -p."""
    for argument in ARGUMENTS:
        if argument.name in only and argument.name != OVERRIDES:
            _add(parser, argument)
    parser.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME:=VALUE",
        help="set a parameter of every node that has it, or of one: NODE.NAME:=VALUE; may be repeated",
    )


def _add(parser: argparse.ArgumentParser, argument: Argument) -> None:
    shown = f"{argument.help} (default: {argument.default})" if argument.default else argument.help
    # Not argparse's own `choices`: its error does not say that a registry also takes "module:class".
    metavar = f"{{{','.join(argument.choices)}}}" if argument.choices else argument.name.upper()
    checked = partial(_checked, argument)
    parser.add_argument(f"--{argument.name}", type=checked, metavar=metavar, help=shown.replace("%", "%%"))


def _checked(argument: Argument, value: str) -> str:
    """Return the value of an option; argparse shows the error with the usage and ends with status 2."""
    if argument.choices and value not in argument.choices:
        raise argparse.ArgumentTypeError(f"found '{value}', expected {expected_choice(argument.choices)}")
    return value


def given_arguments(options: argparse.Namespace) -> dict[str, str]:
    """Return the system arguments that the user gave, as `bringup.resolve` takes them."""
    given = {name: getattr(options, name, None) for name in NAMES if name != OVERRIDES}
    overrides = {OVERRIDES: shlex.join(options.parameter)} if options.parameter else {}
    return {name: value for name, value in given.items() if value is not None} | overrides
