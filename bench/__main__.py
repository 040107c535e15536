"""Run every benchmark of this folder: each prints its table and JSON; all results together go to one JSON file."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from moto_ros.training.run_folder import machine, versions

FOLDER = Path(__file__).resolve().parent


def benchmarks() -> dict[str, Path]:
    """Return every benchmark by name, from its file `bench_<name>.py`."""
    return {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}


def measure(script: Path) -> Any:
    """Run one benchmark in a process of its own and return its results, or None when it failed."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        done = subprocess.run([sys.executable, str(script), "--json", str(result)], check=False)
        return json.loads(result.read_text(encoding="utf-8")) if done.returncode == 0 else None


def main() -> int:
    """Run the benchmarks that are named, or all; return 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(benchmarks())}; default: all")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="file to write (default: bench.json)")
    options = parser.parse_args()
    for name in options.names:
        if name not in benchmarks():
            parser.error(f"no benchmark '{name}', expected one of {', '.join(benchmarks())}")
    chosen = {name: path for name, path in benchmarks().items() if name in (options.names or benchmarks())}
    results = {name: measure(path) for name, path in chosen.items()}
    text = json.dumps({"machine": machine(), "versions": versions(), "results": results}, indent=1)
    options.json.write_text(text + "\n", encoding="utf-8")
    print(f"all results: {options.json}")
    return int(any(result is None for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
