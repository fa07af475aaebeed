"""Bytes to lines: a line ends at a carriage return, at a newline, or where a progress bar closes.

How the bytes were cut into chunks makes no difference. A line is kept up to a bound; the rest of a longer one is thrown
away as it comes, so that a gigabyte without a newline costs no memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from service.events.event_types import Event

LINE_BYTES_MAX = 16 * 1024
# A secret that begins just before the cut is redacted whole: this much more is kept until then.
LOOKAHEAD_BYTES = 1024
# A line of nothing but brackets must not cost more than other lines: no line with a bar has this many.
BRACKETS_MAX = 256

_ENDS = re.compile(rb"[\r\n\]]")
_BRACKET = ord("]")
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])?"
)
# C0 and C1 controls, and the marks that turn the direction of text around.
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class Line(NamedTuple):
    """One line of output. ``offset``: the bytes from the beginning of the source to the end of this line. ``drawn``:
    the events of the bar that ended it, None where a newline, a carriage return or the end of the output did. ``cut``:
    the line was longer than a line may be, and its rest is gone."""

    raw: bytes
    offset: int
    drawn: Sequence[Event] | None
    cut: bool


# Three characters can end a line, and one regular expression finds all of them: Python code runs once an end, not once
# a byte. Carriage return and newline always end it. A closing bracket ends it only if it closes a progress bar, and
# waiting for the next carriage return instead would show each bar one redraw late (100 ms). So `at_bracket` is asked
# with the line so far; its answer must depend on the bytes of the stream alone, and because lines are handed out one by
# one, all lines before this bracket have been read by then. Two bounds keep hostile lines cheap: after BRACKETS_MAX
# questions, or beyond LINE_BYTES_MAX, a bracket is a byte like any other. The offset counts every byte, also those that
# were thrown away: it is the place from which a second reading can continue.


class LineSplitter:
    """``at_bracket(line)`` is asked at each ``]``: the events of the bar that it closes, or None if it closes none."""

    def __init__(self, at_bracket: Callable[[bytes | bytearray], Sequence[Event] | None]) -> None:
        self._at_bracket = at_bracket
        self._line = bytearray()
        self._length = 0
        self._brackets = 0
        self._offset = 0

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that end within this chunk. Exhaust it before the next ``feed``."""
        begin = 0
        for match in _ENDS.finditer(chunk):
            end = match.end()
            if chunk[end - 1] == _BRACKET:
                if self._brackets == BRACKETS_MAX or self._length + end - begin > LINE_BYTES_MAX:
                    continue
                piece = chunk[begin:end]
                if self._length == 0 and (drawn := self._at_bracket(piece)) is not None:
                    # Most bars, too, lie whole in one chunk.
                    yield Line(piece, self._offset + end, drawn, False)
                elif self._length == 0:
                    self._brackets = 1
                    self._keep(piece)
                else:
                    self._brackets += 1
                    self._keep(piece)
                    drawn = self._at_bracket(self._line)
                    if drawn is not None:
                        yield self._end(self._offset + end, drawn)
            elif self._length == 0 and end - 1 - begin <= LINE_BYTES_MAX:
                # Most lines lie whole in one chunk: they are never put together.
                if end - 1 > begin:
                    yield Line(chunk[begin : end - 1], self._offset + end, None, False)
            else:
                self._keep(chunk[begin : end - 1])
                if self._length:
                    yield self._end(self._offset + end, None)
            begin = end
        self._keep(chunk[begin:])
        self._offset += len(chunk)

    def close(self) -> Iterator[Line]:
        """The last line, which nothing ended."""
        if self._length:
            yield self._end(self._offset, None)

    def _keep(self, piece: bytes) -> None:
        room = LINE_BYTES_MAX + LOOKAHEAD_BYTES - len(self._line)
        if room > 0:
            self._line += piece[:room]
        self._length += len(piece)

    def _end(self, offset: int, drawn: Sequence[Event] | None) -> Line:
        line = Line(bytes(self._line), offset, drawn, self._length > LINE_BYTES_MAX)
        self._line.clear()
        self._length = self._brackets = 0
        return line


def plain(raw: bytes) -> str:
    """The text without colours and control characters: what a person would read."""
    text = raw.decode("utf-8", errors="replace")
    if text.isprintable():
        return text.strip()
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    return _CONTROLS.sub("", text).replace("\t", "    ").strip()
