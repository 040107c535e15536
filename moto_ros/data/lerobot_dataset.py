"""Reads a LeRobot dataset, version 3, episode by episode: its description, tables, and images or videos."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from moto_ros.data.lerobot_files import DATA_PATH, EPISODES, INFO, STATS, VERSION, VIDEO_PATH
from moto_ros.data.lerobot_modules import parquet, pyav
from moto_ros.data.lerobot_video import read_frames
from moto_ros.errors import MotoError, read_text

CONVERTER = "python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id <dataset>"
"""lerobot's own converter to version 3; an older dataset is first converted to 2.1 by an older lerobot."""

IMAGE_TYPES = ("video", "image")
NUMBERS = ("float", "int", "uint", "bool")
"""Beginnings of the types of features that are numbers."""


class LeRobotFolder:
    """A dataset in a folder: `info` is its description, `episodes` has a row for each episode."""

    def __init__(self, root: Path) -> None:
        """Open the dataset; MotoError for a folder that is none, or one of another version."""
        pyav()
        self.root = root
        self.info = self._info()
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.fps = float(self.info["fps"])
        self.episodes = self._episodes()

    def _info(self) -> dict[str, Any]:
        expected = "the folder of a LeRobot dataset, version 3"
        if not self.root.is_dir():
            raise MotoError(f"{self.root}: is no folder, expected {expected}; check the path")
        path = self.root / INFO
        if not path.is_file():
            raise MotoError(f"{self.root}: has no {INFO}, expected {expected}; check the path, or fetch it again")
        try:
            info = json.loads(read_text(path, expected))
            version = str(info["codebase_version"])
        except (ValueError, KeyError, TypeError) as error:
            text = f"{path}: cannot be read ({type(error).__name__}: {error}), expected JSON with codebase_version"
            raise MotoError(f"{text}; fetch the dataset again") from error
        if not version.startswith("v3."):
            advice = f"convert it: {CONVERTER}" if version.startswith("v2") else "get it in that version"
            raise MotoError(f"{path}: codebase_version is {version}, expected {VERSION}; {advice}")
        lacks = [key for key in ("features", "fps") if not info.get(key)]
        if lacks:
            raise MotoError(f"{path}: has no {lacks[0]}, expected it in a dataset of version 3; fetch it again")
        return dict(info)

    def _episodes(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for path in sorted((self.root / EPISODES).glob("*/*.parquet")):
            names = [name for name in self._schema(path) if not name.startswith("stats/")]
            rows += self._table(path, columns=names).to_pylist()
        if not rows:
            raise MotoError(f"{self.root}: has no episode in {EPISODES}, expected one at least; fetch it again")
        return sorted(rows, key=lambda row: int(row["episode_index"]))

    def _schema(self, path: Path) -> list[str]:
        try:
            return list(parquet().read_schema(path).names)
        except (OSError, ValueError) as error:  # pyarrow's errors are of these classes
            raise MotoError(f"{path}: is no Parquet table ({_brief(error)}); fetch the dataset again") from error

    def _table(self, path: Path, **given: Any) -> Any:
        try:
            return parquet().read_table(path, **given)
        except (OSError, ValueError) as error:
            raise MotoError(f"{path}: cannot be read ({_brief(error)}); fetch the dataset again") from error

    @property
    def cameras(self) -> list[str]:
        """Return the features that are colour images, in order."""
        return [key for key, entry in self.features.items() if entry["dtype"] in IMAGE_TYPES and not _is_depth(entry)]

    def names(self, key: str) -> list[str]:
        """Return the names of a vector's entries; empty where the dataset has none."""
        names = self.features[key].get("names")
        if isinstance(names, dict):  # as some datasets have it: {"motors": [...]}
            names = next(iter(names.values()), None)
        return [str(name) for name in names] if isinstance(names, (list, tuple)) else []

    def size(self, key: str) -> int:
        """Return the number of entries of a vector; MotoError where the dataset has no such vector."""
        entry = self.features.get(key)
        if entry is None or not entry["dtype"].startswith(NUMBERS) or len(entry["shape"]) != 1:
            vectors = [name for name, other in self.features.items() if other["dtype"].startswith("float")]
            raise MotoError(f"{self.root}: has no vector {key}, expected one of {', '.join(vectors)}; set --map")
        return int(entry["shape"][0])

    def action_range(self) -> tuple[list[float], list[float]] | None:
        """Return minimum and maximum of each entry of the action in the whole dataset, None where it has none."""
        try:
            found = json.loads((self.root / STATS).read_text(encoding="utf-8"))["action"]
            return [float(value) for value in found["min"]], [float(value) for value in found["max"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def columns(self, row: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the features of an episode without images and texts: arrays (N,) or (N, n), by name."""
        keys = [key for key, entry in self.features.items() if entry["dtype"].startswith(NUMBERS)]
        table = self._rows(row, [key for key in keys if len(self.features[key]["shape"]) == 1])
        return {name: _array(table.column(name), self.features[name]["dtype"]) for name in table.column_names}

    def _rows(self, row: dict[str, Any], keys: list[str]) -> Any:
        pattern = str(self.info.get("data_path") or DATA_PATH)
        places = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
        path, number = self._file(pattern, **places), int(row["episode_index"])
        present = set(self._schema(path))
        table = self._table(
            path, columns=[key for key in keys if key in present], filters=[("episode_index", "==", number)]
        )
        if table.num_rows != int(row["length"]):
            text = f"{path}: has {table.num_rows} frames of episode {number}, expected {row['length']}"
            raise MotoError(f"{text}; fetch the dataset again")
        return table

    def frames(self, row: dict[str, Any], key: str) -> Iterator[np.ndarray]:
        """Yield the images of a camera in an episode, RGB uint8 (H, W, 3)."""
        if self.features[key]["dtype"] == "video":
            places = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
            path = self._file(str(self.info.get("video_path") or VIDEO_PATH), video_key=key, **places)
            yield from read_frames(path, float(row[f"videos/{key}/from_timestamp"]), int(row["length"]), self.fps)
            return
        for stored in self._rows(row, [key]).column(key).to_pylist():
            yield self._decoded(stored, key)

    def _file(self, pattern: str, **places: Any) -> Path:
        """Return the file that a pattern of the description names; MotoError for one outside the dataset."""
        try:
            name = PurePosixPath(pattern.format(**places))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            text = f"{self.root / INFO}: path '{pattern}' cannot be filled in ({_brief(error)})"
            raise MotoError(f"{text}, expected one like {DATA_PATH}; fetch the dataset again") from error
        # By its words, not by where links lead: datasets that were fetched are links into a cache.
        if name.is_absolute() or ".." in name.parts:
            raise MotoError(f"{self.root}: names the file '{name}', expected one inside the dataset; do not trust it")
        return self.root / name

    def _image(self, name: str) -> bytes:
        path = self._file(name.replace("{", "{{").replace("}", "}}"))
        try:
            return path.read_bytes()
        except OSError as error:
            raise MotoError(f"{path}: cannot be read ({_brief(error)}), expected an image; fetch it again") from error

    def _decoded(self, stored: dict[str, Any], key: str) -> np.ndarray:
        data = stored.get("bytes") or self._image(str(stored.get("path")))
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise MotoError(f"{self.root}: an image of {key} cannot be decoded, expected PNG; fetch the dataset again")
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _is_depth(entry: dict[str, Any]) -> bool:
    facts = entry.get("info") or {}
    return bool(facts.get("is_depth_map") or facts.get("video.is_depth_map"))


def _array(column: Any, dtype: str) -> np.ndarray:
    """Return a column as (N,) or, of lists, (N, n)."""
    values = column.to_pylist() if hasattr(column.type, "value_type") else column.to_numpy()
    return np.asarray(values, np.dtype(dtype))


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:100]
