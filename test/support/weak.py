"""Commands run as a person whom file permissions bind, also where the tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache

import pytest


@lru_cache
def bound_by_permissions() -> tuple[str, ...]:
    """Return the words before a command that permissions shall bind; skip the test where root cannot be bound."""
    if os.geteuid() != 0:
        return ()
    words = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    if not shutil.which("setpriv") or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("the tests run as root, whom no permission binds, and setpriv cannot take that away")
    return words


def run_weak(command: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command that permissions bind, its output as text."""
    return run([*bound_by_permissions(), *command], **options)


def moto(*words: str) -> list[str]:
    """Return the command that runs `moto` as it is installed."""
    return [sys.executable, "-m", "moto_ros.cli.main", *words]


def run(command: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, its output as text, in an environment with these variables changed or (None) unset."""
    changed = options.pop("environment", {})
    assert isinstance(changed, dict)
    variables = {name: value for name, value in {**os.environ, **changed}.items() if value is not None}
    cwd = options.pop("cwd", None)
    assert not options
    return subprocess.run(
        list(command),
        env=variables,
        cwd=str(cwd) if cwd else None,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=240,
        check=False,
    )
