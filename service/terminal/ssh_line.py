"""The line that a rented instance's page shows: ``ssh -p 44686 root@109.231.106.68 -L 8080:localhost:8080``. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

# ssh's options that take a value, as its manual lists them.
WITH_VALUE = "BbcDEeFIiJLlmOoPpQRSWw"
_DESTINATION = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^@\s]+)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^@:/\s\[\]<>]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)(?::(?P<port>\d+))?/?"
)
_SETTING = re.compile(r"\s*(port|user)\s*[=\s]\s*(.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTarget:
    """What the line says; None for what it leaves out."""

    host: str
    port: int | None
    user: str | None


def parse_ssh_line(line: str) -> SshTarget | None:
    """Returns None if this is not such a line."""
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    if words and words[0].rpartition("/")[2] == "ssh":
        words = words[1:]
    destination, options = _split(words)
    found = _DESTINATION.fullmatch(destination) if destination is not None else None
    if found is None:
        return None
    port, user = options.get("p"), options.get("l")
    said = found["port"] if port is None else port
    return SshTarget(
        host=found["host"].strip("[]"),
        port=None if said is None else _port(said),
        user=found["user"] if user is None else user,
    )


def _split(words: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """The destination, and the options ``p`` and ``l``, also when they are given with ``-o``."""
    destination: str | None = None
    options: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            if destination is not None:
                # The rest is a command to run there.
                break
            destination = word
            continue
        at = next((at for at, letter in enumerate(word) if at and letter in WITH_VALUE), None)
        if at is None:
            continue
        value = word[at + 1 :] or next(rest, "")
        if word[at] in "pl":
            options[word[at]] = value
        elif word[at] == "o" and (setting := _SETTING.fullmatch(value)) is not None:
            options.setdefault("p" if setting[1].lower() == "port" else "l", setting[2])
    return destination, options


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535 else None
