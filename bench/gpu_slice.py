"""One slice of work for a GPU: missing measurements, then runs of a suite until the time is over."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

UNFINISHED = 75
"""Exit status of a slice that another one resumes (EX_TEMPFAIL)."""

SAVING = 75.0
"""Time that the suite's runs are left to save their work in, at most, s."""

SHORTEST = 20.0
"""Nothing is begun with less time than this, s."""


def measurements(options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the command of every measurement by name; each writes OUT/<name>.json when it is complete."""
    common = ["--device", options.device, "--seconds", str(options.seconds)]
    presets = ["--size", options.size]
    commands = {
        "machine": ["gpu_machine.py"],
        "moto": ["gpu_rates.py", "moto", *presets, *common],
        "fowm": ["gpu_rates.py", "fowm", *presets, *common],
        "profile": ["gpu_rates.py", "profile", *presets, *common],
        "frames": ["gpu_frames.py", "--seconds", str(options.seconds), "--world", options.world],
    }
    return {name: [sys.executable, str(FOLDER / script), *more] for name, (script, *more) in commands.items()}


def measure(name: str, command: Sequence[str], out: Path, left: float) -> bool:
    """Make one measurement unless it exists; return whether it exists now. Its output goes to OUT/<name>.log."""
    result, partial = out / f"{name}.json", out / f"{name}.part"
    if result.exists():
        print(f"{name}: there already")
        return True
    with (out / f"{name}.log").open("w", encoding="utf-8") as log:
        try:
            done = subprocess.run([*command, "--json", str(partial)], stdout=log, stderr=log, timeout=left, check=False)
        except subprocess.TimeoutExpired:
            print(f"{name}: not finished in this slice")
            return False
    if done.returncode:
        last = (out / f"{name}.log").read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise SystemExit(f"error: {name} failed ({''.join(last)}); see {out / name}.log, fix it and run again")
    partial.replace(result)
    print(f"{name}: done")
    return True


def run_suite(options: argparse.Namespace, out: Path, left: float) -> int:
    """Run the suite for the remaining time; return the exit status."""
    from moto_ros.cli.main import main as moto
    from moto_ros.experiments.suite import chosen, read_suite, runs_of
    from moto_ros.experiments.suite_folder import SuiteFolder
    from moto_ros.experiments.suite_runner import SuiteRunner

    place, given = out / options.suite, [f"device:={options.device}", f"agent.precision:={options.precision}"]
    given += [f"agent.{name}:=true" for name in options.switch]
    words = ["benchmark", options.suite, "--output", str(place), "--tasks", *options.tasks, "--jobs", str(options.jobs)]
    words += ["--seconds", str(left)]
    for text in given:
        words += ["-p", text]
    status = moto([*words, *options.more])
    suite = chosen(read_suite(options.suite, given), tasks=options.tasks, methods=[], seeds=[])
    return status or (UNFINISHED if SuiteRunner(runs_of(suite), SuiteFolder(place)).unfinished() else 0)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; what follows `--` is for `moto benchmark`."""
    words = list(sys.argv[1:] if given is None else given)
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="gpu.sh WHEELS", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument(
        "--slice", type=float, default=540.0, help="the slice ends after this long, saving included [s]"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each figure that is measured [s]")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--size", default="paper", help="preset of the agents that are measured")
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"), help="of the suite's runs")
    parser.add_argument(
        "--switch", nargs="*", default=["compile", "compile_steps"], help="settings of agents that the runs switch on"
    )
    parser.add_argument("--world", default="metaworld/drawer-open-v3", help="whose frames are counted")
    parser.add_argument("--suite", default="metaworld10")
    parser.add_argument("--tasks", nargs="+", default=["drawer-open-v3", "hammer-v3"], help="of the suite")
    parser.add_argument("--jobs", type=int, default=4, help="runs at once on the GPU")
    options = parser.parse_args(words[:cut])
    options.more = words[cut + 1 :]
    return options


def main() -> int:
    """Do what fits into the slice; 0 when everything is done, 75 when the same command has to be run again."""
    start, options = time.monotonic(), arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, command in measurements(options).items():
        left = options.slice - (time.monotonic() - start)
        if left < SHORTEST or not measure(name, command, options.out, left):
            return UNFINISHED
    left = options.slice - (time.monotonic() - start) - min(SAVING, options.slice / 4)
    return run_suite(options, options.out, left) if left > SHORTEST else UNFINISHED


if __name__ == "__main__":
    sys.exit(main())
