"""sqlite bags whose recorder was killed or still writes: what is in its log is read, and no file is changed by it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.bags import Recipe, Sent, lockstep_episode
from support.weak import moto, run_weak

from moto_ros.data.bag_files import find_bags, read_messages
from moto_ros.data.cache import DecodedCache
from moto_ros.data.layout import Problems, StepLayout, TopicMap

MESSAGES = lockstep_episode(Recipe(1, 12, ("agent",), (16, 16)))
LAYOUT = StepLayout(cameras=("agent",), image_size=16, proprio=("ee_position",))
TABLES = """
    CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
                        serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);
    CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
                          data BLOB NOT NULL);
    CREATE INDEX timestamp_idx ON messages (timestamp ASC);
"""


class Recorder:
    """Writes a bag as rosbag2 does; `log` is sqlite's journal mode."""

    def __init__(self, path: Path, log: str = "WAL", page: int = 4096) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        for pragma in (f"page_size={page}", f"journal_mode={log}", "wal_autocheckpoint=0", "cache_size=5"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.executescript(TABLES)
        self.topics: dict[str, int] = {}

    def write(self, messages: list[Sent]) -> None:
        """Write messages as one transaction."""
        self.connection.execute("BEGIN")
        self.insert(messages)
        self.connection.execute("COMMIT")

    def insert(self, messages: list[Sent]) -> None:
        """Insert messages into the transaction that is open."""
        for sent in messages:
            if sent.topic not in self.topics:
                self.topics[sent.topic] = len(self.topics) + 1
                row = (self.topics[sent.topic], sent.topic, sent.type_name, "cdr", "")
                self.connection.execute("INSERT INTO topics VALUES (?, ?, ?, ?, ?)", row)
            row = (self.topics[sent.topic], sent.log_time, sent.cdr())
            self.connection.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", row)

    def checkpoint(self) -> None:
        """Move the log into the database."""
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """Return a recorder whose log holds the second half of the messages, still open."""
    found = Recorder(tmp_path / "live" / "live_0.db3")
    found.write(MESSAGES[:20])
    found.checkpoint()
    found.write(MESSAGES[20:])
    with closing(found.connection):
        yield found


def killed(recorder: Recorder, folder: Path) -> Path:
    """Copy what a recorder has on disk, as kill -9 leaves it; return the database."""
    folder.mkdir(parents=True)
    for path in recorder.path.parent.iterdir():
        if not path.name.endswith("-shm"):
            shutil.copy(path, folder / path.name)
    return folder / recorder.path.name


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Return content and time of change of every file of a folder."""
    paths = sorted(folder.iterdir())
    return {path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in paths}


def read(path: Path) -> tuple[list[bytes], list[str]]:
    """Return the messages of a bag, and the problems."""
    problems = Problems()
    return [data for _, _, data in read_messages(path, problems)], problems.sentences()


def test_all_that_a_killed_recorder_left_is_read_and_nothing_is_changed(recorder: Recorder, tmp_path: Path) -> None:
    """Half of an episode would be missing, and its success put in the middle of the task."""
    path = killed(recorder, tmp_path / "bag")
    before = digests(path.parent)
    messages, problems = read(path)
    assert messages == [sent.cdr() for sent in MESSAGES]
    assert problems == []
    assert digests(path.parent) == before


def test_a_log_that_may_not_be_read_is_named_and_the_half_before_it_is_not_used(
    recorder: Recorder, tmp_path: Path
) -> None:
    """A person would look at the rights of the database, which are good, or get half of an episode as a whole one."""
    path = killed(recorder, tmp_path / "bag")
    log = path.with_name(f"{path.name}-wal")
    log.chmod(0)
    done = run_weak(moto("bag", "info", "--json", str(path.parent)))
    log.chmod(0o644)
    assert done.returncode == 1, done.stderr
    (facts,) = json.loads(done.stdout)
    assert facts["messages"] == 0
    assert f"{log}: cannot be read (Permission denied); change its owner or permissions" in " ".join(facts["problems"])


def test_a_bag_that_cannot_be_written_to_is_read_with_its_log(recorder: Recorder, tmp_path: Path) -> None:
    path = killed(recorder, tmp_path / "bag")
    for file in (*path.parent.iterdir(), path.parent):
        file.chmod(0o555 if file.is_dir() else 0o444)
    assert len(read(path)[0]) == len(MESSAGES)
    path.parent.chmod(0o755)


def test_a_recorder_that_still_writes_is_not_disturbed(recorder: Recorder) -> None:
    """Reading must neither take its locks nor move its log; what it writes meanwhile is reported as missing."""
    problems = Problems()
    reading = read_messages(recorder.path, problems)
    first = next(reading)[2]
    recorder.write(MESSAGES[:1])
    recorder.checkpoint()
    assert [first, *(data for _, _, data in reading)] == [sent.cdr() for sent in MESSAGES]
    assert "was written to while it was read" in " ".join(problems.sentences())
    assert len(read(recorder.path)[0]) == len(MESSAGES) + 1


def test_a_transaction_that_was_cut_short_is_rolled_back(tmp_path: Path) -> None:
    """With a rollback journal, half a transaction stands in the file until it is rolled back."""
    recorder = Recorder(tmp_path / "live" / "live_0.db3", log="DELETE")
    recorder.write(MESSAGES[:20])
    recorder.connection.execute("BEGIN")
    recorder.insert(MESSAGES[20:])  # more than the page cache holds, so that pages go to the file
    path = killed(recorder, tmp_path / "bag")
    recorder.connection.execute("ROLLBACK")
    recorder.connection.close()
    assert path.with_name("live_0.db3-journal").stat().st_size > 0
    before = digests(path.parent)
    assert read(path) == ([sent.cdr() for sent in MESSAGES[:20]], [])
    assert digests(path.parent) == before


def test_the_log_of_another_file_is_named_and_left_out(recorder: Recorder, tmp_path: Path) -> None:
    path = killed(recorder, tmp_path / "bag")
    for name, options in {"pages": {"page": 1024}, "never": {"log": "DELETE"}}.items():
        other = Recorder(tmp_path / name / "other.db3", **options)
        other.write(MESSAGES[:7])
        other.connection.close()
        shutil.copy(path.with_name("live_0.db3-wal"), tmp_path / name / "other.db3-wal")
        messages, problems = read(tmp_path / name / "other.db3")
        assert len(messages) == 7
        assert "other.db3-wal: belongs to another file" in " ".join(problems)


def test_a_log_that_makes_a_whole_file_unreadable_is_left_out(recorder: Recorder, tmp_path: Path) -> None:
    """Another bag of the same recorder has pages of the same size; its log must not be laid over this one."""
    path = killed(recorder, tmp_path / "bag")
    other = Recorder(tmp_path / "other" / "other.db3")
    for _ in range(4):
        other.write(MESSAGES)
    other.connection.close()
    shutil.copy(path.with_name("live_0.db3-wal"), tmp_path / "other" / "other.db3-wal")
    messages, problems = read(tmp_path / "other" / "other.db3")
    assert len(messages) == 4 * len(MESSAGES)
    assert "other.db3-wal: belongs to another file than other.db3" in " ".join(problems)


def test_a_log_without_its_file_is_named(recorder: Recorder, tmp_path: Path) -> None:
    bag = killed(recorder, tmp_path / "live_copy").parent
    (bag / "live_0.db3").rename(bag / "live_copy_0.db3")
    assert find_bags(bag) == [bag]
    assert "live_0.db3-wal belongs to a file that is not there" in " ".join(read(bag)[1])


def test_the_cache_knows_that_the_log_has_changed(recorder: Recorder, tmp_path: Path) -> None:
    """A bag that was read too early would be taken from the cache indefinitely."""
    path = killed(recorder, tmp_path / "bag")
    log = path.with_name("live_0.db3-wal")
    whole = log.read_bytes()
    log.write_bytes(b"")
    cache = DecodedCache(tmp_path / "cache")
    early, _ = cache.read(path, LAYOUT, TopicMap())
    log.write_bytes(whole)
    later, _ = cache.read(path, LAYOUT, TopicMap())
    assert sum(map(len, early)) < sum(map(len, later)) == 12


def test_what_the_file_does_not_describe_is_said(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.db3", log="DELETE")
    recorder.write(MESSAGES[:9])
    recorder.connection.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (77, 1, x'0001')")
    recorder.connection.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (1, 1, 'text')")
    recorder.connection.close()
    messages, problems = read(tmp_path / "a.db3")
    assert len(messages) == 9
    assert "messages of topic number 77, which the file does not describe" in " ".join(problems)
    assert f"{MESSAGES[0].topic} has a message without data" in " ".join(problems)
