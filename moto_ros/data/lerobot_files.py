"""The files of a LeRobot dataset, version 3: their names, and tables that continue in another file when large."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moto_ros.data.lerobot_modules import arrow, parquet

VERSION = "v3.0"
CHUNK_FILES = 1000
"""Most files in a folder `chunk-...`."""

MAX_TABLE_MB = 100
"""Size after which the next episode begins another Parquet file."""

MIB = 2**20
INFO, STATS, TASKS, EPISODES = "meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/episodes"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


def chunk_and_file(number: int) -> tuple[int, int]:
    """Return the number of the chunk and of the file in it, for the n-th file (from 0)."""
    return divmod(number, CHUNK_FILES)


def file_name(number: int) -> str:
    """Return the n-th file's path in its folder, without ending."""
    chunk, file = chunk_and_file(number)
    return f"chunk-{chunk:03d}/file-{file:03d}"


class TableWriter:
    """Writes one row group an episode; a new file begins when the last one is large."""

    def __init__(self, folder: Path) -> None:
        """Write `folder`/chunk-000/file-000.parquet and those that follow."""
        self._folder, self.file = folder, -1
        self._writer: Any = None

    def place(self) -> int:
        """Return the number of the file that the next episode goes to."""
        if self._writer is not None and self._path.stat().st_size > MAX_TABLE_MB * MIB:
            self.close()
        return self.file + (self._writer is None)

    def add(self, table: Any) -> None:
        """Write the rows of an episode."""
        self.file = self.place()
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = parquet().ParquetWriter(self._path, table.schema, compression="snappy")
        self._writer.write_table(table.cast(self._writer.schema))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @property
    def _path(self) -> Path:
        return self._folder / f"{file_name(self.file)}.parquet"


def write_tasks(path: Path, tasks: list[str]) -> None:
    """Write the table of tasks; pandas shall read the task as the index, which its note in the schema says."""
    pa = arrow()
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    kinds = (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in kinds
    ]
    note = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    parquet().write_table(table.replace_schema_metadata({"pandas": json.dumps(note)}), path)
