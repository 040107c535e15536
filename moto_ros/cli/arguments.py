"""The arguments of a system as command-line options, made from `bringup.ARGUMENTS`: one name everywhere."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Container

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
    shown = f"{argument.doc} (default: {argument.default})" if argument.default else argument.doc
    choices = argument.choices or None
    metavar = None if choices else argument.name.upper()
    parser.add_argument(f"--{argument.name}", choices=choices, metavar=metavar, help=shown.replace("%", "%%"))


def given_arguments(options: argparse.Namespace) -> dict[str, str]:
    """Return the system arguments that the user gave, as `bringup.resolve` takes them."""
    given = {name: getattr(options, name, None) for name in NAMES if name != OVERRIDES}
    overrides = {OVERRIDES: shlex.join(options.parameter)} if options.parameter else {}
    return {name: value for name, value in given.items() if value is not None} | overrides
