"""Bytes in, events out: no clock, no await, no logging.

What comes out depends on the bytes alone, however they were cut into chunks. Every event carries the offset of the end
of the line that it came from, so that a second reading of the same bytes can be continued at any event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from service.events.bounds import Bounds
from service.events.event_types import Event, Output, Progress
from service.events.ledger import Evidence, Ledger
from service.events.lines import LINE_BYTES_MAX, Line, LineSplitter, plain, without_controls
from service.events.recorded_event import NewEvent
from service.events.redaction import Redactor, redactor_of
from service.events.room import Room
from service.events.tools import TOOLS
from service.events.tools.live_runs import LiveRuns
from service.events.tools.protocol import BRACKET_BYTES_MAX, NOT_MINE, Context, Tool
from service.events.tools.recorder import Recorder

UTF8_BYTES_MAX = 4  # of one character
READERS_MAX = 4_096
REDRAWN_BYTES_MAX = 1_024
_PRINTABLE = range(ord(" "), ord("~") + 1)
_UNBROKEN = tuple(mark for tool in TOOLS for mark in tool.unbroken)

# A named tuple's own way, through a function of Python's, takes twice as long.
_new_event: Callable[[tuple[Event, str | None, int | None, int | None]], NewEvent] = partial(tuple.__new__, NewEvent)

_Readers = tuple[tuple[Tool, ...], tuple[Tool, ...]]

# What an event costs is mostly the number of questions that its line is asked. So a line is shown only to the tools
# whose lines can begin and end so (`_readers_of`), and a bracket only to those whose bars hold what follows its
# opening; and what can be told of a whole chunk at once is not asked of each of its lines (`redactor_of`).


class ProgressParser:
    """The parser of one attempt's output. ``feed`` the bytes in order, then ``close`` with the exit status.

    ``title`` names a download whose tool names none. ``redact`` is applied to every text before it leaves.
    ``mark``: what the service's own records in the output begin with, None where there are none.
    ``estimate_bytes``: what the card says of its size.
    """

    def __init__(
        self,
        *,
        resource: str | None = None,
        attempt: int | None = None,
        title: str = "download",
        redact: Callable[[str], str] | None = None,
        mark: str | None = None,
        estimate_bytes: int | None = None,
    ) -> None:
        self._resource = resource
        self._attempt = attempt
        self._redact = redact if redact is not None else Redactor()
        self._splitter = LineSplitter(self._at_bracket)
        # The chunk that the line at hand stands in, None if it began in an earlier one; and what redacts it there.
        self._chunk: bytes | None = None
        self._redact_here: Callable[[str], str] | None = None
        self._ledger = Ledger()
        self._bounds = Bounds()
        self._command: str | None = None
        self._last_bar: bytes | None = None
        # The tool whose bar was last: its next one will probably look the same.
        self._drawing: Tool | None = None
        self._live = LiveRuns()
        self._room = Room()
        context = Context(
            title=title,
            redact=self._redact,
            mark=mark,
            runs=self._live,
            room=self._room,
            estimate_bytes=estimate_bytes,
        )
        self._mark = mark
        self._recorder = Recorder(context)
        self._tools = tuple(tool(context) for tool in TOOLS)
        # Only the tools that have such a reader of their own are asked: a call for nothing costs as much as a look.
        self._at_brackets = tuple(tool for tool in self._tools if type(tool).at_bracket is not Tool.at_bracket)
        self._by_bracket = {
            byte: tuple(tool for tool in self._at_brackets if byte in tool.bracket_begins) for byte in _PRINTABLE
        }
        self._bars = tuple(tool for tool in self._tools if type(tool).bar is not Tool.bar)
        self._lines = tuple(tool for tool in self._tools if type(tool).line is not Tool.line)
        self._readers: dict[str, _Readers] = {}
        self._overhear = tuple(tool.overhear for tool in self._tools if type(tool).overhear is not Tool.overhear)

    def feed(self, chunk: bytes) -> list[NewEvent]:
        """The events of all lines that end within this chunk."""
        new: list[NewEvent] = []
        if self._drawing is not None:
            chunk = self._redrawn(self._drawing, chunk, new)
            if not chunk:
                return new
        self._chunk = None if self._splitter.is_within_a_line else chunk
        self._redact_here = None
        for line in self._splitter.feed(chunk):
            if events := self._read(line):
                self._add(new, events, line.offset)
            self._chunk = chunk
        self._chunk = None
        return new

    def close(self, exit_code: int | None) -> list[NewEvent]:
        """The output has ended: what its last line holds, and what only the exit status can tell."""
        new: list[NewEvent] = []
        for line in self._splitter.close():
            self._add(new, self._read(line), line.offset)
        if exit_code == 0:
            for tool in self._tools:
                self._add(new, self._heard(tool, tool.completed()), None)
            self._add(new, self._recorder.completed(), None)
        return new

    @property
    def evidence(self) -> Evidence:
        """What a verdict needs; asked after the last line."""
        self._note_last_bar()
        return Evidence(
            failures=tuple(failure for tool in self._tools for failure in tool.failures()),
            error_lines=self._ledger.error_lines,
            tail=self._ledger.tail,
            tool=self._command,
            runs=self._recorder.ledger,
            last_plain=self._ledger.last_plain,
        )

    @property
    def announced_too_much(self) -> int | None:
        """The bytes that a download has last announced and that were not free when the attempt began."""
        return self._room.announced_too_much

    def _add(self, new: list[NewEvent], events: Sequence[Event], offset: int | None) -> None:
        for event in events:
            if self._room.free_bytes is not None:
                self._room.observe(event)
            bounded = self._bounds.admit(event)
            if bounded is not None:
                new.append(NewEvent(bounded, self._resource, self._attempt, offset))

    def _redrawn(self, tool: Tool, chunk: bytes, new: list[NewEvent]) -> bytes:
        """The bars that a read begins with, if they are drawn like the last one: the rest of the read. Nearly every
        read is one such bar and nothing else, so these take a short way, with one question to the one tool."""
        again, kept = tool.again, self._splitter.line
        if again is None or len(kept) > REDRAWN_BYTES_MAX:
            return chunk
        raw = bytes(kept) + chunk if kept else chunk
        text = raw.decode("latin-1")
        # A line that begins with the mark is a record, even if it looks like a bar.
        if self._mark is not None and self._mark in text:
            return chunk
        last = text.rfind(tool.again_ends)
        before = self._splitter.offset - len(kept)
        begin = end = 0
        while end <= last and (found := again.match(text, end)) and (bar := tool.redrawn(found)) is not None:
            begin, end = end, found.end()
            self._live.bars += 1
            if self._room.free_bytes is not None:
                self._room.observe(bar)
            if self._bounds.admits_a_bar():
                new.append(_new_event((bar, self._resource, self._attempt, before + end)))
        if not end:
            return chunk
        self._recognise(tool)
        self._last_bar = raw[begin:end]
        self._splitter.skip_to(before + end)
        return raw[end:]

    def _at_bracket(self, line: bytes | bytearray) -> Sequence[Event] | None:
        begin = line.rfind(b"[", -BRACKET_BYTES_MAX)
        if begin < 0:
            return None
        tools = self._at_brackets if b"\x1b" in line else self._by_bracket.get(line[begin + 1], self._at_brackets)
        if not tools:
            return None
        for mark in _UNBROKEN:
            if mark in line:
                return None
        for tool in tools:
            events = tool.at_bracket(line)
            if events is not NOT_MINE:
                self._recognise(tool)
                self._drawing = tool
                return self._heard(tool, events)
        return None

    def _read(self, line: Line) -> Sequence[Event]:
        raw, _, drawn, is_cut = line
        if drawn is not None:
            return self._drawn(raw, drawn)
        text = raw.decode("utf-8", errors="replace")
        is_as_it_stands = text.isprintable()
        text = text.strip() if is_as_it_stands else without_controls(text)
        if not text:
            return ()
        if is_cut:
            return [self._output(text, self._redact, is_cut=True)]
        if self._mark is not None and text.startswith(self._mark):
            recorded = self._recorder.record(text)
            if recorded is not NOT_MINE:
                return recorded
        bars, lines = self._readers.get(text[0] + text[-1]) or self._readers_of(text[0], text[-1])
        for tool in bars:
            events = tool.bar(text)
            if events is not NOT_MINE:
                self._recognise(tool)
                self._drawing = tool
                return self._drawn(raw, self._heard(tool, events))
        is_in_chunk = is_as_it_stands and self._chunk is not None and text.isascii()
        output = self._output(text, self._redactor_here() if is_in_chunk else self._redact, is_cut=False)
        for tool in lines:
            events = tool.line(text, output)
            if events is not NOT_MINE:
                self._recognise(tool)
                return self._heard(tool, events)
        return (output,)

    def _readers_of(self, first: str, last: str) -> _Readers:
        """The tools whose bar, and those whose line, may begin and end with these characters, in the order of
        recognition."""
        bars = self._bars
        lines = tuple(tool for tool in self._lines if tool.line_ends is None or last in tool.line_ends)
        if first.isascii():
            bars = tuple(tool for tool in bars if tool.bar_begins is None or first in tool.bar_begins)
            lines = tuple(tool for tool in lines if tool.line_begins is None or first in tool.line_begins)
        if len(self._readers) < READERS_MAX:
            self._readers[first + last] = bars, lines
        return bars, lines

    def _redactor_here(self) -> Callable[[str], str]:
        if self._redact_here is None:
            self._redact_here = redactor_of(self._chunk or b"", self._redact)
        return self._redact_here

    def _heard(self, tool: Tool, events: Sequence[Event]) -> Sequence[Event]:
        """What a tool's reader made of a line, without what the records of runs have said already."""
        if len(events) == 1 and type(events[0]) is Progress:
            self._live.bars += 1
            return events
        return [event for event in events if self._live.admits(tool.name, event)]

    def _recognise(self, tool: Tool) -> None:
        """Only a command has an exit status: tqdm draws for whatever Python runs."""
        if tool.commands:
            self._command = tool.name

    def _drawn(self, raw: bytes, events: Sequence[Event]) -> Sequence[Event]:
        """A bar, noted as evidence; and what followed on its line."""
        self._last_bar = raw
        if events and isinstance(after := events[-1], Output):
            self._note(after.line)
        return events

    def _output(self, text: str, redact: Callable[[str], str], *, is_cut: bool) -> Output:
        """The line as people may see it, noted as evidence."""
        shown = redact(text)
        if is_cut or len(shown) > LINE_BYTES_MAX // UTF8_BYTES_MAX:
            encoded = shown.encode()
            is_cut = is_cut or len(encoded) > LINE_BYTES_MAX
            shown = encoded[:LINE_BYTES_MAX].decode(errors="ignore")
        self._note(shown)
        return Output(shown, is_cut)

    def _note_last_bar(self) -> None:
        """Of a run of bars the evidence holds the last one: only that one is made readable."""
        if self._last_bar is not None:
            self._ledger.bar(self._redact(plain(self._last_bar)))
            self._last_bar = None

    def _note(self, shown: str) -> None:
        if self._last_bar is not None:
            self._note_last_bar()
        if self._ledger.line(shown):
            self._recorder.overhear_error(shown)
        for overhear in self._overhear:
            overhear(shown)
