"""One attempt at one resource, or its verification: followed on the instance, its output into the journal, and what
clients decide meanwhile made true there.

A link that breaks leaves the parser as it is, and the next attach goes on at the byte behind the last one that was fed.
After a restart of the service the log is read again from its first byte into a fresh parser, and the events that are
stored already are dropped: a parser that began in the middle would not know a total or a name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from service.crash_points import crash_point
from service.errors import LinkDown, RemoteError
from service.events.event_types import Progress
from service.events.ledger import Evidence
from service.events.recorded_event import NewEvent
from service.runner.instance.remote import CANCEL, PAUSE, RESUME, AttemptSpec, Remote
from service.runner.instance.ssh import Connection
from service.runner.job_run import JobRun
from service.runner.outcome import Ended

logger = logging.getLogger(__name__)

TELL_AGAIN_SECONDS = 0.5
# Longer than the instance takes from the first TERM to the last KILL.
ANSWER_SECONDS_MAX = 30.0
# A megabyte of bars is seventeen thousand events: in one append they would take a hundred megabytes.
FEED_BYTES_MAX = 32 * 1024


class Parser(Protocol):
    """Bytes in, events out; ``evidence`` behind the end."""

    def feed(self, chunk: bytes) -> list[NewEvent]: ...

    def close(self, exit_code: int | None) -> list[NewEvent]: ...

    @property
    def evidence(self) -> Evidence: ...


class Attempt:
    """``stored_offset``: the offset of the last event of this log that the journal holds already. ``is_new``: nothing
    was ever launched for it, so that nothing there can be stopped. ``clock``: monotonic seconds."""

    def __init__(
        self,
        *,
        spec: AttemptSpec,
        parser: Parser,
        stored_offset: int,
        run: JobRun,
        is_new: bool,
        clock: Callable[[], float],
    ) -> None:
        self._spec = spec
        self._parser = parser
        self._stored_offset = stored_offset
        self._run = run
        self._clock = clock
        self._fed_bytes = 0
        # What the instance was told last; None: unknown.
        self._told: str | None = RESUME if is_new else None
        self._told_all = asyncio.Event()
        self._told_all.set()
        self.partial_files: tuple[str, ...] = ()

    async def follow(self, connection: Connection) -> Ended:
        """Start it or find it, and follow it to its end. Raises LinkDown; then call again with a new connection."""
        remote = Remote(connection)
        await self._obey_first(remote)
        crash_point("before_launch")
        must_exist = self._spec.must_exist or self._fed_bytes > 0 or self._run.job.is_cancelling
        obeying = asyncio.create_task(self._obey(remote))
        try:
            async with remote.attach(replace(self._spec, must_exist=must_exist), self._fed_bytes) as attachment:
                async for chunk in attachment:
                    for begin in range(0, len(chunk), FEED_BYTES_MAX):
                        await self._feed(chunk[begin : begin + FEED_BYTES_MAX])
                await self._answered()
                return attachment.ended()
        except LinkDown:
            # What was told last may never have arrived.
            self._told = None
            raise
        finally:
            obeying.cancel()
            await asyncio.wait([obeying])

    def close(self, ended: Ended) -> tuple[list[NewEvent], Evidence]:
        """The events of the last lines, and the evidence for a verdict."""
        return self._fresh(self._parser.close(ended.exit_code)), self._parser.evidence

    async def _feed(self, piece: bytes) -> None:
        crash_point("before_parse")
        events = self._parser.feed(piece)
        crash_point("after_parse")
        await self._keep(events)
        self._fed_bytes += len(piece)

    @property
    def _wanted(self) -> str:
        if self._run.job.is_cancelling:
            return CANCEL
        return PAUSE if self._run.is_paused else RESUME

    async def _obey_first(self, remote: Remote) -> None:
        """Nothing is launched while the job is paused; what runs there already is stopped and followed."""
        while True:
            changed = self._run.changed
            wanted = self._wanted
            if wanted == self._told:
                return
            if await self._tell(remote, wanted) or wanted != PAUSE:
                return
            await changed.wait()

    async def _obey(self, remote: Remote) -> None:
        """Pass on what clients decide for as long as the attempt is followed."""
        try:
            while True:
                changed = self._run.changed
                wanted = self._wanted
                found = wanted == self._told or await self._tell(remote, wanted)
                # An attempt that is just being launched is not found yet.
                seconds = None if found or wanted == RESUME else TELL_AGAIN_SECONDS
                try:
                    async with asyncio.timeout(seconds):
                        await changed.wait()
                except TimeoutError:
                    continue
        except LinkDown:
            # Whoever follows notices as well, and at the next attach the instance is told first.
            self._told = None
        except RemoteError:
            logger.exception("job %s: the instance could not be told to %s", self._run.job.job_id, self._wanted)

    async def _tell(self, remote: Remote, wanted: str) -> bool:
        """Whether the attempt was found running."""
        crash_point("before_signal")
        self._told_all.clear()
        try:
            answer = await remote.signal(self._spec.job_id, self._spec.number, self._spec.attempt, wanted)
        finally:
            self._told_all.set()
        crash_point("after_signal")
        if answer.running or wanted == RESUME:
            self._told = wanted
        self.partial_files = answer.partial_files or self.partial_files
        return answer.running

    async def _answered(self) -> None:
        """What is being told is answered first: the answer names the files that a cancelled download left, and comes
        behind the end of the log."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await self._told_all.wait()
        except TimeoutError:
            logger.warning("job %s: the instance did not say what became of %s", self._run.job.job_id, self._wanted)

    async def _keep(self, events: list[NewEvent]) -> None:
        fresh = [self._with_estimates(new) for new in self._fresh(events)]
        if fresh:
            await self._run.record(fresh)

    def _fresh(self, events: list[NewEvent]) -> list[NewEvent]:
        """What the log does not hold yet. What came from one record was stored in one piece, so the offset decides."""
        return [new for new in events if new.source_offset is None or new.source_offset > self._stored_offset]

    def _with_estimates(self, new: NewEvent) -> NewEvent:
        """The parser knows no clock, so what depends on time is added here."""
        progress = new.event
        if not isinstance(progress, Progress) or new.resource is None or progress.downloaded_bytes is None:
            return new
        eta, now = self._run.eta, self._clock()
        if self._spec.phase == "download":
            eta.observe(new.resource, now, progress.downloaded_bytes, progress.total_bytes, progress.bytes_per_second)
        of_resource, of_job = eta.resource_eta_seconds(new.resource, now), eta.job_eta_seconds(now)
        if of_resource is None and of_job is None:
            return new
        estimated = replace(progress, resource_eta_seconds=_rounded(of_resource), job_eta_seconds=_rounded(of_job))
        return replace(new, event=estimated)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
