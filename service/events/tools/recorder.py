"""The reader of the service's own records in an attempt's log: runs of tools, and the bytes of those that draw no bar.

A line that begins with the attempt's mark is a record. It is neither output nor evidence in words, so the parser asks
this reader before all tools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.events.event_types import (
    Event,
    FileKept,
    Progress,
    ResourceWarned,
    RunEnded,
    RunStarted,
    StageComplete,
    StageStart,
)
from service.events.run_records import (
    MARK_CHARACTERS,
    Begin,
    End,
    Grown,
    Kept,
    Length,
    Record,
    Room,
    Warn,
    Written,
    record_of,
)
from service.events.runs import RUNS_MAX, RunBook, RunLedger, base_name, name_by
from service.events.tools.civitdl import Civitdl
from service.events.tools.live_runs import WORD_CHARACTERS_MAX, LiveRun
from service.events.tools.protocol import MORE, NOT_MINE, Answer, Context

UNSHIMMED_MAX = 1_000
_STAGE = "download"
# Names of files that are renamed at their end.
_TEMPORARY = (".incomplete", ".tmp", ".part", ".aria2", ".crdownload")

# Once a second the instance records how many bytes each run has written, whether or not its tool draws a bar: it cannot
# know. So the bytes of a run become progress only if no bar at all came since the record before of that run: a bar says
# more. A download that thus shows itself by its bytes alone begins with a `stage_start` of the name of its file, and
# its good end completes it; one that its tool named itself (`LiveRun.stages`) does not begin again. A short one may end
# before its first second: then its end alone makes all three events.
#
# A tool whose bar has no name, or only the beginning of one, waits for the name of the run's file where a record will
# give it (`LiveRuns.awaits_name`): a download must not begin under one name and go on under another.


class Recorder:
    """``ledger``: all runs so far, with the words that belong to each. Numbers of runs count their beginnings."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._live = context.runs
        self._book = RunBook()
        self._number = 0
        self._unshimmed: dict[str, LiveRun] = {}
        self._bars_at_record = 0
        self._words: dict[str, Sequence[str]] = {}
        self._last_failed: LiveRun | None = None

    def record(self, text: str) -> Answer:
        """What a record says; NOT_MINE for any other line."""
        mark = self._context.mark
        if mark is None or not text.startswith(mark) or text[MARK_CHARACTERS : MARK_CHARACTERS + 1] != " ":
            return NOT_MINE
        record = record_of(text[MARK_CHARACTERS + 1 :], self._context.redact)
        if record is None:
            return NOT_MINE
        self._book.add(record)
        handle = _HANDLERS.get(type(record))
        events = handle(self, record) if handle is not None else MORE
        self._bars_at_record = self._live.bars
        return events

    def overhear_error(self, shown: str) -> None:
        """A line that reads like an error: it is kept as the words of the runs that live."""
        runs = self._live.speakers(shown)
        if not runs and self._last_failed is not None and not self._last_failed.words:
            runs = [self._last_failed]
        for run in runs:
            run.words.append(shown[:WORD_CHARACTERS_MAX])
            self._words[run.token] = run.words

    def completed(self) -> Sequence[Event]:
        """Exit status 0 completes what processes without a shim wrote."""
        return [StageComplete(name=name) for run in self._unshimmed.values() for name in run.stages]

    @property
    def ledger(self) -> RunLedger:
        return self._book.ledger_with_words(self._words)

    # --- one method for each kind of record -----------------------------------------------------------------------

    def _begin(self, record: Begin) -> Answer:
        if self._number >= RUNS_MAX or self._live.get(record.token) is not None:
            return MORE
        self._number += 1
        name = base_name(record.destination) if record.destination and record.kind == "file" else None
        run = LiveRun(
            token=record.token,
            number=self._number,
            tool=record.tool,
            name=self._context.name(name) if name else None,
            is_judged=record.is_judged,
            destination=record.destination,
            bars=self._live.bars,
            address=record.address,
            is_named_later=record.is_judged and record.kind == "dir" and " +" not in (record.address or ""),
        )
        self._live.begin(run)
        return [
            RunStarted(
                run=run.number,
                tool=run.tool,
                destination=record.destination,
                address=record.address,
                judged=record.is_judged,
            )
        ]

    def _length(self, record: Length) -> Answer:
        run = self._live.get(record.token)
        if run is not None:
            run.announced_bytes = record.bytes
        return MORE

    def _grown(self, record: Grown) -> Answer:
        run = self._live.get(record.token) if record.has_shim else self._without_shim(record)
        if run is None:
            return MORE
        has_bar, run.bars = run.bars != self._live.bars, self._live.bars
        run.bytes = record.bytes
        if run.is_named_later and not record.name.endswith(_TEMPORARY):
            run.name = run.name or self._context.name(base_name(record.name))
        if has_bar:
            return MORE
        begins = [] if run.stages else [self._begin_stage(run, record.name)]
        return [*begins, _progress(record.bytes, run.announced_bytes, record.bytes_per_second)]

    def _without_shim(self, record: Grown) -> LiveRun | None:
        """A process that no shim started: each of its files is a download of its own."""
        key = f"{record.token} {record.name}"
        run = self._unshimmed.get(key)
        if run is None and len(self._unshimmed) < UNSHIMMED_MAX:
            run = self._unshimmed[key] = LiveRun(key, 0, "script", None, False, None, self._bars_at_record)
        return run

    def _kept(self, record: Kept) -> Answer:
        run = self._live.get(record.token)
        if run is not None:
            run.is_kept = True
        return [FileKept(path=record.path, bytes=record.bytes)]

    def _written(self, record: Written) -> Answer:
        run = self._live.get(record.token)
        if run is not None:
            run.written_bytes = (run.written_bytes or 0) + record.bytes
            run.name = run.name or self._context.name(base_name(record.path))
        return MORE

    def _end(self, record: End) -> Answer:
        run = self._live.end(record.token)
        if run is None:
            return MORE
        if record.exit_code != 0:
            self._last_failed = run
        stages = self._end_of_stages(run) if record.exit_code == 0 else []
        if run.tool != Civitdl.name:
            self._live.settle(run)
        ended = RunEnded(
            run=run.number,
            exit_code=record.exit_code,
            bytes=run.written_bytes if run.written_bytes is not None else run.bytes,
            announced_bytes=run.announced_bytes,
            destination=run.destination,
            name=run.name or name_by(run.address, run.destination),
        )
        return [*stages, ended]

    def _room(self, record: Room) -> Answer:
        context = self._context
        context.room.free_bytes = record.bytes
        estimate = context.estimate_bytes
        if estimate is None or estimate <= record.bytes:
            return MORE
        text = f"the card says about {estimate:,} bytes, and {record.bytes:,} are free on the instance"
        return [ResourceWarned(code="little_room", text=text)]

    def _warn(self, record: Warn) -> Answer:
        return [ResourceWarned(code=record.code, text=record.text)]

    # --- stages ------------------------------------------------------------------------------------------------------

    def _begin_stage(self, run: LiveRun, shown: str = "") -> StageStart:
        shown = base_name(shown)
        if shown.endswith(_TEMPORARY):
            shown = ""
        name = self._context.name(run.name or shown or run.label) or self._context.title
        run.stages[name] = False
        run.begun_by_bytes = name
        return StageStart(name=name)

    def _end_of_stages(self, run: LiveRun) -> list[Event]:
        """The good end of a run completes what its tool has not completed itself. civitdl's end says nothing."""
        if not run.is_judged or run.is_kept or run.tool == Civitdl.name:
            return []
        events: list[Event] = []
        if not run.stages:
            size = run.written_bytes if run.written_bytes is not None else run.bytes
            events = [self._begin_stage(run), *([_progress(size, size)] if size else [])]
        events += [StageComplete(name=name) for name, is_complete in run.stages.items() if not is_complete]
        return events


def _progress(downloaded: int, announced: int | None, bytes_per_second: int | None = None) -> Progress:
    """What a tool would have printed it did not, so only the bytes are known; and how many, if they were announced."""
    total = announced if announced and announced >= downloaded else None
    percent = downloaded * 100 // total if total else None
    return Progress(
        stage=_STAGE,
        percent=percent,
        downloaded_bytes=downloaded,
        total_bytes=total,
        bytes_per_second=bytes_per_second,
    )


_HANDLERS: Mapping[type[Record], Callable[[Recorder, Any], Answer]] = {
    Begin: Recorder._begin,
    Length: Recorder._length,
    Grown: Recorder._grown,
    Kept: Recorder._kept,
    Written: Recorder._written,
    End: Recorder._end,
    Room: Recorder._room,
    Warn: Recorder._warn,
}
