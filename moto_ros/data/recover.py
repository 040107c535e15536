"""Recovers a bag whose recorder was killed: its index and metadata.yaml are written from the readable messages.

Only a bag of this program's recorder is recovered: a file `<bag>/<bag>_0.mcap` that the recorder wrote
(`is_recorder_file`), without a metadata.yaml, which the recorder writes when it closes a bag. No other file is changed.
The file of the killed recorder is kept beside the new one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from mcap.records import Header, McapRecord, Metadata
from mcap.stream_reader import StreamReader

from moto_ros.data.bag_files import META_RECORD, METADATA
from moto_ros.data.bag_metadata import file_text, write_temporary
from moto_ros.data.bag_writer import LIBRARY, BagWriter
from moto_ros.data.layout import Problems
from moto_ros.data.mcap_stream import UNREADABLE, first_metadata, read_mcap, read_summary
from moto_ros.errors import MotoError
from moto_ros.files import sync_folder

BACKUP_SUFFIX = ".before_recovery"
"""Added to the name of a file that was recovered; readers ignore such files."""

HEAD_BYTES = 2**16
"""Bytes at the start of a file that are searched for the recorder's metadata record."""


def is_recorder_file(path: Path) -> bool:
    """Return whether this program's recorder began to write an MCAP file; the rest of it may be damaged.

    Its header names moto_ros as the library that wrote it, and the recorder's metadata record comes before all data.
    """
    try:
        with path.open("rb") as file:
            reader = StreamReader(io.BytesIO(file.read(HEAD_BYTES)), emit_chunks=True)
            head = list(takewhile(lambda record: isinstance(record, (Header, Metadata)), _records(reader)))
    except OSError:
        return False
    ours = isinstance(head[0], Header) and head[0].library.split(" ")[0] == LIBRARY if head else False
    return ours and any(isinstance(record, Metadata) and record.name == META_RECORD for record in head[1:])


def _records(reader: StreamReader) -> Iterator[McapRecord]:
    """Yield records up to the first that is cut or damaged."""
    try:
        yield from reader.records
    except UNREADABLE:
        return


def own_file(bag: Path) -> Path | None:
    """Return the MCAP file in the folder `bag`, or None where the recorder did not write it."""
    path = bag / f"{bag.name}_0.mcap"
    return path if path.is_file() and not path.is_symlink() and is_recorder_file(path) else None


def needs_recovery(bag: Path) -> bool:
    """Whether a folder is a bag of this program's recorder that was not closed."""
    return not (bag / METADATA).exists() and own_file(bag) is not None


def recover_bag(bag: Path) -> str:
    """Complete an unclosed bag of the recorder and return a sentence on what was done; MotoError when that fails.

    A file with an index is not changed and gets its metadata.yaml. The readable messages of any other one are copied to
    a new file, and it is kept with `BACKUP_SUFFIX` added to its name. If killed, it can be called again.
    """
    path = own_file(bag)
    if path is None:
        raise MotoError(
            f"{bag}: is not a bag of this program's recorder, expected its file {bag.name}_0.mcap; leave it as it is"
        )
    try:
        return _close(path) if read_summary(path) is not None else _rewrite(path)
    except OSError as error:
        raise MotoError(f"{bag}: {error.strerror}, so it stays as it is; free the disk or its permissions") from error


def _close(path: Path) -> str:
    """Write the metadata.yaml of a complete file from the text in it."""
    with path.open("rb") as file:
        try:
            records = list(SeekingReader(file).iter_metadata())
        except (McapError, ValueError) as error:
            raise MotoError(f"{path}: its index cannot be read ({error}); it stays as it is") from error
    texts = [record.metadata.get("serialized_metadata") for record in records if record.name == "rosbag2"]
    if not texts or not texts[-1]:
        raise MotoError(f"{path}: has no record 'rosbag2' to write metadata.yaml from; it stays as it is")
    write_temporary(path.parent / METADATA, file_text(texts[-1])).rename(path.parent / METADATA)
    sync_folder(path.parent)
    return "recovered: only metadata.yaml was missing"


def _rewrite(path: Path) -> str:
    """Replace `path` by a complete file of its readable messages, and keep the original under another name."""
    bag, problems, work = path.parent, Problems(), _work(path.parent)
    _clear(work)
    try:
        _copy(path, work, problems)
        kept = _unused(path.with_name(f"{path.name}{BACKUP_SUFFIX}"))
        path.rename(kept)
        (work / path.name).rename(path)
        (work / METADATA).rename(bag / METADATA)
        sync_folder(bag)
    finally:
        _clear(work)
    losses = "; ".join(problems.sentences()) or "nothing lost up to the last flush"
    return f"recovered: {losses}; the original file is kept as {kept.name} until you remove it"


def _copy(path: Path, work: Path, problems: Problems) -> None:
    writer = BagWriter(work, {**first_metadata(path, META_RECORD), "recovered": "true"})
    for topic, stamp, data in read_mcap(path, problems):
        writer.add_topic(topic.name, topic.type_name, topic.definition or None)
        writer.write(topic.name, data, stamp)
    counts = writer.close()
    if not counts.complete:
        raise MotoError(f"{path}: {counts.problem()}; it stays as it is")


def _work(bag: Path) -> Path:
    """Return the folder in which the new file of a bag is written, so that its names are those of the bag."""
    return bag.with_name(f".{bag.name}.recovering") / bag.name


def _unused(path: Path) -> Path:
    """Return a name like `path` that no file has."""
    found, count = path, 1
    while found.exists():
        count += 1
        found = path.with_name(f"{path.name}-{count}")
    return found


def _clear(work: Path) -> None:
    """Remove the files of a recovery, and nothing else; an interrupted replacement of the file is undone first."""
    bag, name = work.parent.with_name(work.name), f"{work.name}_0.mcap"
    kept = sorted(bag.glob(f"{name}{BACKUP_SUFFIX}*"), key=lambda path: path.stat().st_ctime_ns)
    if work.is_dir() and kept and not (bag / name).exists():
        kept[-1].rename(bag / name)
    for made in (name, f".{name}.part", METADATA, f".{METADATA}.tmp"):
        (work / made).unlink(missing_ok=True)
    for folder in (work, work.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def remove_bag(bag: Path) -> None:
    """Remove a bag that this program has written, closed or not; MotoError when it holds other files."""
    own = {path.name for path in [own_file(bag)] if path} | {f".{bag.name}_0.mcap.part", METADATA, f".{METADATA}.tmp"}
    entries = sorted(bag.iterdir()) if bag.is_dir() and not bag.is_symlink() else [bag]
    if foreign := [path for path in entries if path.name not in own]:
        raise MotoError(f"{foreign[0]}: was not written by moto_ros and is in the way of {bag.name}; move it away")
    for path in entries:
        path.unlink()
    bag.rmdir()


def recover_all(folder: Path) -> dict[Path, str]:
    """Recover every bag in a folder tree that needs it; return for each a sentence on what was done, or why not."""
    for unfinished in sorted(folder.rglob(".*.recovering")):
        _clear(unfinished / unfinished.name[1 : -len(".recovering")])
    bags = {path.parent for path in folder.rglob("*_0.mcap") if path.name == f"{path.parent.name}_0.mcap"}
    found = sorted(bag for bag in bags if not _hidden(bag, folder) and needs_recovery(bag))
    return {bag: _recovered(bag) for bag in found}


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _recovered(bag: Path) -> str:
    try:
        return recover_bag(bag)
    except MotoError as error:
        return f"not recovered: {error}"
