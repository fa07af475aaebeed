"""The post-mortem of a job, from its events alone: what failed and what shows it, what to do, how the time went.

Pure: the same events give the same report, whenever it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from service.events import event_types as types
from service.events.causes import CAUSES, Cause, cause_in
from service.events.recorded_event import RecordedEvent, rfc3339

EVIDENCE_MAX = 5
LAST_LINES = 40
POINTS_MAX = 240
# What arrived since the last figure did so over all that time, but not over a longer silence.
SPREAD_MS_MAX = 10_000
# Figures that come in one moment behind a silence, as they do behind a link that was down, are one.
MOMENT_MS = 250
SILENCE_MS = 1_000
LINES_SEARCHED_MAX = 5_000
TIMELINE_MAX = 2_000


@dataclass(slots=True)
class _Attempt:
    """One attempt, as its events tell it."""

    resource: str
    attempt: int
    started_ms: int
    ended_ms: int | None = None
    outcome: str = "running"
    cause: str | None = None
    error: str | None = None
    hint: str | None = None
    exit_code: int | None = None
    bytes: int = 0
    failed_sequence: int | None = None
    tail: list[str] = field(default_factory=list)
    lines: list[tuple[int, int | None, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        seconds = None if self.ended_ms is None else (self.ended_ms - self.started_ms) / 1000
        return {
            "resource": self.resource,
            "attempt": self.attempt,
            "outcome": self.outcome,
            "cause": self.cause,
            "error": self.error,
            "exit_code": self.exit_code,
            "started_at": rfc3339(self.started_ms),
            "ended_at": None if self.ended_ms is None else rfc3339(self.ended_ms),
            "seconds": seconds,
            "bytes": self.bytes,
            "bytes_per_second": round(self.bytes / seconds) if seconds and self.bytes else None,
        }


@dataclass(slots=True)
class _Arrival:
    """Bytes of one resource that arrived within a time."""

    begin_ms: int
    end_ms: int
    bytes: int = 0


class Reporter:
    """``feed`` the events in order, then ``report``."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._timeline: list[dict[str, Any]] = []
        self._open: dict[tuple[str, str | None], dict[str, Any]] = {}
        self._flow: list[_Arrival] = []
        self._last_bytes: dict[str, int] = {}
        self._last_arrival: dict[str, _Arrival] = {}
        self._last_lines: list[str] = []
        self._terminal: dict[str, Any] | None = None
        self._failures: dict[str, _Attempt] = {}
        self._last_ms = 0
        self._count = 0

    def feed(self, events: Iterable[RecordedEvent]) -> Reporter:
        for recorded in events:
            self._count = recorded.sequence
            self._last_ms = recorded.at_ms
            handler = _HANDLERS.get(recorded.type)
            if handler is not None:
                handler(self, recorded, orjson.loads(recorded.data_json))
        return self

    def report(self) -> dict[str, Any]:
        """The JSON of the report. Times are RFC 3339 in UTC, amounts bytes and seconds."""
        end = self._terminal or {}
        for span in self._open.values():
            span["to"] = rfc3339(self._last_ms)
            span["seconds"] = round((self._last_ms - span.pop("_ms")) / 1000, 3)
        self._open.clear()
        return {
            **self._head,
            "state": end.get("state", "not ended"),
            "ended_at": end.get("at"),
            "installed": end.get("installed"),
            "total": len(self._head.get("resources", ())),
            "cause": end.get("cause"),
            "error": end.get("error"),
            "hint": end.get("hint"),
            "events": self._count,
            "failures": [self._failure(attempt) for attempt in self._failures.values()],
            "timeline": self._timeline[:TIMELINE_MAX],
            "attempts": [attempt.to_dict() for attempt in self._attempts.values()],
            "throughput": self._throughput(),
            "last_lines": self._last_lines[-LAST_LINES:],
        }

    # --- one method for each kind of event -----------------------------------------------------------------------

    def _queued(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        self._head = {
            "job_id": recorded.job_id,
            "instance": f"{data['ssh_user']}@{data['ssh_host']}:{data['ssh_port']}",
            "ui_home": data["ui_home"],
            "resources": [entry["resource"] for entry in data["resources"]],
            "retry_of": data.get("retry_of"),
            "created_at": recorded.at,
            "started_at": None,
        }
        self._begin("queue", None, recorded)

    def _job_started(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        self._head["started_at"] = recorded.at
        self._end("queue", None, recorded)
        self._begin("connect", None, recorded)

    def _resource_started(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        path = recorded.resource or ""
        self._end("connect", None, recorded)
        self._end("retry_wait", path, recorded)
        self._attempts[path, recorded.attempt or 1] = _Attempt(path, recorded.attempt or 1, recorded.at_ms)
        self._last_bytes[path] = 0
        self._last_arrival[path] = _Arrival(recorded.at_ms, recorded.at_ms)
        self._begin("download", path, recorded)

    def _progress(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        done = data.get("downloaded_bytes")
        path = recorded.resource or ""
        if done is None or data.get("stage") == "verify":
            return
        before = self._last_bytes.get(path, 0)
        if done == before:
            return
        self._last_bytes[path] = done
        # A figure that falls is the next file, or a new try: what it shows has arrived since.
        arrived = done - before if done > before else done
        attempt = self._attempts.get((path, recorded.attempt or 1))
        if attempt is not None:
            attempt.bytes += arrived
        last = self._last_arrival.get(path) or _Arrival(recorded.at_ms, recorded.at_ms)
        is_silence_told = last.end_ms - last.begin_ms >= SILENCE_MS and 0 <= recorded.at_ms - last.end_ms < MOMENT_MS
        if not is_silence_told:
            # The clock may have been set back between the two.
            begin_ms = min(max(last.end_ms, recorded.at_ms - SPREAD_MS_MAX), recorded.at_ms)
            last = self._last_arrival[path] = _Arrival(begin_ms, recorded.at_ms)
            self._flow.append(last)
        last.bytes += arrived

    def _output(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        self._last_lines.append(data["line"])
        del self._last_lines[:-LAST_LINES]
        attempt = self._attempts.get((recorded.resource or "", recorded.attempt or 1))
        if attempt is not None and len(attempt.lines) < LINES_SEARCHED_MAX:
            attempt.lines.append((recorded.sequence, recorded.source_offset, data["line"]))

    def _verification_started(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        self._end("download", recorded.resource, recorded)
        self._begin("verify", recorded.resource, recorded)

    def _ended(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        path = recorded.resource or ""
        for kind in ("download", "verify", "retry_wait"):
            self._end(kind, path, recorded)
        attempt = self._attempts.get((path, recorded.attempt or 1))
        if attempt is None:
            attempt = _Attempt(path, recorded.attempt or 0, recorded.at_ms)
        attempt.ended_ms = recorded.at_ms
        attempt.outcome = recorded.type.removeprefix("resource_")
        attempt.exit_code = data.get("exit_code")
        if recorded.type == types.ResourceFailed.type:
            attempt.cause, attempt.error, attempt.hint = data["cause"], data["error"], data["hint"]
            attempt.failed_sequence = recorded.sequence
            attempt.tail = data["tail"]
            self._failures[path] = attempt
        else:
            self._failures.pop(path, None)

    def _retry_scheduled(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        self._begin("retry_wait", recorded.resource, recorded)

    def _stalled(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        begin_ms = recorded.at_ms - data["stall_seconds"] * 1000
        self._timeline.append(
            {
                "kind": "stall",
                "resource": recorded.resource,
                "attempt": recorded.attempt,
                "sequence": recorded.sequence,
                "from": rfc3339(begin_ms),
                "to": recorded.at,
                "seconds": data["stall_seconds"],
            }
        )

    def _paused(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        self._begin("pause", None, recorded)

    def _resumed(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        self._end("pause", None, recorded)

    def _link_lost(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        self._begin("link_lost", None, recorded)

    def _reattached(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        self._end("link_lost", None, recorded)

    def _job_ended(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        for kind, path in list(self._open):
            self._end(kind, path, recorded)
        self._terminal = {**data, "state": recorded.type.removeprefix("job_"), "at": recorded.at}

    # --- spans, evidence, throughput -------------------------------------------------------------------------------

    def _begin(self, kind: str, path: str | None, recorded: RecordedEvent) -> None:
        if (kind, path) in self._open:
            return
        span = {
            "kind": kind,
            "resource": path,
            "attempt": recorded.attempt if path is not None else None,
            "sequence": recorded.sequence,
            "from": recorded.at,
            "to": None,
            "seconds": None,
            "_ms": recorded.at_ms,
        }
        self._open[kind, path] = span
        self._timeline.append(span)

    def _end(self, kind: str, path: str | None, recorded: RecordedEvent) -> None:
        span = self._open.pop((kind, path), None)
        if span is not None:
            span["to"] = recorded.at
            span["seconds"] = round((recorded.at_ms - span.pop("_ms")) / 1000, 3)

    def _failure(self, attempt: _Attempt) -> dict[str, Any]:
        cause = Cause(attempt.cause) if attempt.cause in tuple(Cause) else Cause.UNKNOWN
        return {
            "resource": attempt.resource,
            "attempt": attempt.attempt,
            "cause": attempt.cause,
            "error": attempt.error,
            "hint": attempt.hint,
            "exit_code": attempt.exit_code,
            "evidence": _evidence(attempt, cause),
            "retry_would_help": CAUSES[cause].is_transient,
            "retry": _retry(cause),
            "last_lines": attempt.tail,
        }

    def _throughput(self) -> dict[str, Any]:
        """Bytes a second over time, in at most so many equal steps from the first byte to the last."""
        if not self._flow:
            return {"from": None, "step_seconds": None, "bytes_per_second": []}
        first, last = min(each.begin_ms for each in self._flow), max(each.end_ms for each in self._flow)
        step_ms = max(1000, -(-(last - first + 1) // POINTS_MAX))
        sums = [0.0] * ((last - first) // step_ms + 1)
        for each in self._flow:
            took_ms = each.end_ms - each.begin_ms
            for step in range((each.begin_ms - first) // step_ms, (each.end_ms - first) // step_ms + 1):
                begin, end = max(each.begin_ms, first + step * step_ms), min(each.end_ms, first + (step + 1) * step_ms)
                sums[step] += each.bytes * (end - begin) / took_ms if took_ms else each.bytes
        rates = [round(total * 1000 / step_ms) for total in sums]
        return {"from": rfc3339(first), "step_seconds": step_ms / 1000, "bytes_per_second": rates}


def _retry(cause: Cause) -> str:
    row = CAUSES[cause]
    if row.transient is not None:
        return f"may well succeed without any change: {row.transient}"
    return f"helps {row.by_hand}"


def _evidence(attempt: _Attempt, cause: Cause) -> list[dict[str, Any]]:
    """The lines that show the cause, the last ones first to be kept, and the event that says it."""
    showing = [line for line in attempt.lines if cause_in(line[2]) is cause]
    quoted = [line for line in attempt.lines if len(line[2]) > 3 and attempt.error and line[2] in attempt.error]
    lines = sorted(set(showing[-EVIDENCE_MAX:] + quoted[-EVIDENCE_MAX:]))[-EVIDENCE_MAX:]
    found = [{"sequence": sequence, "source_offset": offset, "line": text} for sequence, offset, text in lines]
    return [*found, {"sequence": attempt.failed_sequence, "source_offset": None, "line": attempt.error}]


_HANDLERS = {
    types.JobQueued.type: Reporter._queued,
    types.JobStarted.type: Reporter._job_started,
    types.ResourceStarted.type: Reporter._resource_started,
    types.Progress.type: Reporter._progress,
    types.Output.type: Reporter._output,
    types.VerificationStarted.type: Reporter._verification_started,
    types.ResourceInstalled.type: Reporter._ended,
    types.ResourceFailed.type: Reporter._ended,
    types.ResourceCancelled.type: Reporter._ended,
    types.ResourceRetryScheduled.type: Reporter._retry_scheduled,
    types.ResourceStalled.type: Reporter._stalled,
    types.JobPaused.type: Reporter._paused,
    types.JobResumed.type: Reporter._resumed,
    types.LinkLost.type: Reporter._link_lost,
    types.JobReattached.type: Reporter._reattached,
    types.JobCompleted.type: Reporter._job_ended,
    types.JobFailed.type: Reporter._job_ended,
    types.JobCancelled.type: Reporter._job_ended,
}


def report_of(history: Sequence[RecordedEvent]) -> dict[str, Any]:
    """The report of these events, from the first one on."""
    return Reporter().feed(history).report()
