"""Starting ROS 2 in a node's process: what it refuses is one sentence, not a traceback."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import rclpy
from rclpy._rclpy_pybind11 import RCLError, UnknownROSArgsError

from moto_ros.errors import MotoError
from moto_ros.ros.startup import faults, not_started, refuse, usable_folders

N = TypeVar("N")


def init(arguments: Sequence[str] | None = None, **options: Any) -> None:
    """Call `rclpy.init`; raise MotoError with what is wrong with the environment or the arguments where it fails.

    A log folder that cannot be used is replaced by a new temporary one, with a line on standard error.
    """
    refuse(faults(os.environ))
    changed, why = usable_folders(os.environ, lambda: Path(tempfile.mkdtemp(prefix="moto_ros_log_")))
    if changed:
        print(why, file=sys.stderr, flush=True)
        os.environ.update(changed)
    try:
        rclpy.init(args=arguments, **options)
    except RCLError as error:
        raise not_started(str(error)) from error
    except UnknownROSArgsError as error:
        raise MotoError(f"ROS 2 does not know the arguments {error}; correct what follows --ros-args") from error


def try_init(arguments: Sequence[str] | None = None, **options: Any) -> bool:
    """Call `init`; where it fails, print what is wrong and return False."""
    try:
        init(arguments, **options)
    except MotoError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return False
    return True


def created(make: Callable[[], N]) -> N:
    """Return what `make` returns; MotoError where the middleware refuses the node."""
    try:
        return make()
    except RCLError as error:
        raise not_started(str(error)) from error
