"""Where the private keys of the service lie, and whether they are still the same."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")

KeyStamp = tuple[tuple[str, int, int, int], ...]


def key_files(key_path: Path | None) -> list[str]:
    """The files whose keys are offered: this one, else the usual ones in ``~/.ssh``."""
    if key_path is not None:
        return [str(key_path)]
    folder = Path.home() / ".ssh"
    return [str(folder / name) for name in DEFAULT_KEYS if (folder / name).is_file()]


def key_stamp(key_path: Path | None) -> KeyStamp:
    """Another one once other keys would be offered; none of them is read for it."""
    found = []
    for path in key_files(key_path):
        with contextlib.suppress(OSError):
            state = os.stat(path)
            found.append((path, state.st_ino, state.st_size, state.st_mtime_ns))
    return tuple(found)
