"""Install packages with uv as pip is configured to: from its indexes and folders, under its constraints.

uv takes a fraction of pip's time, but reads neither pip.conf nor PIP_* variables. Usage: uv_install.py ARGUMENTS of
`uv pip install`, with the interpreter of the environment to install into.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Sequence

OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "constraint": "--constraints",
    "trusted-host": "--allow-insecure-host",
}
"""pip's setting, which may hold several values -> uv's option."""

FLAGS = {"no-index": "--no-index", "pre": "--prerelease=allow"}
VARIABLES = {"cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY", "default-timeout": "UV_HTTP_TIMEOUT"}
"""pip's setting -> environment variable that does the same for uv."""

SECTIONS = ("global", "install", ":env:")
"""Sections of pip's configuration that count for an installation; a later one wins."""


def settings(listed: str) -> dict[str, str]:
    """Return pip's settings for an installation from the output of `pip config list`."""
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listed.splitlines():
        name, equals, value = line.partition("=")
        section, dot, key = name.rpartition(".")
        if equals and dot and section in found:
            found[section][key] = str(ast.literal_eval(value))
    return {key: value for section in SECTIONS for key, value in found[section].items()}


def options(given: dict[str, str]) -> list[str]:
    """Return uv's options for pip's settings."""
    words = []
    for key, option in OPTIONS.items():
        for value in given.get(key, "").split():
            words += [option, value]
    return words + [flag for key, flag in FLAGS.items() if given.get(key, "").lower() in ("1", "true", "yes", "on")]


def variables(given: dict[str, str]) -> dict[str, str]:
    """Return environment variables for pip's settings."""
    return {name: given[key] for key, name in VARIABLES.items() if given.get(key)}


def main(arguments: Sequence[str]) -> int:
    """Run uv and return its exit status."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    given = settings(subprocess.run(pip, capture_output=True, encoding="utf-8", check=True).stdout)
    # Of all indexes the newest version counts, as for pip; uv's own choice is the first index that has the package.
    command = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable]
    command += ["--index-strategy", "unsafe-best-match", "--no-progress", *options(given), *arguments]
    return subprocess.run(command, env={**os.environ, **variables(given)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
