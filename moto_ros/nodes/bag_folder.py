"""Where the recorder puts bags, and that nobody else does at the same time. No ROS."""

from __future__ import annotations

import fcntl
from pathlib import Path

from moto_ros.errors import MotoError
from moto_ros.nodes.episode_facts import Purpose

LOCK = ".recorder.lock"


class BagFolder:
    """The folder of a run's bags: one sub-folder a purpose, in it one bag an episode. Names are never used twice."""

    def __init__(self, root: Path, evaluation: str = "evaluation") -> None:
        """Create `root` and hold it for this process. Raises MotoError when another recorder holds it."""
        self.root = root
        self._names = {Purpose.DEMONSTRATION: "offline", Purpose.TRAINING: "online", Purpose.EVALUATION: evaluation}
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._lock = (root / LOCK).open("w", encoding="utf-8")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MotoError(f"{root}: another recorder writes here; stop it or choose another folder") from error
        except OSError as error:
            raise MotoError(f"{root}: {error.strerror}, expected a folder to write bags to; choose another") from error

    def new(self, purpose: Purpose, episode: int) -> Path:
        """Return the name of a bag that does not exist yet: a repeated episode gets `-2`, `-3`..."""
        name = self.root / self._names[purpose] / f"episode_{episode:06d}"
        found, count = name, 1
        while found.exists():
            count += 1
            found = name.with_name(f"{name.name}-{count}")
        return found

    def release(self) -> None:
        """Let another recorder have the folder."""
        self._lock.close()
