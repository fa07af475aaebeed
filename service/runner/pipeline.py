"""Appends the events of one attempt in order, while its next bytes are parsed already.

If each append were waited for, the loop would have nothing to do during a commit, and the writer nothing during the
parsing, so that with many jobs all of them fall into step: a commit of all, then the work for all. So a few appends may
be under way, and those of one commit change the job's rows once. Nothing later is ever stored before something earlier,
which would hide the earlier from a restart, since what it reads again begins at the last offset that is stored: after
an append that fails, the store refuses those that follow it, and they are made again here, in their order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from service.errors import SequenceConflict, StoreUnavailable
from service.events.job import Job
from service.events.recorded_event import NewEvent
from service.runner.live_job import LiveJob

# One in a commit, two that wait for the next.
UNDER_WAY_MAX = 3


class _UnderWay:
    """Events that are on their way into the log. ``error``: why they are not stored, once they are settled."""

    __slots__ = ("_pipeline", "error", "events", "is_settled")

    def __init__(self, pipeline: Pipeline, events: Sequence[NewEvent]) -> None:
        self._pipeline = pipeline
        self.events = events
        self.is_settled = False
        self.error: Exception | None = None

    def told(self, job: Job, error: Exception | None) -> None:
        self.is_settled = True
        self.error = error
        self._pipeline.settled(self, job)


class Pipeline:
    """``append`` returns when these events are on their way into the log, as no more than a few are; ``settle`` when
    all are stored. While the log cannot be written, both wait for it; where another writer was first, the events come
    after what it appended. A caller that is cancelled leaves the events here: ``settle`` stores them."""

    def __init__(self, live_job: LiveJob) -> None:
        self._live_job = live_job
        self._to_submit: deque[Sequence[NewEvent]] = deque()
        # Without those that are stored.
        self._under_way: deque[_UnderWay] = deque()
        # One that is under way has failed. Asked several times for each append, so kept.
        self._has_failed = False
        self._waits: asyncio.Future[None] | None = None

    async def append(self, events: Sequence[NewEvent]) -> None:
        if events:
            self._to_submit.append(events)
            await self._submit_all()

    async def settle(self) -> None:
        await self._submit_all()
        await self._settle_all()

    def settled(self, under_way: _UnderWay, job: Job) -> None:
        """``job``: after it, once it is stored."""
        if under_way.error is None:
            self._live_job.keep(job)
            # Whatever was before it in the stream is stored, so it is the first, unless it was given up.
            if self._under_way and self._under_way[0] is under_way:
                self._under_way.popleft()
        elif under_way in self._under_way:
            self._has_failed = True
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    async def _submit_all(self) -> None:
        while self._to_submit:
            while self._has_failed or len(self._under_way) >= UNDER_WAY_MAX:
                await self._settle_first()
            events = self._to_submit[0]
            under_way = _UnderWay(self, events)
            try:
                is_submitted = await self._live_job.submit(self._facts, under_way.told)
            except StoreUnavailable as error:
                # It is treated like one that failed under way, and so is made again even if the caller is cancelled.
                under_way.is_settled, under_way.error = True, error
                self._under_way.append(under_way)
                self._has_failed = True
                self._to_submit.popleft()
                while self._has_failed:
                    await self._settle_first()
                continue
            except Exception:
                self._to_submit.popleft()
                raise
            self._to_submit.popleft()
            if is_submitted:
                self._under_way.append(under_way)

    def _facts(self, job: Job) -> Sequence[NewEvent]:
        """What is submitted next, unless something before it has failed since."""
        self._live_job.check_owner(job)
        if self._has_failed:
            raise StoreUnavailable("the events before these are not stored")
        return self._to_submit[0]

    async def _settle_all(self) -> None:
        while self._under_way:
            await self._settle_first()

    async def _settle_first(self) -> None:
        first = self._under_way[0]
        await self._until_settled(first)
        if first.error is None:
            return
        if isinstance(first.error, StoreUnavailable | SequenceConflict):
            await self._again()
        else:
            self._under_way.clear()
            self._to_submit.clear()
            self._has_failed = False
            raise first.error

    async def _again(self) -> None:
        """The first of them was not stored, and so nothing after it."""
        for under_way in tuple(self._under_way):
            await self._until_settled(under_way)
        while self._under_way:
            await self._store(self._under_way[0].events)
            self._under_way.popleft()
        self._has_failed = False

    async def _store(self, events: Sequence[NewEvent]) -> None:
        """Wait for it. A caller that was cancelled meanwhile may have left an append that was made: what the job has by
        its offsets is left out."""

        def missing(job: Job) -> Sequence[NewEvent]:
            stored = {resource.resource: resource.source_offset or 0 for resource in job.resources}
            return [
                new
                for new in events
                if new.source_offset is None or new.source_offset > stored.get(new.resource or "", 0)
            ]

        await self._live_job.append_from(missing)

    async def _until_settled(self, under_way: _UnderWay) -> None:
        while not under_way.is_settled:
            self._waits = asyncio.get_running_loop().create_future()
            await self._waits
