"""Where the measurements write: a temporary folder outside the checkout, and on a disk.

In memory (tmpfs) an fsync costs nothing, and every append would look fast: /var/tmp is a disk where /tmp is not.
``TMPDIR`` names another folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_MEMORY = ("tmpfs", "ramfs")


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder, deleted at the end."""
    usual = Path(tempfile.gettempdir()).resolve()
    parent = Path("/var/tmp") if file_system(usual) in IN_MEMORY else usual
    with tempfile.TemporaryDirectory(prefix="resource-installer-bench-", dir=parent) as name:
        yield Path(name)


def file_system(path: Path) -> str:
    """The type of the file system that this path lies on, empty where the system does not tell."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return ""
    fields = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    above = [(len(point), kind) for _, point, kind, *_ in fields if path.is_relative_to(point)]
    return max(above, default=(0, ""))[1]
