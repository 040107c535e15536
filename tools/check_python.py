"""Say whether this interpreter can carry the environment: version, pip for virtual environments, headers, compiler."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 13)


def missing_packages() -> list[str]:
    """Return the Debian packages that would add what this interpreter lacks."""
    lacking = {
        "python3-venv": importlib.util.find_spec("ensurepip") is None,
        "python3-dev": not Path(sysconfig.get_path("include"), "Python.h").is_file(),
        "g++": shutil.which("c++") is None,
    }
    return [package for package, lacks in lacking.items() if lacks]


def main() -> int:
    """Print the Debian packages to add; with a version that ROS's wheels do not cover, say so and return 1."""
    found = ".".join(map(str, sys.version_info[:3]))
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        advice = "expected 3.10 to 3.13; set PYTHON=python3.12"
        print(f"error: {sys.executable} is Python {found}, {advice}", file=sys.stderr)
        return 1
    print(*missing_packages())
    return 0


if __name__ == "__main__":
    sys.exit(main())
