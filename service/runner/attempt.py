"""One attempt at one resource: its output from the instance through the parser into the journal, and its outcome.

A link that breaks leaves the parser as it is, and the next attach goes on at the byte behind the last one that was fed.
After a restart of the service the log is read again from its first byte into a fresh parser, and the events that are
stored already are dropped: a parser that began in the middle would not know a total or a name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from service.crash_points import crash_point
from service.events.event_types import Event, ResourceFailed, ResourceInstalled
from service.events.parser import ProgressParser
from service.events.recorded_event import NewEvent
from service.runner.outcome import Ended, Outcome, judge
from service.runner.remote import AttemptSpec, Remote
from service.runner.ssh import Connection

# A megabyte of bars is seventeen thousand events: in one append they would take a hundred megabytes.
FEED_BYTES_MAX = 32 * 1024
Record = Callable[[Sequence[NewEvent]], Awaitable[None]]


class Attempt:
    """``stored_offset``: the offset of the last event of this attempt that the log holds already."""

    def __init__(
        self, *, spec: AttemptSpec, resource: str, parser: ProgressParser, stored_offset: int, record: Record
    ) -> None:
        self._spec = spec
        self._resource = resource
        self._parser = parser
        self._stored_offset = stored_offset
        self._record = record
        self._fed_bytes = 0

    async def follow(self, connection: Connection) -> Ended:
        """Start it or find it, and follow it to its end. Raises LinkDown; then call again with a new connection."""
        crash_point("before_launch")
        spec = replace(self._spec, must_exist=self._spec.must_exist or self._fed_bytes > 0)
        async with Remote(connection).attach(spec, self._fed_bytes) as attachment:
            async for chunk in attachment:
                for begin in range(0, len(chunk), FEED_BYTES_MAX):
                    await self._feed(chunk[begin : begin + FEED_BYTES_MAX])
            return attachment.ended()

    async def finish(self, ended: Ended, seconds: float) -> Outcome:
        """Record the last lines and the verdict, in one piece."""
        crash_point("before_verdict")
        closing = self._fresh(self._parser.close(ended.exit_code))
        evidence = self._parser.evidence
        outcome = judge(evidence, ended)
        verdict = outcome_event(outcome, seconds, evidence.tail)
        await self._record(
            [*closing, NewEvent(event=verdict, resource=self._resource, attempt=self._spec.attempt)],
        )
        return outcome

    async def _feed(self, piece: bytes) -> None:
        crash_point("before_parse")
        events = self._parser.feed(piece)
        crash_point("after_parse")
        await self._keep(events)
        self._fed_bytes += len(piece)

    async def _keep(self, events: list[NewEvent]) -> None:
        fresh = self._fresh(events)
        if fresh:
            await self._record(fresh)

    def _fresh(self, events: list[NewEvent]) -> list[NewEvent]:
        """What the log does not hold yet. What came from one record was stored in one piece, so the offset decides."""
        return [new for new in events if new.source_offset is None or new.source_offset > self._stored_offset]


def outcome_event(outcome: Outcome, seconds: float | None, tail: Sequence[str] = ()) -> Event:
    """The event that says how an attempt ended."""
    if outcome.installed:
        return ResourceInstalled(exit_code=outcome.exit_code, seconds=seconds or 0.0)
    return ResourceFailed(
        cause=str(outcome.cause),
        error=outcome.error or "",
        hint=outcome.hint or "",
        exit_code=outcome.exit_code,
        seconds=seconds,
        tail=list(tail),
    )
