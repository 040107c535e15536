"""The replay store: an index over episodes, sampled in chunks; episodes beyond the memory limit are memory-mapped."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moto_ros.data.cache import DecodedCache, content_key, episode_of, facts_of, former_rows, rows_of
from moto_ros.data.episode import Episode
from moto_ros.data.joints import STATE, JointOrder
from moto_ros.data.layout import Problems, StepLayout, TopicMap
from moto_ros.data.prior import RULES
from moto_ros.data.prioritised_windows import EpisodeRows, WindowTable
from moto_ros.data.proprio_fields import PROPRIO_FIELDS
from moto_ros.data.records import HUMAN
from moto_ros.data.success_end import NEVER, ended_at_success, success_row
from moto_ros.errors import MotoError

SAMPLED = ("image", "proprio", "action", "reward", "is_terminal")
SOURCES = ("all", "successful", "failed", "offline", "online")
UNSOLVED = -1
"""Steps to success of a row whose episode has none."""
STATE_VERSION = 1
JOINTS = "joints"
"""Entry of the index: the order of joints by place; absent in runs of older versions."""


@dataclass(frozen=True)
class Entry:
    """One episode of the store: its rows (in memory or mapped), where it came from, and how many may be imitated."""

    key: str
    rows: dict[str, np.ndarray]
    facts: dict[str, Any]
    bag: Path | None
    origin: str
    imitable: int
    in_memory: bool
    first: int = 0
    """Number of its first step, counted over all episodes ever added."""
    success: int = UNSOLVED
    """Row of its first success that held or ended it, or UNSOLVED."""
    helped: bool = False
    """Whether a person chose some of the actions up to there, but not all."""

    @property
    def size(self) -> int:
        """Return the bytes of the rows."""
        return sum(values.nbytes for values in self.rows.values())

    def length(self, source: str) -> int:
        """Return how many rows may be drawn from for `source`."""
        if source == "successful":
            return self.imitable
        if source == "failed":
            return len(self.rows["reward"]) if self.success == UNSOLVED else 0
        return len(self.rows["reward"]) if source in ("all", self.origin) else 0

    def may_be_imitated(self, rows: np.ndarray) -> np.ndarray:
        """Return which of `rows` int64 (L,) may be imitated: bool (L,).

        Where a person helped, the person's only: what the policy did before is what made help necessary.
        """
        allowed = rows < self.imitable
        return allowed & (self.rows["source"][rows] == HUMAN) if self.helped else allowed


class ReplayStore:
    """Episodes in the order they came, drawn from uniformly: first an episode, then where its chunk starts.

    Starts beyond either end are clipped, so that the first and the last row are drawn as often as those in the middle.
    Otherwise they are in a sixteenth as many chunks of 16, and a model hardly learns how an episode begins.

    Every episode is also in the decoded cache, so that `restore` finds it again; those beyond `memory_limit` bytes are
    used from there as memory maps. Beyond `capacity` steps the oldest are dropped. Thread-safe.

    An episode shorter than a chunk is not drawn from; when none is long enough, chunks shrink to the longest. Both are
    reported in `problems`.
    """

    def __init__(
        self,
        cache_folder: Path,
        memory_limit: int = 2**31,
        prior_rule: str = "success_at_end",
        capacity: int = 2_000_000,
        joints: JointOrder | None = None,
        steps_after_success: int = NEVER,
        success_hold: int = 1,
    ) -> None:
        """Use `cache_folder` for decoded episodes; `prior_rule` says what "successful" means (prior.RULES).

        With `steps_after_success` every episode is drawn from up to this many rows after its first success that has
        held for `success_hold` rows or ended it, and is terminal from that row on; -1 draws from whole episodes.

        `joints` is the order of joints in what the episodes hold; it is saved and restored with the index.
        """
        if prior_rule not in RULES:
            raise MotoError(f"prior_rule is '{prior_rule}', expected one of {', '.join(RULES)}; set it")
        self.cache = DecodedCache(cache_folder)
        self.joints = JointOrder() if joints is None else joints
        self.memory_limit, self.capacity = memory_limit, capacity
        self.problems = Problems()
        self.prior_rule, self._rule = prior_rule, RULES[prior_rule]
        self.steps_after_success, self.success_hold = steps_after_success, success_hold
        self._entries: list[Entry] = []
        self._dropped: list[dict[str, Any]] = []
        """Index rows of episodes that were learned from and dropped."""
        self._tables: dict[tuple[str, int], tuple[list[Entry], np.ndarray, int]] = {}
        self._windows: dict[str, tuple[list[Entry], WindowTable]] = {}
        self._stale: set[str] = set()
        self._taken = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, episode: Episode, bag: Path | None, origin: str) -> bool:
        """Add an episode from `bag` (None: in no bag); `origin` is "offline" or "online".

        Returns False for an episode that is already in the store, whatever its origin.
        """
        if origin not in ("offline", "online"):
            raise MotoError(f"origin is '{origin}', expected offline or online; name where the episode is from")
        rows = rows_of(episode)
        self._check_shapes(rows)
        key = content_key(rows)
        self.cache.save(key, rows, facts_of(episode), durable=bag is None)
        return self._insert(key, rows, facts_of(episode), bag, origin)

    def _insert(
        self, key: str, rows: dict[str, np.ndarray], facts: dict[str, Any], bag: Path | None, origin: str
    ) -> bool:
        with self._lock:
            if any(entry.key == key for entry in self._entries):
                return False
            learned = self._learned(rows)
            fits = self._memory() + sum(values.nbytes for values in learned.values()) <= self.memory_limit
            kept = {name: np.array(values) for name, values in learned.items()} if fits else self._mapped(key, rows)
            # The rule judges the whole episode: whether success holds at its end is not seen in the part that is drawn.
            imitable = min(self._rule(rows), len(kept["reward"]))
            success = success_row(rows, self.success_hold)
            row = UNSOLVED if success is None else success
            helped = _helped(rows, imitable)
            self._entries.append(Entry(key, kept, facts, bag, origin, imitable, fits, self._taken, row, helped))
            self._taken += len(kept["reward"])
            self._drop_oldest()
            self._tables.clear()
            self._stale.update(self._windows)
        return True

    def _mapped(self, key: str, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = self.cache.load(key)
        return self._learned(rows if found is None else found[0])

    def _learned(self, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the rows of an episode that may be drawn."""
        return ended_at_success(rows, self.steps_after_success, self.success_hold)

    def _check_shapes(self, rows: Mapping[str, np.ndarray]) -> None:
        """Raise MotoError for an episode whose rows do not have the shapes of those in the store."""
        if not self._entries:
            return
        for name in set(rows) | set(self._entries[0].rows):
            known, found = self._entries[0].rows.get(name), rows.get(name)
            if known is None or found is None or known.shape[1:] != found.shape[1:]:
                shapes = [None if values is None else values.shape[1:] for values in (found, known)]
                raise MotoError(f"episode: {name} has shape {shapes[0]}, the store holds {shapes[1]}; use one layout")

    def _drop_oldest(self) -> None:
        while len(self._entries) > 1 and self._steps() > self.capacity:
            self._dropped.append(self._row(self._entries.pop(0)))
            self.problems.add("capacity", f"replay: more than {self.capacity} steps, so the oldest episode is dropped")

    def _steps(self) -> int:
        return sum(len(entry.rows["reward"]) - 1 for entry in self._entries)

    def _memory(self) -> int:
        return sum(entry.size for entry in self._entries if entry.in_memory)

    def holds(self, source: str) -> bool:
        """Return whether there is anything to draw from `source`, one of SOURCES."""
        return any(entry.length(source) >= 2 for entry in self._entries)

    def nothing_to_imitate(self) -> str:
        """Return a sentence when the prior's rule leaves no episode to imitate, else ""."""
        entries = list(self._entries)
        if not entries or self.holds("successful"):
            return ""
        solved = sum(bool(entry.rows["success"].any()) for entry in entries)
        return (
            f"prior_rule '{self.prior_rule}': leaves none of {len(entries)} episodes to imitate ({solved} of them reach"
            " success), so a behaviour prior has no effect; expected one at least, set another rule or record successes"
        )

    def sample(self, source: str, size: int, length: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw `size` chunks of `length` rows from `source`, the same ones for the same generator state.

        Returns image uint8 (B, L, H, W, C) if there are cameras, proprio float32 (B, L, P), action float32 (B, L, A),
        reward float32 (B, L), is_terminal and is_first bool (B, L); is_first is true at each chunk's start; imitable
        bool (B, L), the actions that may be imitated, where a person helped only the person's; begins bool (B, L), the
        first row of an episode; frame int64 (B, L), the row's number, which stays the same while the store is open.
        Raises MotoError when the source is empty.
        """
        entries, spans, length = self._table(source, length)
        chosen = generator.integers(len(entries), size=size)
        starts = _starts(spans[chosen], length, generator)
        names = [name for name in SAMPLED if name in entries[0].rows]
        batch = {name: _blank(entries[0].rows[name], size, length) for name in names}
        for place, (which, start) in enumerate(zip(chosen, starts, strict=True)):
            for name in names:
                batch[name][place] = entries[which].rows[name][start : start + length]
        batch["is_first"] = np.zeros((size, length), bool)
        batch["is_first"][:, 0] = True
        firsts = np.array([entry.first for entry in entries])[chosen][:, None]
        rows = starts[:, None] + np.arange(length)
        batch["frame"], batch["imitable"] = firsts + rows, _imitable(entries, chosen, rows)
        batch["begins"] = rows == 0
        return batch

    def windows(
        self,
        source: str,
        size: int,
        length: int,
        generator: np.random.Generator,
        exponents: tuple[float, float] | None = None,
    ) -> dict[str, np.ndarray]:
        """Draw `size` windows of `length` rows that begin at any step of `source`, each step with equal chance.

        With `exponents` (alpha, beta): by priority, see `WindowTable`. Returns what `sample` does, and valid
        bool (B, L), false for rows after the episode's end, which repeat its last; steps_to_success int64 (B, L), 0
        from the first success on and -1 in episodes without; episode int64 (B,), the number of the episode's first row;
        index int64 (B,) for `prioritise`; weight float32 (B,).
        """
        with self._lock:
            entries, table = self._window_table(source)
            index, weight = (
                table.by_priority(size, generator, *exponents) if exponents else table.uniform(size, generator)
            )
            episodes, starts, lasts = table.locate(index)
        wanted = np.minimum(starts[:, None] + np.arange(length), lasts[:, None])
        names = [name for name in SAMPLED if name in entries[0].rows]
        batch = {name: _blank(entries[0].rows[name], size, length) for name in names}
        for row, which in enumerate(episodes):
            for name in names:
                batch[name][row] = entries[which].rows[name][wanted[row]]
        batch["is_first"] = np.zeros((size, length), bool)
        batch["is_first"][:, 0] = True
        valid = starts[:, None] + np.arange(length) <= lasts[:, None]
        facts = [(entries[which].first, entries[which].success) for which in episodes]
        firsts, success = np.array(facts, np.int64).T[..., None]
        imitable = _imitable(entries, episodes, wanted) & valid
        known = {"frame": firsts + wanted, "imitable": imitable, "episode": firsts[:, 0]}
        known["steps_to_success"] = np.where(success == UNSOLVED, UNSOLVED, np.maximum(success - wanted, 0))
        return batch | known | {"valid": valid, "index": index, "weight": weight}

    def prioritise(self, source: str, index: np.ndarray, priority: np.ndarray) -> None:
        """Set the priorities (B,) of windows that `windows` drew as `index` from `source`."""
        with self._lock:
            self._window_table(source)[1].prioritise(index, priority)

    def _window_table(self, source: str) -> tuple[list[Entry], WindowTable]:
        """Return the episodes of a source and the table of their steps, brought up to date."""
        if source not in self._windows or source in self._stale:
            _known(source)
            entries = [entry for entry in self._entries if entry.length(source) >= 2]
            if not entries:
                raise MotoError(_empty(source))
            before = self._windows[source][1] if source in self._windows else None
            spans = [EpisodeRows(entry.first, entry.length(source)) for entry in entries]
            self._windows[source] = entries, WindowTable(spans, before)
            self._stale.discard(source)
        return self._windows[source]

    def _table(self, source: str, length: int) -> tuple[list[Entry], np.ndarray, int]:
        """Return the episodes to draw from, how many starts each has, and the chunk length that is possible."""
        with self._lock:
            if (source, length) not in self._tables:
                self._tables[source, length] = self._make_table(source, length)
            return self._tables[source, length]

    def _make_table(self, source: str, length: int) -> tuple[list[Entry], np.ndarray, int]:
        _known(source)
        lengths = {entry.key: entry.length(source) for entry in self._entries}
        longest = max(lengths.values(), default=0)
        if longest < 2:
            raise MotoError(_empty(source))
        used = min(length, longest)
        entries = [entry for entry in self._entries if lengths[entry.key] >= used]
        self._note_short(source, length, used, sum(0 < rows < used for rows in lengths.values()))
        return entries, np.array([lengths[entry.key] - used + 1 for entry in entries]), used

    def _note_short(self, source: str, asked: int, used: int, skipped: int) -> None:
        if used < asked:
            text = f"replay: no episode of source '{source}' has {asked} rows, so chunks have {used}"
            self.problems.state(f"length/{source}", text)
        if skipped:
            text = f"replay: {skipped} episodes of source '{source}' are shorter than a chunk of {used} and not drawn"
            self.problems.state(f"short/{source}", text)

    def counts(self) -> dict[str, int]:
        """Return how many episodes and steps there are, and where: episodes, steps, offline, online, successful..."""
        entries = list(self._entries)
        return {
            "episodes": len(entries),
            "steps": sum(len(entry.rows["reward"]) - 1 for entry in entries),
            "offline": sum(entry.origin == "offline" for entry in entries),
            "online": sum(entry.origin == "online" for entry in entries),
            "successful": sum(entry.imitable > 0 for entry in entries),
            "memory_bytes": sum(entry.size for entry in entries if entry.in_memory),
            "disk_bytes": sum(entry.size for entry in entries if not entry.in_memory),
        }

    def episodes(self) -> list[Episode]:
        """Return every episode in order; rows may be read-only maps."""
        return [episode_of(entry.rows, entry.facts) for entry in self._entries]

    def bags(self) -> list[Path]:
        """Return the bags that the episodes came from, in order."""
        return [entry.bag for entry in self._entries if entry.bag is not None]

    def recorded(self) -> dict[Path, set[str]]:
        """Return the content keys of the offline episodes by bag, also of those that were dropped."""
        found: dict[Path, set[str]] = {}
        for row in [*map(self._row, self._entries), *self._dropped]:
            if row["bag"] is not None and row["origin"] == "offline":
                found.setdefault(self._bag(row), set()).add(row["key"])
        return found

    def _bag(self, row: Mapping[str, Any]) -> Path:
        return Path(os.path.normpath(self.cache.folder / row["bag"]))

    def state(self) -> dict[str, Any]:
        """Return the index as plain JSON values: what `restore` needs to draw the same chunks again."""
        with self._lock:
            priorities = {source: self._window_table(source)[1].packed() for source in self._windows}
        rows = [self._row(entry) for entry in self._entries]
        more = {"priorities": priorities, "dropped": list(self._dropped), JOINTS: self.joints.state()}
        return {"version": STATE_VERSION, "episodes": rows} | {name: value for name, value in more.items() if value}

    def _row(self, entry: Entry) -> dict[str, Any]:
        bag = None if entry.bag is None else os.path.relpath(entry.bag, self.cache.folder)
        return {"key": entry.key, "origin": entry.origin, "bag": bag}

    def restore(self, state: Mapping[str, Any], layout: StepLayout, topics: TopicMap | None = None) -> None:
        """Add the episodes of a saved index, in its order, from the cache or else from their bags.

        Raises MotoError, naming the bag, when an episode is lost or its bag now has another one, and when the joints
        are now configured in another order.
        """
        if state.get("version") != STATE_VERSION:
            raise MotoError(
                f"replay index has version {state.get('version')}, expected {STATE_VERSION}; start a new run"
            )
        for place, names in state.get(JOINTS, {}).items():
            self.joints.settle(place, tuple(names))
            self.joints.expected(place, layout.joint_names if place == STATE else (topics or TopicMap()).action_names)
        for row in state["episodes"]:
            bag = None if row["bag"] is None else self._bag(row)
            found = self.cache.load(row["key"])
            if found is None or content_key(found[0]) != row["key"]:
                found = self._from_bag(row["key"], bag, layout, topics or TopicMap())
            self._insert(row["key"], found[0], found[1], bag, row["origin"])
        self._dropped = [dict(row) for row in state.get("dropped", [])]
        for source, priorities in state.get("priorities", {}).items():
            self._window_table(source)[1].unpack(priorities)
        if JOINTS not in state and any(PROPRIO_FIELDS[name].size == 0 for name in layout.proprio):
            for bag in [bag for bag in self.bags() if bag.exists()][:1]:  # its order is that of an older version's run
                self.cache.read(bag, layout, topics or TopicMap(), self.joints)

    def _from_bag(
        self, key: str, bag: Path | None, layout: StepLayout, topics: TopicMap
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        if bag is None or not bag.exists():
            raise MotoError(
                f"{bag or self.cache.folder / key}: an episode learned from is gone; put it back, or start a new run"
            )
        for episode in self.cache.read(bag, layout, topics, self.joints)[0]:
            for rows in (rows_of(episode), former_rows(rows_of(episode))):
                if content_key(rows) == key:
                    return rows, facts_of(episode)
        raise MotoError(
            f"{bag}: holds another episode than the one learned from; put the bag or settings back as they were"
        )


def _helped(rows: Mapping[str, np.ndarray], imitable: int) -> bool:
    """Return whether a person chose some, but not all, of the actions that may be imitated; old rows do not say."""
    by_person = rows["source"][1:imitable] == HUMAN if "source" in rows else np.zeros(1, bool)
    return bool(by_person.any() and not by_person.all())


def _imitable(entries: Sequence[Entry], chosen: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return which `rows` (B, L) of the episodes `chosen` (B,) may be imitated, bool (B, L)."""
    return np.stack([entries[which].may_be_imitated(of) for which, of in zip(chosen, rows, strict=True)])


def _blank(rows: np.ndarray, size: int, length: int) -> np.ndarray:
    return np.empty((size, length, *rows.shape[1:]), rows.dtype)


def _known(source: str) -> None:
    if source not in SOURCES:
        raise MotoError(f"source '{source}' is unknown, expected one of {', '.join(SOURCES)}")


def _starts(spans: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray:
    """Draw where chunks of `length` rows start, of `spans` places each (see ReplayStore)."""
    beyond = length - 1
    return np.clip(generator.integers(-beyond, spans + beyond), 0, spans - 1)


def _empty(source: str) -> str:
    return f"replay: holds no episode of source '{source}'; record some, or use source 'all'"
