"""The folder of the recorder's bags, locked against a second recorder. No ROS."""

from __future__ import annotations

from pathlib import Path, PurePath

from moto_ros import locks
from moto_ros.contract.episodes import Purpose
from moto_ros.errors import MotoError

PURPOSE_FOLDERS = {"demonstration": "offline", "training": "online"}
"""Purpose of an episode -> sub-folder of a run's bags; that of evaluations is a parameter."""


class BagFolder:
    """The folder of a run's bags: one sub-folder a purpose, in it one bag an episode. No name is used twice."""

    def __init__(self, root: Path, evaluation: str = "evaluation") -> None:
        """Create `root` and lock it for this process. Raises MotoError when another recorder has locked it."""
        self.root = root
        self._names = {Purpose[purpose.upper()]: folder for purpose, folder in PURPOSE_FOLDERS.items()}
        self._names[Purpose.EVALUATION] = evaluation
        if evaluation in ("", "..") or PurePath(evaluation).name != evaluation:
            raise MotoError(
                f"evaluation_folder is '{evaluation}', expected the name of a folder in {root}; give a name without '/'"
            )
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MotoError(f"{root}: {error.strerror}, expected a folder to write bags to; choose another") from error
        self._lock = locks.acquire(root / locks.RECORDER_LOCK)

    def new(self, purpose: Purpose, episode: int) -> Path:
        """Return the name of a bag that does not exist yet: a repeated episode gets `-2`, `-3`..."""
        name = self.root / self._names[purpose] / f"episode_{episode:06d}"
        found, count = name, 1
        while found.exists():
            count += 1
            found = name.with_name(f"{name.name}-{count}")
        return found

    def release(self) -> None:
        """Unlock the folder."""
        self._lock.close()
