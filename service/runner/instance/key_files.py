"""The private keys that the service offers at logins, and whether they are still the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")

KeyStamp = tuple[tuple[str, int, int, int], ...]


def no_key() -> str | None:
    """For a service without a key of its own."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginKeys:
    """``path``: a key of a person's; None: the usual ones in ``~/.ssh``. ``own``: the private key that the service
    made itself, as text, or None; it is offered after the others."""

    path: Path | None
    own: Callable[[], str | None] = no_key

    def files(self) -> list[str]:
        """The files whose keys are offered."""
        if self.path is not None:
            return [str(self.path)]
        folder = Path.home() / ".ssh"
        return [str(folder / name) for name in DEFAULT_KEYS if (folder / name).is_file()]

    def stamp(self) -> KeyStamp:
        """Another one once other keys would be offered; no file is read for it."""
        found = []
        for path in self.files():
            with contextlib.suppress(OSError):
                state = os.stat(path)
                found.append((path, state.st_ino, state.st_size, state.st_mtime_ns))
        own = self.own()
        if own is not None:
            found.append((hashlib.sha256(own.encode()).hexdigest(), 0, 0, 0))
        return tuple(found)
