"""The program that verifies on the instance what a download left there.

It looks at each file (is it a model at all, does its header add up, do its size and SHA-256 equal those that the card
or civitdl give) and prints its findings one a line, which ``findings.py`` reads.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import CardError
from service.runner.instance.shell import script

# In the order in which they make one program.
PARTS = ("places.sh", "verify_files.sh", "verify_contents.sh", "verify_checks.sh")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedFile:
    """A file that a card names. ``path``: relative to ``$UI_HOME``. Raises CardError for a path that leaves it."""

    path: str
    sha256: str | None = None
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        if not self.path or self.path.startswith("/") or "\0" in self.path or ".." in self.path.split("/"):
            raise CardError(f"the file {self.path[:120]!r} of a card must be a path below $UI_HOME, without ..")


def verify_program(*, files: Sequence[ExpectedFile], sha256: str | None) -> str:
    """A bash program. ``sha256`` is that of the card's only file, where it names no files."""
    lines = [
        _array("card_files", [file.path for file in files]),
        _array("card_sha256s", [(file.sha256 or "").lower() for file in files]),
        _array("card_sizes", [_decimal(file.size_bytes) for file in files]),
        f"card_sha256={shlex.quote((sha256 or '').lower())}",
    ]
    return "\n".join([*lines, *map(script, PARTS)])


def _decimal(value: int | None) -> str:
    return "" if value is None else str(value)


def _array(name: str, values: Sequence[str]) -> str:
    return f"{name}=({' '.join(shlex.quote(value) for value in values)})"
