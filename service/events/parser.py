"""Bytes in, events out: no clock, no await, no logging.

What comes out depends on the bytes alone, however they were cut into chunks, and so do the bounds: beyond them progress
thins out but never stops, and lines are no longer kept. Every event carries the offset behind the record that it came
from, so that a second reading of the same bytes can be continued at any event.
"""

from __future__ import annotations

from collections.abc import Callable

from service.events.event_types import Event, Output, Progress, StageComplete, StageStart
from service.events.ledger import Evidence, Ledger
from service.events.lines import LINE_BYTES_MAX, Record, RecordSplitter, plain
from service.events.recorded_event import NewEvent
from service.events.redaction import Redactor
from service.events.tools import aria2, civitdl, curl, hf, provision, tqdm, wget

# civitdl draws ten bars a second: an hour of it is kept whole. Beyond that every 2nd, then every 4th … bar.
PROGRESS_EVENTS_FULL = 40_000
PROGRESS_EVENTS_STEP = 2_000
OUTPUT_LINES_MAX = 5_000
STAGE_EVENTS_MAX = 4_000
NAME_CHARACTERS_MAX = 500
OMITTED = f"… more than {OUTPUT_LINES_MAX} lines: further lines are not kept"


class ProgressParser:
    """The parser of one attempt's output. ``feed`` the bytes in order, then ``close`` with the exit status.

    ``title`` names a download whose tool names none. ``redact`` is applied to every text before it leaves.
    """

    def __init__(
        self,
        *,
        resource: str | None = None,
        attempt: int | None = None,
        title: str = "download",
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self._resource = resource
        self._attempt = attempt
        self._title = title
        self._redact = redact if redact is not None else Redactor()
        self._splitter = RecordSplitter(_closes)
        self._ledger = Ledger()
        self._bounds = _Bounds()
        self._wget_length = wget.Length()
        self._wget_name: str | None = None
        self._in_quiet_wget = False
        self._in_curl = False
        self._in_aria2_summary = False
        self._aria2_gids: set[str] = set()
        # Of tools that never say that a file is complete, but by their exit status.
        self._open_names: dict[str, None] = {}

    def feed(self, chunk: bytes) -> list[NewEvent]:
        """The events of all records that end within this chunk."""
        return [event for record in self._splitter.feed(chunk) for event in self._record(record)]

    def close(self, exit_code: int | None) -> list[NewEvent]:
        """The output has ended: what its last line holds, and what only the exit status can tell."""
        records = self._splitter.close()
        events = [event for record in records for event in self._record(record)]
        if exit_code == 0:
            names = [*([self._title] if self._in_curl else []), *self._open_names]
            events += [new for name in names for new in self._new(StageComplete(name=name), None)]
        return events

    @property
    def evidence(self) -> Evidence:
        return self._ledger.evidence()

    def _record(self, record: Record) -> list[NewEvent]:
        events = self._bar(record) if record.bar is not None else self._line(record)
        return [new for event in events for new in self._new(event, record.offset)]

    def _new(self, event: Event, offset: int | None) -> list[NewEvent]:
        bounded = self._bounds.admit(event)
        if bounded is None:
            return []
        return [
            NewEvent(event=bounded, resource=self._resource, attempt=self._attempt, source_offset=offset),
        ]

    def _bar(self, record: Record) -> list[Event]:
        self._ledger.bar(self._redact(plain(record.raw)))
        if isinstance(record.bar, tqdm.Bar):
            if hf.FETCHING.match(record.bar.label):
                return []
            before = self._redact(record.bar.before[:LINE_BYTES_MAX])
            return [*([Output(line=before)] if before else []), *self._labelled(record.bar), record.bar.progress]
        self._ledger.tool = "aria2c"
        started: list[Event] = []
        if record.bar.gid not in self._aria2_gids and len(self._aria2_gids) < STAGE_EVENTS_MAX:
            self._aria2_gids.add(record.bar.gid)
            started = [StageStart(name=self._title)]
        return [*started, record.bar.progress]

    def _labelled(self, bar: tqdm.Bar) -> list[Event]:
        """A bar that has a file's name for its label begins that file."""
        name = self._name(hf.base_name(bar.label)) if bar.progress.downloaded_bytes is not None else ""
        return self._opens(name) if name else []

    def _opens(self, name: str) -> list[Event]:
        if name in self._open_names or len(self._open_names) >= STAGE_EVENTS_MAX:
            return []
        self._open_names[name] = None
        return [StageStart(name=name)]

    def _line(self, record: Record) -> list[Event]:
        text = plain(record.raw)
        if not text:
            return []
        events = self._progress(text) if not record.cut else None
        if events is not None:
            return events
        kept = self._redact(text)
        encoded = kept.encode()
        is_cut = record.cut or len(encoded) > LINE_BYTES_MAX
        if is_cut:
            kept = encoded[:LINE_BYTES_MAX].decode(errors="ignore")
        self._ledger.line(kept)
        stage = self._stage(text) if not record.cut else None
        if stage is not None:
            return stage
        return [Output(line=kept, cut=is_cut)]

    def _progress(self, text: str) -> list[Event] | None:
        """What wget and curl redraw. curl's columns are numbers only, so they count behind its header alone."""
        shown = wget.progress(text, self._wget_length)
        if shown is not None:
            self._ledger.tool = "wget"
            self._ledger.bar(self._redact(text))
            return self._wget_bar(shown)
        if self._in_curl and (row := curl.progress(text)) is not None:
            self._ledger.bar(self._redact(text))
            rest = self._redact(row[1])
            if rest:
                self._ledger.line(rest)
            return [row[0], *([Output(line=rest)] if rest else [])]
        if hf.is_network(text):
            self._ledger.bar(self._redact(text))
            return []
        shown = hf.progress(text)
        if shown is not None:
            self._ledger.bar(self._redact(text))
            return [*self._opens(self._title), shown]
        shown = curl.hash_bar(text)
        if shown is None:
            return None
        self._ledger.bar(self._redact(text))
        return [shown] if self._in_curl else [*self._curl_begins(), shown]

    def _stage(self, text: str) -> list[Event] | None:
        """The events of a line that begins or completes a download, or None for any other line."""
        if (found := civitdl.name_in(text, civitdl.STARTED)) is not None:
            name = self._name(found)
            self._ledger.started(name)
            return [StageStart(name=name)]
        if (found := civitdl.name_in(text, civitdl.COMPLETED)) is not None:
            name = self._name(found)
            self._ledger.completed(name)
            return [StageComplete(name=name)]
        for read in (_provision, self._wget, self._curl, self._aria2):
            events = read(text)
            if events is not None:
                return events
        return None

    def _wget(self, text: str) -> list[Event] | None:
        length = wget.length(text)
        if length is not None:
            self._wget_length = length
        elif wget.SPEAKS.match(text):
            self._ledger.tool = "wget"
        elif (found := wget.SAVING.match(text)) is not None:
            self._wget_name = self._name(wget.base_name(found[1]))
            self._ledger.tool = "wget"
            return [StageStart(name=self._wget_name)]
        elif (found := wget.SAVED.match(text)) is not None:
            name = self._name(wget.base_name(found[1])) if found[1] else self._wget_name or self._title
            self._wget_name = None
            return [StageComplete(name=name)]
        return None

    def _wget_bar(self, shown: Progress) -> list[Event]:
        """``wget -q --show-progress`` says no name and no end: its first bar begins a file, its last one ends it."""
        if self._wget_name is not None:
            return [shown]
        events: list[Event] = [shown] if self._in_quiet_wget else [StageStart(name=self._title), shown]
        self._in_quiet_wget = shown.elapsed is None
        if shown.elapsed is not None and shown.percent in (None, 100):
            events.append(StageComplete(name=self._title))
        return events

    def _curl(self, text: str) -> list[Event] | None:
        if curl.HEADER.match(text):
            return self._curl_begins()
        if curl.SPEAKS.match(text):
            self._ledger.tool = "curl"
        return [] if self._in_curl and curl.SECOND_HEADER.match(text) else None

    def _curl_begins(self) -> list[Event]:
        self._in_curl = True
        self._ledger.tool = "curl"
        return [StageStart(name=self._title)]

    def _aria2(self, text: str) -> list[Event] | None:
        if aria2.SUMMARY.match(text):
            self._in_aria2_summary = True
            return []
        if self._in_aria2_summary:
            # Each download has a frame of its own; what is no part of one ends the summary.
            self._in_aria2_summary = bool(aria2.IN_SUMMARY.match(text) or aria2.SUMMARY_ENDS.match(text))
            if self._in_aria2_summary:
                return []
        if not aria2.SPEAKS.match(text):
            return None
        self._ledger.tool = "aria2c"
        found = aria2.COMPLETE.search(text)
        if found is None:
            return None
        return [StageComplete(name=self._name(wget.base_name(found[1])))]

    def _name(self, name: str) -> str:
        return self._redact(name)[:NAME_CHARACTERS_MAX]


def _provision(text: str) -> list[Event] | None:
    if (found := provision.BEGINS.match(text)) is not None:
        return [StageStart(name=found[1]), Progress(stage=provision.STAGE)]
    if (found := provision.ENDS.match(text)) is not None:
        return [Progress(stage=provision.STAGE, percent=100), StageComplete(name=found[1])]
    return None


class _Bounds:
    """How many events of a kind one attempt may add to the log."""

    def __init__(self) -> None:
        self._outputs = 0
        self._stages = 0
        self._bars_seen = 0
        self._bars_kept = 0
        self._stride = 1

    def admit(self, event: Event) -> Event | None:
        if isinstance(event, Progress):
            return event if self._admit_bar() else None
        if isinstance(event, Output):
            self._outputs += 1
            if self._outputs == OUTPUT_LINES_MAX:
                return Output(line=OMITTED)
            return event if self._outputs < OUTPUT_LINES_MAX else None
        self._stages += 1
        return event if self._stages <= STAGE_EVENTS_MAX else None

    def _admit_bar(self) -> bool:
        self._bars_seen += 1
        if self._bars_seen % self._stride:
            return False
        self._bars_kept += 1
        if (
            self._bars_kept >= PROGRESS_EVENTS_FULL
            and (self._bars_kept - PROGRESS_EVENTS_FULL) % PROGRESS_EVENTS_STEP == 0
        ):
            self._stride *= 2
        return True


def _closes(line: bytearray) -> tqdm.Bar | aria2.Readout | None:
    bar = tqdm.closes(line) or aria2.closes(line)
    # A model's name may hold a whole bar.
    return bar if bar is None or not (civitdl.NAMING[0] in line or civitdl.NAMING[1] in line) else None
