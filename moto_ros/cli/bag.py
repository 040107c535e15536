"""`moto bag info BAG...`: what bags contain, as the learner would read them, and what is wrong with them."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from moto_ros.cli.arguments import add_arguments, given_arguments
from moto_ros.cli.bag_mapping import MAPPING, mapping
from moto_ros.cli.console import console
from moto_ros.data.bag_files import find_bags
from moto_ros.data.bag_info import BagFacts, EpisodeRow, TopicRow, bag_facts
from moto_ros.data.joints import JointOrder
from moto_ros.data.reading_progress import ReadingProgress
from moto_ros.errors import MotoError

KIB = 1024
TOPIC_COLUMNS = ("topic", "type", "role", "messages", "rate, Hz", "longest pause, s", "KiB")
EPISODE_COLUMNS = ("bag", "episode", "purpose", "steps", "time, s", "return", "success", "outcome", "lost steps")
CONTROL_COLUMNS = ("human, %", "guarded")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-command `info` and its options."""
    commands = parser.add_subparsers(dest="bag_command", required=True, metavar="COMMAND")
    text = "show what bags hold and what is wrong with them; exits 1 when one gives no step to learn from"
    info = commands.add_parser("info", help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=parser.epilog)
    info.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="bag (folder or file), or folder of both")
    info.add_argument("--json", action="store_true", help="print the facts as JSON")
    add_arguments(info, only=MAPPING)


def run(options: argparse.Namespace) -> int:
    """Print the facts of every bag that is found; return 1 when one gives no step."""
    given = {name: value for name, value in given_arguments(options).items() if name in MAPPING}
    layout, topics = mapping(given) if given else (None, None)
    bags, missing = _bags(options.bags)
    progress = ReadingProgress(partial(print, file=sys.stderr, flush=True), len(bags))
    joints = None if layout is None else JointOrder()  # one for all, as a run has
    found = []
    for bag in bags:
        progress.begin(bag)
        found.append(bag_facts(bag, layout, topics, joints, progress))
    if options.json:
        print(json.dumps([facts.as_json() for facts in found], indent=1))
    else:
        _show(found)
    for sentence in missing:
        print(f"error: {sentence}", file=sys.stderr)
    return int(bool(missing) or not all(facts.episodes for facts in found))


def _bags(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the bags of every path, and a sentence for each path without one; MotoError where no path has any."""
    found: list[Path] = []
    missing: list[str] = []
    for path in paths:
        try:
            found += find_bags(path)
        except MotoError as error:
            missing.append(str(error))
    if not found:
        raise MotoError(missing[0])
    return found, missing


def _show(found: Sequence[BagFacts]) -> None:
    screen = console()
    if len(found) == 1:
        screen.print(_topics(found[0].topics))
    rows = [(Path(facts.bag).name, episode) for facts in found for episode in facts.episodes]
    if rows:
        screen.print(_episodes(rows))
    screen.print(escape(_summary(found)))
    for sentence in _problems(found):
        screen.print(f"[yellow]problem[/] {escape(sentence)}", soft_wrap=True)


def _topics(rows: Sequence[TopicRow]) -> Table:
    table = Table(*TOPIC_COLUMNS, box=box.SIMPLE_HEAD)
    for row in rows:
        rate, pause = f"{row.rate:.1f}", f"{row.longest_pause:.3f}"
        table.add_row(row.name, row.type_name, row.role or "-", str(row.count), rate, pause, f"{row.bytes / KIB:.0f}")
    return table


def _episodes(rows: Sequence[tuple[str, EpisodeRow]]) -> Table:
    table = Table(*EPISODE_COLUMNS, *CONTROL_COLUMNS, box=box.SIMPLE_HEAD)
    for bag, row in rows:
        name = f"{row.id}" if not row.part else f"{row.id} part {row.part}"
        facts = (str(row.steps), f"{row.duration:.1f}", f"{row.total_reward:g}", "yes" if row.success else "no")
        whose = (f"{100 * row.human_share:.0f}", str(row.guarded_steps))
        table.add_row(bag, name, row.purpose or "-", *facts, row.outcome or "-", str(row.lost_steps), *whose)
    return table


def _summary(found: Sequence[BagFacts]) -> str:
    rows = [episode for facts in found for episode in facts.episodes]
    size = sum(facts.bytes for facts in found) / KIB**2
    solved, steps = sum(row.success for row in rows), sum(row.steps for row in rows)
    held = f"{len(rows)} episodes, {solved} successful, {steps} steps"
    return f"{len(found)} bags, {size:.1f} MiB: {held}; {_message_counts(found)}"


def _message_counts(found: Sequence[BagFacts]) -> str:
    """Return how many messages were used, late, duplicate..., without the counts that are 0."""
    counts: Counter[str] = Counter()
    for facts in found:
        counts.update(facts.counts)
    return f"messages: {', '.join(f'{count} {name}' for name, count in counts.most_common() if count) or 'none'}"


def _problems(found: Sequence[BagFacts]) -> Iterator[str]:
    for facts in found:
        name = Path(facts.bag).name
        sentences = [*(incident.sentence() for incident in facts.incidents), *facts.problems]
        yield from (text if text.startswith(name) else f"{name}: {text}" for text in sentences)
