"""How a job's time went: spans with a beginning and an end, in the order in which they began."""

from __future__ import annotations

from typing import Any

from service.events.recorded_event import RecordedEvent, rfc3339

SPANS_MAX = 2_000


class Timeline:
    """``begin`` and ``end`` a span of a kind, of the job (``path`` None) or of one resource. A kind that has begun does
    not begin again before its end, and an end without a beginning counts for nothing. ``what`` tells several of a kind
    apart that are open at once."""

    def __init__(self) -> None:
        self._spans: list[dict[str, Any]] = []
        self._open: dict[tuple[str, str | None, str | None], tuple[dict[str, Any], int]] = {}

    def begin(self, kind: str, path: str | None, recorded: RecordedEvent, what: str | None = None) -> None:
        if (kind, path, what) in self._open:
            return
        attempt = recorded.attempt if path is not None else None
        span = _span(kind, path, attempt, recorded.sequence, recorded.at, what)
        self._open[kind, path, what] = (span, recorded.at_ms)
        self._spans.append(span)

    def end(self, kind: str, path: str | None, at_ms: int, what: str | None = None) -> None:
        if (kind, path, what) in self._open:
            span, begin_ms = self._open.pop((kind, path, what))
            span["to"] = rfc3339(at_ms)
            span["seconds"] = round((at_ms - begin_ms) / 1000, 3)

    def end_all(self, at_ms: int, path: str | None = None) -> None:
        """Of everything, or of one resource."""
        for kind, of, what in list(self._open):
            if path is None or of == path:
                self.end(kind, of, at_ms, what)

    def add_stall(self, recorded: RecordedEvent, seconds: int) -> None:
        """A span that is only known at its end."""
        begin = rfc3339(recorded.at_ms - seconds * 1000)
        span = _span("stall", recorded.resource, recorded.attempt, recorded.sequence, begin)
        self._spans.append(span | {"to": recorded.at, "seconds": seconds})

    def add_moment(self, kind: str, recorded: RecordedEvent, what: str) -> None:
        """A span of no time."""
        span = _span(kind, recorded.resource, recorded.attempt, recorded.sequence, recorded.at, what)
        self._spans.append(span | {"to": recorded.at, "seconds": 0.0})

    def to_list(self) -> list[dict[str, Any]]:
        return self._spans[:SPANS_MAX]


def _span(
    kind: str, path: str | None, attempt: int | None, sequence: int, begin: str, what: str | None = None
) -> dict[str, Any]:
    return {
        "kind": kind,
        "what": what,
        "resource": path,
        "attempt": attempt,
        "sequence": sequence,
        "from": begin,
        "to": None,
        "seconds": None,
    }
