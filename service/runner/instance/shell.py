"""The shell scripts that run on instances, all read when the service starts: later there may be no file descriptor
left to read one, and the event loop must not wait for a disk."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable


def script(name: str) -> str:
    """The text of one of ``scripts/``, by its path there."""
    return _SCRIPTS[name]


def _read(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".sh"):
            yield prefix + entry.name, entry.read_text(encoding="utf-8")


_SCRIPTS = dict(_read(resources.files("service.runner.instance") / "scripts"))
