"""The one exception a user is meant to read, and the sentences for files that the system refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path


class MotoError(Exception):
    """A problem that the user can fix.

    The message is one sentence that names the file, topic or parameter, says what was found,
    what was expected and what to do. Nodes and commands print it without a traceback and exit 1.
    """


REMEDIES = {
    errno.EACCES: "change its owner or permissions (ls -ld shows them), or give another path",
    errno.EPERM: "change its owner or permissions (ls -ld shows them), or give another path",
    errno.EROFS: "it is on a read-only file system: give another path",
    errno.ENOSPC: "free disk space",
    errno.EDQUOT: "free some of your quota of disk space",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file: check the path",
    errno.EISDIR: "it is a folder: give a file",
    errno.EEXIST: "it exists: give another path",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.ELOOP: "its symbolic links form a circle: check the path",
    errno.EMFILE: "raise the number of open files (ulimit -n)",
    errno.ENFILE: "end programs that hold many open files",
    errno.EIO: "check the disk and its cable",
    errno.ESTALE: "mount the network drive again",
}
"""What to do about a file that the operating system refuses, by the number of the error."""


def remedy(error: OSError) -> str:
    """Return what to do about a file that the operating system refuses."""
    return REMEDIES.get(error.errno or 0, "check the path and the disk")


def unreadable(path: Path | str, error: OSError, advice: str = "") -> MotoError:
    """Return the error for a file or folder that may not or cannot be read."""
    return MotoError(f"{path}: cannot be read ({_reason(error)}); {advice or remedy(error)}")


def unwritable(path: Path | str, error: OSError, advice: str = "") -> MotoError:
    """Return the error for a file or folder that may not or cannot be written."""
    return MotoError(f"{path}: cannot be written ({_reason(error)}); {advice or remedy(error)}")


def sentence(error: MotoError | OSError) -> str:
    """Return the one sentence to print for a problem, the last resort for a file that the system refuses included.

    An OSError that is about no file (a socket, a pipe) is raised again: it is not known what to do about it.
    """
    if isinstance(error, MotoError):
        return str(error)
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    if not named and error.errno == errno.ENOENT:
        return "the current folder is not there any more, expected one to work in; change to another folder (cd)"
    if not named and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
        raise error
    where = " -> ".join(named) or "a file"
    return f"{where}: cannot be read or written ({_reason(error)}); {remedy(error)}"


def _reason(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split()) or type(error).__name__


def refusal(path: Path) -> str:
    """Return the sentence for a file or folder that may not or cannot be read, which is no damage; empty if it can."""
    try:
        if path.is_dir():
            os.listdir(path)
        else:
            path.open("rb").close()
    except OSError as error:
        return str(unreadable(path, error))
    return ""


def require_readable(path: Path) -> None:
    """Raise MotoError where a file or folder is there and may not be read: some calls find nothing there in silence."""
    needed = os.R_OK | (os.X_OK if path.is_dir() else 0)
    if path.exists() and not os.access(path, needed):
        raise unreadable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def require_writable(path: Path, advice: str = "") -> None:
    """Raise MotoError where a file could not be written, before the work for it is done; make its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        wanted = [path.parent, path] if path.exists() else [path.parent]
        if not all(os.access(one, os.W_OK) for one in wanted):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unwritable(path, error, advice) from error


def read_text(path: Path, expected: str = "") -> str:
    """Return the text of a file, UTF-8 whatever the locale.

    Raises MotoError, saying what was `expected` there, where it cannot be read or is in another encoding.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        advice = f"expected {expected}; {remedy(error)}" if expected else ""
        raise unreadable(path, error, advice) from error
    except UnicodeDecodeError as error:
        raise MotoError(
            f"{path}: is not UTF-8 (byte {error.start} is {error.object[error.start]:#04x}); save it as UTF-8 "
            "(iconv -f latin1 -t utf-8)"
        ) from error
