"""What a site says of a model, as plain data, and how its texts are read.

Whatever a site says is hostile: a name may hold quotes, slashes, line ends, shell, markup, and a field may hold any
JSON at all. Each text becomes one bounded line here; quoting is the card writer's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

TITLE_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 500
WORDS_MAX = 40
NAME_BYTES_MAX = 200
BYTES_LIMIT = 10**15
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What a name must not hold to be a name on every file system, and what nobody sees in one.
_NO_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """``name``: its base name. ``size``: exact, in bytes. ``sha256``: of its content."""

    name: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model file of a repository: its path there."""

    file: str
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A key without which an instance cannot download the file."""

    setting: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model. ``folder``: below ``$UI_HOME/models``; ``folder_is_guess``: nothing but its name speaks for it.
    ``file``: None while one of ``choices`` must be picked. ``address``: where the file is downloaded from, or for
    CivitAI its page, which civitdl takes. ``url``: the page for people. ``image``: the address of a picture.
    ``asks_for_token``: an instance must show the token of Hugging Face."""

    source: Literal["civitai", "huggingface", "direct"]
    title: str
    folder: str
    address: str
    url: str
    folder_is_guess: bool = False
    file: FoundFile | None = None
    choices: tuple[Choice, ...] = ()
    version: str | None = None
    basemodel: str | None = None
    ecosystem: str | None = None
    license: str | None = None
    creator: str | None = None
    trigger_words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    image: str | None = None
    air: str | None = None
    asks_for_token: bool = False
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()


def line(value: Any, characters_max: int = TEXT_CHARACTERS_MAX) -> str | None:
    """A text as one line; None for anything else, and for an empty one."""
    if not isinstance(value, str):
        return None
    printable = "".join(mark if mark.isprintable() else " " for mark in value[: 4 * characters_max])
    return " ".join(printable.split())[:characters_max].strip() or None


def lines(value: Any, count_max: int = WORDS_MAX) -> tuple[str, ...]:
    """The texts of a list, each as one line, without those that come again."""
    if not isinstance(value, list):
        return ()
    found = (line(entry, 100) for entry in value[: 4 * count_max])
    return tuple(dict.fromkeys(entry for entry in found if entry is not None))[:count_max]


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def mappings(value: Any, count_max: int = 1_000) -> list[dict[str, Any]]:
    return [entry for entry in value[:count_max] if isinstance(entry, dict)] if isinstance(value, list) else []


def identity(value: Any) -> int | None:
    is_one = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**12
    return value if is_one else None


def byte_count(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 < value < BYTES_LIMIT
    return value if is_count else None


def sha256(value: Any) -> str | None:
    digest = value.strip().strip('"').lower() if isinstance(value, str) and len(value) < 100 else ""
    return digest if _SHA256.fullmatch(digest) else None


def base_name(value: Any) -> str | None:
    """The last part of a name, without what no file's name should hold; None if nothing is left."""
    if not isinstance(value, str):
        return None
    last = re.split(r"[/\\]", value[-4_000:])[-1]
    plain = _NO_NAME.sub("", last.encode("utf-8", "ignore").decode()).strip().lstrip(".-~")
    stem, dot, suffix = plain.rpartition(".")
    if not dot or len(suffix) > 20:
        stem, suffix = plain, ""
    kept = stem.encode()[: NAME_BYTES_MAX - len(suffix.encode()) - 1].decode(errors="ignore").strip()
    name = f"{kept}.{suffix}" if suffix else kept
    return name if name.strip(". ") else None
