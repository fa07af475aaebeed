"""Bytes to records. A record ends at a carriage return, at a newline, or where a progress bar closes.

How the bytes were cut into chunks makes no difference. A line is kept up to a bound; what is longer is thrown away as
it comes, so that a gigabyte without a newline costs no memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LINE_BYTES_MAX = 16 * 1024
# A secret that begins just before the cut is redacted whole: this much more is kept until then.
LOOKAHEAD_BYTES = 1024
# A line of nothing but brackets must not cost more than other lines: no line with a bar has so many.
BRACKETS_MAX = 256

_ENDS = re.compile(rb"[\r\n\]]")
_BRACKET = ord("]")
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])?"
)
# C0 and C1 controls, and the marks that turn the direction of text around.
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class Record:
    """``offset``: bytes from the beginning of the source to behind this record. ``bar``: what ``closes`` made of it.
    ``cut``: the line was longer than a line may be, and its rest is gone."""

    raw: bytes
    offset: int
    bar: Any
    cut: bool


class RecordSplitter:
    """``closes(line)`` is asked at each ``]`` and returns a bar if the line so far ends with one, else None."""

    def __init__(self, closes: Callable[[bytearray], Any]) -> None:
        self._closes = closes
        self._line = bytearray()
        self._length = 0
        self._brackets = 0
        self._offset = 0

    def feed(self, chunk: bytes) -> list[Record]:
        records: list[Record] = []
        begin = 0
        for match in _ENDS.finditer(chunk):
            end = match.end()
            if chunk[end - 1] == _BRACKET:
                if self._brackets == BRACKETS_MAX or self._length + end - begin > LINE_BYTES_MAX:
                    continue
                self._brackets += 1
                self._keep(chunk[begin:end])
                bar = self._closes(self._line)
                if bar is not None:
                    records.append(self._end(self._offset + end, bar))
            else:
                self._keep(chunk[begin : end - 1])
                if self._length:
                    records.append(self._end(self._offset + end, None))
            begin = end
        self._keep(chunk[begin:])
        self._offset += len(chunk)
        return records

    def close(self) -> list[Record]:
        """The last line, which nothing ended."""
        return [self._end(self._offset, None)] if self._length else []

    def _keep(self, piece: bytes) -> None:
        room = LINE_BYTES_MAX + LOOKAHEAD_BYTES - len(self._line)
        if room > 0:
            self._line += piece[:room]
        self._length += len(piece)

    def _end(self, offset: int, bar: Any) -> Record:
        record = Record(bytes(self._line), offset, bar, self._length > LINE_BYTES_MAX)
        self._line.clear()
        self._length = self._brackets = 0
        return record


def plain(raw: bytes) -> str:
    """The text without colours and control characters: what a person would read."""
    text = raw.decode("utf-8", errors="replace")
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    return _CONTROLS.sub("", text).replace("\t", "    ").strip()
