"""The records that the instance writes of each run of a tool: a line each, foreign text in base64. Pure.

The same lines stand in the attempt's log, after its mark, and in the ledger that comes with its end. A line that is
not a record is None, never an error: the card's own commands could write anything there.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.events.lines import plain

TEXT_CHARACTERS_MAX = 1_000
MARK_CHARACTERS = 32

_TOKEN = re.compile(r"[\w.:-]{1,40}", re.ASCII)
_WORD = re.compile(r"[\w.+-]{1,40}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,15}")
_STATUS = re.compile(r"[0-9]{1,3}")
NO_TEXT = "-"


@dataclass(frozen=True, slots=True)
class Begin:
    """``kind``: file, dir or -: whether the destination is a file or the folder of one whose name is not known yet."""

    token: str
    tool: str
    is_judged: bool
    kind: str
    destination: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class Length:
    """The length that the tool or its server announced."""

    token: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Grown:
    """How many bytes of a file are there. ``has_shim`` False: a process that no shim started writes it.
    ``bytes_per_second``: since the look before, None at the first."""

    token: str
    bytes: int
    name: str
    has_shim: bool = True
    bytes_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """The file was there and whole, so it was not loaded again."""

    token: str
    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Written:
    """A file that the run left at its final name."""

    token: str
    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Part:
    """A half file that was moved out of the way."""

    token: str
    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class End:
    token: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes were free on the instance when the attempt began."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Warn:
    code: str
    text: str


Record = Begin | Length | Grown | Kept | Written | Part | End | Room | Warn
Redact = Callable[[str], str]


def record_of(line: str, redact: Redact) -> Record | None:
    """The record that this line is. ``redact`` takes secrets out of its texts."""
    word, *values = line.split(" ")
    read = _READERS.get(word)
    return None if read is None else read(values, redact)


def _begin(values: Sequence[str], redact: Redact) -> Record | None:
    if len(values) not in (6, 7):
        return None
    token, tool, judged, kind, destination, address = values[:6]
    if not (_is_token(token) and _WORD.fullmatch(tool) and judged in ("0", "1") and kind in ("file", "dir", "-")):
        return None
    texts = _text(destination, redact), _text(address, redact)
    if None in texts:
        return None
    return Begin(token, tool, judged == "1", kind, texts[0] or None, texts[1] or None)


def _length(values: Sequence[str], redact: Redact) -> Record | None:
    return Length(values[0], int(values[1])) if _are(values, _TOKEN, _NUMBER) else None


def _bytes(values: Sequence[str], redact: Redact) -> Record | None:
    return _grown(values, redact, has_shim=True)


def _idle(values: Sequence[str], redact: Redact) -> Record | None:
    return _grown(values, redact, has_shim=False)


def _grown(values: Sequence[str], redact: Redact, *, has_shim: bool) -> Record | None:
    if not _are(values[:2], _TOKEN, _NUMBER) or len(values) not in (3, 4):
        return None
    name = _text(values[2], redact)
    rate = values[3] if len(values) == 4 else NO_TEXT  # an attempt of an earlier version has none
    if name is None or not (rate == NO_TEXT or _NUMBER.fullmatch(rate)):
        return None
    return Grown(values[0], int(values[1]), name, has_shim, None if rate == NO_TEXT else int(rate))


def _file(kind: type[Kept | Written | Part]) -> Callable[[Sequence[str], Redact], Record | None]:
    def read(values: Sequence[str], redact: Redact) -> Record | None:
        if len(values) != 3 or not _is_token(values[0]) or not _NUMBER.fullmatch(values[2]):
            return None
        path = _text(values[1], redact)
        return kind(values[0], path, int(values[2])) if path else None

    return read


def _end(values: Sequence[str], redact: Redact) -> Record | None:
    return End(values[0], int(values[1])) if _are(values, _TOKEN, _STATUS) else None


def _room(values: Sequence[str], redact: Redact) -> Record | None:
    return Room(int(values[0])) if _are(values, _NUMBER) else None


def _warn(values: Sequence[str], redact: Redact) -> Record | None:
    if len(values) != 2 or not _WORD.fullmatch(values[0]) or (text := _text(values[1], redact)) is None:
        return None
    return Warn(values[0], text)


_READERS: dict[str, Callable[[Sequence[str], Redact], Record | None]] = {
    "begin": _begin,
    "length": _length,
    "bytes": _bytes,
    "idle": _idle,
    "kept": _file(Kept),
    "file": _file(Written),
    "part": _file(Part),
    "end": _end,
    "room": _room,
    "warn": _warn,
}


def _is_token(word: str) -> bool:
    return _TOKEN.fullmatch(word) is not None


def _are(values: Sequence[str], *patterns: re.Pattern[str]) -> bool:
    return len(values) == len(patterns) and all(p.fullmatch(v) for p, v in zip(patterns, values, strict=True))


def _text(word: str, redact: Redact) -> str | None:
    """The text of a word in base64, empty for ``-``; None if the word is not base64."""
    if word == NO_TEXT:
        return ""
    try:
        raw = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        return None
    return redact(plain(raw))[:TEXT_CHARACTERS_MAX]
