"""Bytes to lines: a line ends at a carriage return, at a newline, or where a progress bar closes.

How the bytes were cut into chunks makes no difference. A line is kept up to a bound; the rest of a longer one is thrown
away as it comes, so that a gigabyte without a newline costs no memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from service.events.event_types import Event

LINE_BYTES_MAX = 16 * 1024
# A secret that begins just before the cut is redacted whole: this much more is kept until then.
LOOKAHEAD_BYTES = 1024
# A line of nothing but brackets must not cost more than other lines: no line with a bar has this many.
BRACKETS_MAX = 256

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


# Three characters can end a line. Carriage return and newline always end it, so a chunk is split at them at once:
# Python code runs once a line, not once a byte. A closing bracket ends it only if it closes a progress bar, and waiting
# for the next carriage return instead would show each bar one redraw late (100 ms). So `at_bracket` is asked with the
# line so far; its answer must depend on the bytes of the stream alone, and because lines are handed out one by one, all
# lines before this bracket's have been read by then. (Other bars of its own line may be read later: reading a bar
# changes no answer.) Two bounds keep hostile lines cheap: after BRACKETS_MAX questions, or beyond LINE_BYTES_MAX, a
# bracket is a byte like any other. The offset counts every byte, also those that were thrown away: it is the place from
# which a second reading can continue.


class LineSplitter:
    """``at_bracket(line)`` is asked at each ``]``: the events of the bar that it closes, or None if it closes none."""

    def __init__(self, at_bracket: Callable[[bytes | bytearray], Sequence[Event] | None]) -> None:
        self._at_bracket = at_bracket
        self.offset = 0
        """How many bytes have been fed."""
        self.line = bytearray()
        """The line that has begun and not ended, as far as it is kept."""
        self._length = 0
        self._brackets = 0

    def feed(self, chunk: bytes) -> Iterable[Line]:
        """The lines that end within this chunk. Exhaust it before the next ``feed``."""
        begin = self.offset
        self.offset += len(chunk)
        pieces = chunk.replace(b"\r", b"\n").split(b"\n")
        if len(pieces) > 1:
            return self._lines(pieces, begin)
        if b"]" in chunk:
            return self._bars_of(chunk, begin)
        self._keep(chunk)
        return ()

    def skip_to(self, offset: int) -> None:
        """The bytes up to here were read by another way. They ended the line that had begun, and begin none."""
        self.offset = offset
        if self._length:
            self.line.clear()
            self._length = self._brackets = 0

    def _lines(self, pieces: list[bytes], end: int) -> Iterator[Line]:
        rest = pieces.pop()
        for piece in pieces:
            begin, end = end, end + len(piece) + 1
            if self._length or b"]" in piece or len(piece) > LINE_BYTES_MAX:
                yield from self._bars_of(piece, begin)
                if self._length:
                    yield self._end(end, None)
            elif piece:
                # Most lines lie whole in one chunk: they are never put together.
                yield Line(piece, end, None, False)
        yield from self._bars_of(rest, end)

    @property
    def is_within_a_line(self) -> bool:
        """Whether the next line began in an earlier chunk."""
        return self._length > 0

    def close(self) -> Iterator[Line]:
        """The last line, which nothing ended."""
        if self._length:
            yield self._end(self.offset, None)

    def _bars_of(self, piece: bytes, offset: int) -> list[Line]:
        """The bars that end within this piece of a line; what follows the last is kept."""
        bars: list[Line] = []
        begin, end = 0, piece.find(b"]") + 1
        while end and self._brackets < BRACKETS_MAX and self._length + end - begin <= LINE_BYTES_MAX:
            line = piece[begin:end]
            if self._length:
                self._keep(line)
                begin = end
            drawn = self._at_bracket(self.line if self._length else line)
            if drawn is None:
                self._brackets += 1
            else:
                bars.append(self._end(offset + end, drawn) if self._length else Line(line, offset + end, drawn, False))
                begin, self._brackets = end, 0
            end = piece.find(b"]", end) + 1
        if begin < len(piece):
            self._keep(piece[begin:])
        return bars

    def _keep(self, piece: bytes) -> None:
        room = LINE_BYTES_MAX + LOOKAHEAD_BYTES - len(self.line)
        if room > 0:
            self.line += piece[:room]
        self._length += len(piece)

    def _end(self, offset: int, drawn: Sequence[Event] | None) -> Line:
        line = Line(bytes(self.line), offset, drawn, self._length > LINE_BYTES_MAX)
        self.line.clear()
        self._length = self._brackets = 0
        return line


def plain(raw: bytes) -> str:
    """The text without colours and control characters: what a person would read."""
    text = raw.decode("utf-8", errors="replace")
    return text.strip() if text.isprintable() else without_controls(text)


def without_controls(text: str) -> str:
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
        if text.isprintable():
            return text.strip()
    return _CONTROLS.sub("", text).replace("\t", "    ").strip()
