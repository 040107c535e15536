"""`moto export lerobot`: bags as a dataset of another program."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from rich.progress import track

from moto_ros.cli.arguments import add_arguments, given_arguments
from moto_ros.cli.bag_mapping import MAPPING, mapping
from moto_ros.cli.console import progress_console
from moto_ros.data.bag_files import find_bags
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.joints import STATE, JointOrder
from moto_ros.data.lerobot_export import DatasetWriter
from moto_ros.data.lerobot_modules import arrow, pyav
from moto_ros.data.lerobot_video import CODECS
from moto_ros.data.new_folder import new_folder
from moto_ros.errors import MotoError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-command `lerobot` and its options."""
    commands = parser.add_subparsers(dest="export_command", required=True, metavar="COMMAND")
    text = "write bags as a LeRobot dataset, version 3: Parquet tables and MP4 videos"
    made = commands.add_parser("lerobot", help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=parser.epilog)
    made.add_argument("--bags", type=Path, required=True, help="bag, or folder of bags and loose files")
    made.add_argument("--output", type=Path, required=True, metavar="DATASET", help="the new dataset's folder")
    made.add_argument("--instruction", default="", help="the task in words (default: the task's name)")
    made.add_argument("--codec", choices=tuple(CODECS), default="h264", help="codec of the videos (default: h264)")
    made.add_argument("--robot-type", default="", help="name of the robot, as the dataset shall have it")
    made.add_argument("--fps", type=_rate, default=0, help="steps a second, whole (default: as in the bags' stamps)")
    add_arguments(made, only=MAPPING)
    made.set_defaults(function=run)


def _rate(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"found '{text}', expected a whole number of Hz of at least 1")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Write the dataset and print what it holds; nothing is left behind where that fails."""
    arrow(), pyav()
    given = {name: value for name, value in given_arguments(options).items() if name in MAPPING}
    if "task" not in given:
        raise MotoError("--task is missing, expected the task whose cameras and proprio are exported; name it")
    layout, topics = mapping(given)
    bags, joints = find_bags(options.bags), JointOrder()
    instruction = options.instruction or Path(given["task"]).stem.replace("_", " ")
    with new_folder(options.output) as folder:
        writer = DatasetWriter(folder, layout, instruction, options.codec, options.robot_type, options.fps)
        for bag in track(bags, "bags", console=progress_console()):
            reading = read_episodes(bag, layout, topics, joints)
            for episode in reading.episodes:
                writer.add(episode)
            for problem in reading.problems:
                print(f"problem {bag.name}: {problem}", file=sys.stderr)
        written = writer.close(joints.known.get(STATE, ()))
    say = partial(print, flush=True)
    say(f"{options.output}: {written.episodes} episodes, {written.frames} frames at {writer.fps} Hz")
    for key, psnr in written.psnr.items():
        say(f"{key}: {options.codec}, PSNR {psnr:.1f} dB")
    return 0
