"""Mending a bag whose recorder was killed: index and metadata.yaml are made anew from what is readable."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from moto_ros.data.bag_files import METADATA, bag_meta, find_bags, read_messages
from moto_ros.data.bag_metadata import sync_folder
from moto_ros.data.bag_writer import BagWriter, Counts
from moto_ros.data.layout import Problems
from moto_ros.data.mcap_stream import read_summary
from moto_ros.errors import refusal


def needs_recovery(bag: Path) -> bool:
    """Whether a bag folder with MCAP data lacks its metadata.yaml or a file's index."""
    files = sorted(bag.glob("*.mcap"))
    if any(refusal(path) for path in files):
        return False  # what may not be read is not damaged, and would be lost
    return bool(files) and (not (bag / METADATA).is_file() or any(read_summary(path) is None for path in files))


def recover_bag(bag: Path) -> tuple[Counts, list[str]]:
    """Rewrite a bag folder from its readable messages; return what was kept, and a sentence for each loss.

    The old data stay until the new ones are durable; killed in between, it can be called again.
    """
    problems = Problems()
    work = bag.with_name(f".{bag.name}.recovering") / bag.name
    shutil.rmtree(work.parent, ignore_errors=True)
    writer = BagWriter(work, {**bag_meta(bag), "recovered": "true"})
    for topic, stamp, data in read_messages(bag, problems):
        writer.add_topic(topic.name, topic.type_name, topic.definition or None)
        writer.write(topic.name, data, stamp)
    counts = writer.close()
    _swap(work, bag)
    return counts, problems.sentences()


def _swap(work: Path, bag: Path) -> None:
    """Put the new file in the place of the old ones; the metadata last, since it marks a whole bag."""
    new = next(work.glob("*.mcap"))
    old = [path for path in bag.glob("*.mcap") if path.name != new.name]
    (bag / METADATA).unlink(missing_ok=True)
    os.replace(new, bag / new.name)
    for path in old:
        path.unlink()
    os.replace(work / METADATA, bag / METADATA)
    sync_folder(bag)
    shutil.rmtree(work.parent)


def recover_all(folder: Path) -> dict[Path, list[str]]:
    """Recover every bag in a folder tree that needs it; return what was lost of each."""
    if not folder.is_dir() or not any(folder.rglob("*.mcap")):
        return {}
    return {bag: recover_bag(bag)[1] for bag in find_bags(folder) if bag.is_dir() and needs_recovery(bag)}
