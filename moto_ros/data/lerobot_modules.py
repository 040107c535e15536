"""The libraries that read and write LeRobot datasets: PyAV and pyarrow, imported when first needed."""

from __future__ import annotations

import importlib
from typing import Any

from moto_ros.errors import MotoError


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        text = f"the module '{error.name}' is not installed, expected pyarrow and av for LeRobot datasets"
        raise MotoError(f"{text}; install them: pip install 'moto_ros[lerobot]', or pip install pyarrow av") from error


def pyav() -> Any:
    """Return the module `av` (PyAV); MotoError where it is not installed."""
    return _module("av")


def arrow() -> Any:
    """Return the module `pyarrow`; MotoError where it is not installed."""
    return _module("pyarrow")


def parquet() -> Any:
    """Return the module `pyarrow.parquet`; MotoError where it is not installed."""
    return _module("pyarrow.parquet")
