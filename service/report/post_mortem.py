"""The post-mortem of a job, from its events alone: what failed and what shows it, what to do, how the time went.

Pure: the same events give the same report, whenever somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from service.events import event_types as types
from service.events.job import VERIFY
from service.events.recorded_event import RecordedEvent
from service.report.attempts import Attempt
from service.report.runs import Runs
from service.report.throughput import Throughput
from service.report.timeline import Timeline

LAST_LINES = 40

Data = dict[str, Any]


class Reporter:
    """``feed`` the events in order, then ``report``."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._failures: dict[str, Attempt] = {}
        self._timeline = Timeline()
        self._throughput = Throughput()
        self._runs = Runs()
        self._last_lines: list[str] = []
        self._terminal: dict[str, Any] = {}
        self._last_ms = 0
        self._count = 0
        self._damaged = 0

    def feed(self, events: Iterable[RecordedEvent]) -> Reporter:
        for recorded in events:
            self._count = recorded.sequence
            self._last_ms = recorded.at_ms
            if not self._head:
                self._head = _head_without_beginning(recorded)
            handler = _HANDLERS.get(recorded.type, Reporter._count_damaged)
            try:
                handler(self, recorded, orjson.loads(recorded.data_json))
            except (LookupError, TypeError, ValueError, AttributeError):
                # A field is missing or is not what it should be: the rest of the stream is reported all the same.
                self._damaged += 1
        return self

    def _count_damaged(self, recorded: RecordedEvent, data: Data) -> None:
        self._damaged += "damaged" in data

    def report(self) -> dict[str, Any]:
        """The JSON of the report. Times are RFC 3339 in UTC, amounts bytes and seconds."""
        self._timeline.end_all(self._last_ms)
        end = self._terminal
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
            "damaged_events": self._damaged,
            "failures": [attempt.failure() for attempt in self._failures.values()],
            "timeline": self._timeline.to_list(),
            "attempts": [attempt.to_dict() for attempt in self._attempts.values()],
            "runs": self._runs.to_list(),
            "throughput": self._throughput.to_dict(),
            "last_lines": self._last_lines[-LAST_LINES:],
        }

    # --- one method for each kind of event -----------------------------------------------------------------------

    def _job_queued(self, recorded: RecordedEvent, data: Data) -> None:
        self._head = {
            "job_id": recorded.job_id,
            "instance": f"{data['ssh_user']}@{data['ssh_host']}:{data['ssh_port']}",
            "ui_home": data["ui_home"],
            "resources": [entry["resource"] for entry in data["resources"]],
            "retry_of": data.get("retry_of"),
            "created_at": recorded.at,
            "started_at": None,
        }
        self._timeline.begin("queue", None, recorded)

    def _job_started(self, recorded: RecordedEvent, data: Data) -> None:
        self._head["started_at"] = recorded.at
        self._timeline.end("queue", None, recorded.at_ms)
        self._timeline.begin("connect", None, recorded)

    def _resource_started(self, recorded: RecordedEvent, data: Data) -> None:
        path, number = recorded.resource or "", recorded.attempt or 1
        self._timeline.end("connect", None, recorded.at_ms)
        self._timeline.end("retry_wait", path, recorded.at_ms)
        self._timeline.begin("download", path, recorded)
        self._attempts[path, number] = Attempt(path, number, recorded.at_ms)
        self._throughput.start(path, recorded.at_ms)

    def _progress(self, recorded: RecordedEvent, data: Data) -> None:
        downloaded_bytes = data.get("downloaded_bytes")
        if downloaded_bytes is None or data.get("stage") == VERIFY:
            return
        path = recorded.resource or ""
        came = self._throughput.figure(path, recorded.at_ms, downloaded_bytes)
        attempt = self._attempts.get((path, recorded.attempt or 1))
        if attempt is not None:
            attempt.bytes += came

    def _output(self, recorded: RecordedEvent, data: Data) -> None:
        self._last_lines.append(data["line"])
        del self._last_lines[:-LAST_LINES]
        attempt = self._attempts.get((recorded.resource or "", recorded.attempt or 1))
        if attempt is not None:
            attempt.add_line(recorded, data["line"])

    def _run_started(self, recorded: RecordedEvent, data: Data) -> None:
        run = self._runs.begin(recorded, data)
        if run is not None:
            self._timeline.begin("run", run.resource, recorded, f"{run.number}: {run.what}")

    def _run_ended(self, recorded: RecordedEvent, data: Data) -> None:
        run = self._runs.end(recorded, data)
        if run is None:
            return
        self._timeline.end("run", run.resource, recorded.at_ms, f"{run.number}: {run.what}")
        attempt = self._attempts.get((run.resource, run.attempt))
        if attempt is not None and run.is_judged and run.status:
            attempt.add_failed_run(recorded, run.what, run.status)

    def _verification_started(self, recorded: RecordedEvent, data: Data) -> None:
        self._timeline.end("download", recorded.resource, recorded.at_ms)
        self._timeline.begin("verify", recorded.resource, recorded)

    def _resource_ended(self, recorded: RecordedEvent, data: Data) -> None:
        path = recorded.resource or ""
        self._timeline.end_all(recorded.at_ms, path)
        attempt = self._attempts.get((path, recorded.attempt or 1))
        if attempt is None:
            attempt = Attempt(path, recorded.attempt or 0, recorded.at_ms)
        attempt.finish(recorded, data)
        if recorded.type == types.ResourceFailed.type:
            attempt.fail(recorded, data)
            self._failures[path] = attempt
        else:
            self._failures.pop(path, None)

    def _retry_scheduled(self, recorded: RecordedEvent, data: Data) -> None:
        self._timeline.begin("retry_wait", recorded.resource, recorded)

    def _resource_stalled(self, recorded: RecordedEvent, data: Data) -> None:
        self._timeline.add_stall(recorded, data["stall_seconds"])

    def _job_paused(self, recorded: RecordedEvent, data: Data) -> None:
        self._timeline.begin("pause", None, recorded)

    def _job_resumed(self, recorded: RecordedEvent, data: Data) -> None:
        self._timeline.end("pause", None, recorded.at_ms)

    def _link_lost(self, recorded: RecordedEvent, data: Data) -> None:
        self._timeline.begin("link_lost", None, recorded)

    def _job_reattached(self, recorded: RecordedEvent, data: Data) -> None:
        self._timeline.end("link_lost", None, recorded.at_ms)

    def _job_taken_over(self, recorded: RecordedEvent, data: Data) -> None:
        self._timeline.add_moment("taken_over", recorded, data["replica"])

    def _job_ended(self, recorded: RecordedEvent, data: Data) -> None:
        self._timeline.end_all(recorded.at_ms)
        self._terminal = {**data, "state": recorded.type.removeprefix("job_"), "at": recorded.at}


_HANDLERS: dict[str, Callable[[Reporter, RecordedEvent, Data], None]] = {
    types.JobQueued.type: Reporter._job_queued,
    types.JobStarted.type: Reporter._job_started,
    types.ResourceStarted.type: Reporter._resource_started,
    types.Progress.type: Reporter._progress,
    types.Output.type: Reporter._output,
    types.RunStarted.type: Reporter._run_started,
    types.RunEnded.type: Reporter._run_ended,
    types.VerificationStarted.type: Reporter._verification_started,
    types.ResourceInstalled.type: Reporter._resource_ended,
    types.ResourceFailed.type: Reporter._resource_ended,
    types.ResourceCancelled.type: Reporter._resource_ended,
    types.ResourceRetryScheduled.type: Reporter._retry_scheduled,
    types.ResourceStalled.type: Reporter._resource_stalled,
    types.JobPaused.type: Reporter._job_paused,
    types.JobResumed.type: Reporter._job_resumed,
    types.LinkLost.type: Reporter._link_lost,
    types.JobReattached.type: Reporter._job_reattached,
    types.JobTakenOver.type: Reporter._job_taken_over,
    types.JobCompleted.type: Reporter._job_ended,
    types.JobFailed.type: Reporter._job_ended,
    types.JobCancelled.type: Reporter._job_ended,
}


def _head_without_beginning(recorded: RecordedEvent) -> dict[str, Any]:
    """What stands in place of a first event that is damaged."""
    return {
        "job_id": recorded.job_id,
        "instance": "",
        "ui_home": "",
        "resources": [],
        "retry_of": None,
        "created_at": recorded.at,
        "started_at": None,
    }


def report_of(history: Sequence[RecordedEvent]) -> dict[str, Any]:
    """The report of these events, from the first one on."""
    return Reporter().feed(history).report()
