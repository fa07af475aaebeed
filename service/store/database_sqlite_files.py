"""The files of an SQLite database: their rights, the lock beside them, and whether they are still the same."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import IO

from service.errors import DatabaseHeld, StoreUnavailable

logger = logging.getLogger(__name__)


def make_private(path: Path) -> None:
    """A new database is its owner's alone, and SQLite gives the files beside it the same rights. One that is there
    keeps its rights: somebody may have given them on purpose."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    if path.stat().st_mode & 0o077 and path.stat().st_uid == os.getuid():
        logger.info("others can read %s: `chmod 600` keeps jobs and outputs to the service", path)


def lock(path: Path) -> IO[str]:
    """Take the lock file beside the database. It is never removed: two services could then each lock one of their own.

    Raises DatabaseHeld.
    """
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    file = open(descriptor, "a+", encoding="utf-8")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read(20).strip() or "unknown"
        file.close()
        raise DatabaseHeld(
            f"another running service (process {holder}) holds {path}: stop it, or name another INSTALLER_DATABASE_URL"
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


class File:
    """One of the database's files, known again by its inode from the first look on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode: int | None = None

    def check(self) -> None:
        """Raises StoreUnavailable when the file is not the one that was opened."""
        try:
            inode: int | None = os.stat(self._path).st_ino
        except FileNotFoundError:
            inode = None
        if self._inode is None:
            self._inode = inode
        elif inode != self._inode:
            what = "was deleted" if inode is None else "was replaced"
            raise StoreUnavailable(f"{self._path} {what} while the service runs: restore it, then restart the service")
