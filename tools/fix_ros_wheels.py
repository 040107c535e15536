"""Fix the ROS wheels of this environment so that interface packages build: their CMake files name the build machine.

The wheels' CMake files hold the include folders of the Python and the NumPy that built them; both are replaced by those
of the interpreter that runs this. Running it again changes nothing.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy

FOREIGN = {
    r"/opt/python/cp\d+-cp\d+/include/python3\.\d+": sysconfig.get_path("include"),
    r"/opt/python/cp\d+-cp\d+/lib/python3\.\d+/site-packages/numpy/_?core/include": numpy.get_include(),
}


def fix(path: Path) -> bool:
    """Replace foreign include folders in one CMake file; return whether it changed."""
    before = after = path.read_text(encoding="utf-8")
    for pattern, here in FOREIGN.items():
        after = re.sub(pattern, here, after)
    if after != before:
        # The file may be a hard link into the installer's cache, which other environments are made from.
        written = path.with_suffix(".new")
        written.write_text(after, encoding="utf-8")
        written.replace(path)
    return after != before


def main() -> None:
    """Fix every CMake file below this interpreter's prefix."""
    changed = [path for path in Path(sys.prefix, "share").rglob("*.cmake") if fix(path)]
    print(f"fixed {len(changed)} CMake files")


if __name__ == "__main__":
    main()
