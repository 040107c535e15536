"""`moto import lerobot`: a dataset of another program as bags."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.progress import track

from moto_ros.cli.arguments import add_arguments, given_arguments
from moto_ros.cli.bag_mapping import MAPPING, mapping
from moto_ros.cli.console import progress_console
from moto_ros.data.episode_bag import write_bag
from moto_ros.data.lerobot_dataset import LeRobotFolder
from moto_ros.data.lerobot_import import REWARD_SOURCES, ActionScale, EpisodeImporter
from moto_ros.data.lerobot_map import dataset_map
from moto_ros.data.new_folder import new_folder
from moto_ros.errors import MotoError
from moto_ros.training.run_schedule import DEMONSTRATION_IDS


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-command `lerobot` and its options."""
    commands = parser.add_subparsers(dest="import_command", required=True, metavar="COMMAND")
    text = "write a LeRobot dataset, version 3, as bags in the form of this program, one an episode"
    made = commands.add_parser("lerobot", help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=parser.epilog)
    made.add_argument("dataset", type=Path, metavar="DATASET", help="the dataset's folder, which has meta/info.json")
    made.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="new folder for the bags")
    made.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="FEATURE=NAME",
        help="camera of an image (observation.images.top=agent), or proprio field of a vector or of a part of it "
        "(observation.state[0:3]=ee_position); may be repeated",
    )
    made.add_argument(
        "--reward",
        choices=REWARD_SOURCES,
        default="",
        help="source of rewards (default: dataset; without any there, 1 and success at the end of each episode)",
    )
    for end, name in (("low", "-1"), ("high", "+1")):
        text = f"command that becomes action {name}: one number, or one for each entry, with commas"
        made.add_argument(f"--action-{end}", type=_numbers, default=(), metavar="X,...", help=text)
    add_arguments(made, only=MAPPING)
    made.set_defaults(function=run)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"found '{text}', expected numbers with commas between them") from None


def run(options: argparse.Namespace) -> int:
    """Write the bags and print what they hold; nothing is left behind where that fails."""
    given = {name: value for name, value in given_arguments(options).items() if name in MAPPING}
    dataset = LeRobotFolder(options.dataset)
    layout = mapping(given)[0] if "task" in given else None
    taken = dataset_map(dataset, layout, options.map)
    importer = EpisodeImporter(dataset, taken, options.reward, _scale(options, taken.action_size))
    steps = 0
    with new_folder(options.output) as folder:
        for row in track(dataset.episodes, "episodes", console=progress_console()):
            rows = importer.rows(row, DEMONSTRATION_IDS)
            write_bag(folder / f"episode_{rows.number:07d}", rows)
            steps += len(rows.stamps) - 1
    print(f"{options.output}: {len(dataset.episodes)} bags, {steps} steps at {dataset.fps:g} Hz")
    for camera, key in taken.cameras.items():
        print(f"camera {camera}: {key}")
    for name, part in taken.states.items():
        print(f"proprio {name}: {part.key}[{part.start}:{part.stop}]")
    print(f"action: {taken.action_size} entries; reward: {importer.reward}")
    unused = [key for key in dataset.cameras if key not in taken.cameras.values()]
    if unused:
        print(f"not taken: {', '.join(unused)}; --map names its camera", file=sys.stderr)
    return 0


def _scale(options: argparse.Namespace, size: int) -> ActionScale:
    low, high = options.action_low, options.action_high
    if bool(low) != bool(high):
        raise MotoError("one of --action-low and --action-high is given, expected both or none; give the other")
    for name, values in (("low", low), ("high", high)):
        if len(values) not in (0, 1, size):
            raise MotoError(f"--action-{name} has {len(values)} numbers, expected 1 or {size}; correct it")
    pairs = zip(low * (size // max(1, len(low))), high * (size // max(1, len(high))), strict=True)
    if any(a >= b for a, b in pairs):
        raise MotoError("--action-low is not below --action-high in every entry, expected so; swap or fix them")
    return ActionScale(low, high)
