"""One attempt as its events describe it, and why it failed: the lines that show the cause, whether a retry helps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from service.events.causes import CAUSES, Cause, cause_in
from service.events.recorded_event import RecordedEvent, rfc3339

EVIDENCE_MAX = 5
LINES_SEARCHED_MAX = 5_000
# A shorter line is a part of too many errors to show anything.
QUOTED_CHARACTERS_MIN = 4


class Line(NamedTuple):
    """A line of output and the event that holds it."""

    sequence: int
    source_offset: int | None
    text: str


@dataclass(slots=True)
class Attempt:
    """One attempt at one resource."""

    resource: str
    number: int
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
    lines: list[Line] = field(default_factory=list)
    failed_runs: list[Line] = field(default_factory=list)

    def add_line(self, recorded: RecordedEvent, text: str) -> None:
        if len(self.lines) < LINES_SEARCHED_MAX:
            self.lines.append(Line(recorded.sequence, recorded.source_offset, text))

    def add_failed_run(self, recorded: RecordedEvent, what: str, status: int) -> None:
        """A run of a tool that ended badly; whether a later one made it good is the verdict's to say."""
        self.failed_runs.append(Line(recorded.sequence, recorded.source_offset, f"{what}: exit status {status}"))
        del self.failed_runs[:-EVIDENCE_MAX]

    def finish(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        """With one of the three events that end a resource."""
        self.ended_ms = recorded.at_ms
        self.outcome = recorded.type.removeprefix("resource_")
        self.exit_code = data.get("exit_code")

    def fail(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        self.cause, self.error, self.hint = data["cause"], data["error"], data["hint"]
        self.failed_sequence = recorded.sequence
        self.tail = data["tail"]

    def to_dict(self) -> dict[str, Any]:
        seconds = None if self.ended_ms is None else (self.ended_ms - self.started_ms) / 1000
        return {
            "resource": self.resource,
            "attempt": self.number,
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

    def failure(self) -> dict[str, Any]:
        """Why it failed, of an attempt that did."""
        cause = Cause(self.cause) if self.cause in tuple(Cause) else Cause.UNKNOWN
        return {
            "resource": self.resource,
            "attempt": self.number,
            "cause": self.cause,
            "error": self.error,
            "hint": self.hint,
            "exit_code": self.exit_code,
            "evidence": self._evidence(cause),
            "retry_would_help": CAUSES[cause].is_transient,
            "retry": _retry(cause),
            "last_lines": self.tail,
        }

    def _evidence(self, cause: Cause) -> list[dict[str, Any]]:
        """The last lines that show the cause or that the error quotes, the last runs that failed, then the event that
        names the cause."""
        showing = [line for line in self.lines if cause_in(line.text) is cause]
        quoted = [line for line in self.lines if self._quotes(line.text)]
        lines = sorted(set(showing[-EVIDENCE_MAX:] + quoted[-EVIDENCE_MAX:]))[-EVIDENCE_MAX:]
        lines = sorted({*lines, *self.failed_runs})
        found = [_evidence(line.sequence, line.source_offset, line.text) for line in lines]
        return [*found, _evidence(self.failed_sequence, None, self.error)]

    def _quotes(self, text: str) -> bool:
        return len(text) >= QUOTED_CHARACTERS_MIN and self.error is not None and text in self.error


def _evidence(sequence: int | None, source_offset: int | None, line: str | None) -> dict[str, Any]:
    return {"sequence": sequence, "source_offset": source_offset, "line": line}


def _retry(cause: Cause) -> str:
    row = CAUSES[cause]
    if row.transient is not None:
        return f"may well succeed without any change: {row.transient}"
    return f"helps {row.by_hand}"
