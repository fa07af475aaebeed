"""Bytes in, events out: no clock, no await, no logging.

What comes out depends on the bytes alone, however they were cut into chunks. Every event carries the offset of the end
of the line that it came from, so that a second reading of the same bytes can be continued at any event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.events.bounds import Bounds
from service.events.event_types import Event, Output
from service.events.ledger import Evidence, Ledger
from service.events.lines import LINE_BYTES_MAX, Line, LineSplitter, plain
from service.events.recorded_event import NewEvent
from service.events.redaction import Redactor
from service.events.room import Room
from service.events.tools import TOOLS
from service.events.tools.live_runs import LiveRuns
from service.events.tools.protocol import NOT_MINE, Context, Tool
from service.events.tools.recorder import Recorder

UTF8_BYTES_MAX = 4  # of one character
_UNBROKEN = tuple(mark for tool in TOOLS for mark in tool.unbroken)


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
        self._ledger = Ledger()
        self._bounds = Bounds()
        self._command: str | None = None
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
        self._recorder = Recorder(context)
        self._tools = tuple(tool(context) for tool in TOOLS)
        # Only the tools that have such a reader of their own are asked: a call for nothing costs as much as a look.
        self._at_brackets = tuple(tool for tool in self._tools if type(tool).at_bracket is not Tool.at_bracket)
        self._bars = tuple(tool for tool in self._tools if type(tool).bar is not Tool.bar)
        self._lines = tuple(tool for tool in self._tools if type(tool).line is not Tool.line)
        self._overhearing = tuple(tool for tool in self._tools if type(tool).overhear is not Tool.overhear)

    def feed(self, chunk: bytes) -> list[NewEvent]:
        """The events of all lines that end within this chunk."""
        return [new for line in self._splitter.feed(chunk) for new in self._new(self._read(line), line.offset)]

    def close(self, exit_code: int | None) -> list[NewEvent]:
        """The output has ended: what its last line holds, and what only the exit status can tell."""
        events = [new for line in self._splitter.close() for new in self._new(self._read(line), line.offset)]
        if exit_code == 0:
            events += [new for tool in self._tools for new in self._new(self._heard(tool, tool.completed()), None)]
            events += self._new(self._recorder.completed(), None)
        return events

    @property
    def evidence(self) -> Evidence:
        """What a verdict needs; asked after the last line."""
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

    def _new(self, events: Sequence[Event], offset: int | None) -> list[NewEvent]:
        if self._room.free_bytes is not None:
            for event in events:
                self._room.observe(event)
        return [
            NewEvent(event=bounded, resource=self._resource, attempt=self._attempt, source_offset=offset)
            for event in events
            if (bounded := self._bounds.admit(event)) is not None
        ]

    def _at_bracket(self, line: bytearray) -> Sequence[Event] | None:
        for mark in _UNBROKEN:
            if mark in line:
                return None
        for tool in self._at_brackets:
            events = tool.at_bracket(line)
            if events is not NOT_MINE:
                self._recognise(tool)
                return self._heard(tool, events)
        return None

    def _read(self, line: Line) -> Sequence[Event]:
        text = plain(line.raw)
        if line.drawn is not None:
            return self._drawn(text, line.drawn)
        if not text:
            return ()
        if line.cut:
            return [self._output(text, is_cut=True)]
        recorded = self._recorder.record(text)
        if recorded is not NOT_MINE:
            return recorded
        for tool in self._bars:
            events = tool.bar(text)
            if events is not NOT_MINE:
                self._recognise(tool)
                return self._drawn(text, self._heard(tool, events))
        output = self._output(text, is_cut=False)
        for tool in self._lines:
            events = tool.line(text, output)
            if events is not NOT_MINE:
                self._recognise(tool)
                return self._heard(tool, events)
        return [output]

    def _heard(self, tool: Tool, events: Sequence[Event]) -> Sequence[Event]:
        """What a tool's reader made of a line, without what the records of runs have said already."""
        return [event for event in events if self._live.admits(tool.name, event)]

    def _recognise(self, tool: Tool) -> None:
        """Only a command has an exit status: tqdm draws for whatever Python runs."""
        if tool.commands:
            self._command = tool.name

    def _drawn(self, text: str, events: Sequence[Event]) -> Sequence[Event]:
        """A bar, noted as evidence; and what followed on its line."""
        self._ledger.bar(self._redact(text))
        if events and isinstance(after := events[-1], Output):
            self._note(after.line)
        return events

    def _output(self, text: str, *, is_cut: bool) -> Output:
        """The line as people may see it, noted as evidence."""
        shown = self._redact(text)
        if is_cut or len(shown) > LINE_BYTES_MAX // UTF8_BYTES_MAX:
            encoded = shown.encode()
            is_cut = is_cut or len(encoded) > LINE_BYTES_MAX
            shown = encoded[:LINE_BYTES_MAX].decode(errors="ignore")
        self._note(shown)
        return Output(line=shown, cut=is_cut)

    def _note(self, shown: str) -> None:
        if self._ledger.line(shown):
            self._recorder.overhear_error(shown)
        for tool in self._overhearing:
            tool.overhear(shown)
