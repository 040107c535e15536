"""Output of the benchmarks: one line of JSON, and a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(results: Any, file: Path | None) -> None:
    """Print the results as one line of JSON, and write them to `file` if one is given."""
    print(json.dumps(results))
    if file:
        file.write_text(json.dumps(results, indent=1), encoding="utf-8")
