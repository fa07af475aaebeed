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
    """Events that are on their way into the log. ``error``: why they are not stored."""

    __slots__ = ("_pipeline", "error", "events", "is_settled")

    def __init__(self, pipeline: Pipeline, events: Sequence[NewEvent]) -> None:
        self._pipeline = pipeline
        self.events = events
        self.is_settled = False
        self.error: Exception | None = None

    def told(self, job: Job, error: Exception | None) -> None:
        self.is_settled = True
        self.error = error
        self._pipeline.settled(job if error is None else None)


class Pipeline:
    """``append`` returns when these events are on their way into the log, as no more than a few are; ``settle`` when
    all are stored. While the log cannot be written, both wait for it; where another writer was first, the events come
    after what it appended. A caller that is cancelled may call ``settle`` again."""

    def __init__(self, live_job: LiveJob) -> None:
        self._live_job = live_job
        self._under_way: deque[_UnderWay] = deque()
        self._next: Sequence[NewEvent] = ()
        self._waits: asyncio.Future[None] | None = None

    async def append(self, events: Sequence[NewEvent]) -> None:
        if not events:
            return
        while self._under_way and (len(self._under_way) >= UNDER_WAY_MAX or self._under_way[0].is_settled):
            await self._settle_first()
        self._next = events
        under_way = _UnderWay(self, events)
        try:
            await self._live_job.submit(self._facts, under_way.told)
        except StoreUnavailable:
            await self.settle()
            await self._live_job.append(events)
        else:
            self._under_way.append(under_way)

    async def settle(self) -> None:
        while self._under_way:
            await self._settle_first()

    def settled(self, job: Job | None) -> None:
        """Some of them are. ``job``: after them, once they are stored."""
        if job is not None:
            self._live_job.keep(job)
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    def _facts(self, job: Job) -> Sequence[NewEvent]:
        """What is submitted next, unless what came before it has failed since."""
        self._live_job.check_owner(job)
        if self._under_way and self._under_way[-1].error is not None:
            raise StoreUnavailable("the events before these are not stored")
        return self._next

    async def _settle_first(self) -> None:
        first = self._under_way[0]
        await self._until_settled(first)
        if first.error is None:
            self._under_way.popleft()
        elif isinstance(first.error, StoreUnavailable | SequenceConflict):
            await self._again()
        else:
            self._under_way.clear()
            raise first.error

    async def _again(self) -> None:
        """The first of them was not stored, and so nothing after it."""
        again = list(self._under_way)
        for under_way in again:
            await self._until_settled(under_way)
        # A caller that is cancelled from here on leaves out all that comes after the last that was stored.
        self._under_way.clear()
        for under_way in again:
            await self._live_job.append(under_way.events)

    async def _until_settled(self, under_way: _UnderWay) -> None:
        while not under_way.is_settled:
            self._waits = asyncio.get_running_loop().create_future()
            await self._waits
