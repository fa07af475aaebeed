"""Appends the events of one attempt in order, while its next bytes are parsed already.

If each append were waited for, the loop would have nothing to do during a commit, and the writer nothing during the
parsing, so that with many jobs all of them fall into step: a commit of all, then the work for all. One append may
therefore be under way, not more: the next one waits for it. So nothing later is ever stored before something earlier,
which would hide the earlier from a restart, since what it reads again begins at the last offset that is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.errors import SequenceConflict, StoreUnavailable
from service.events.recorded_event import NewEvent
from service.runner.live_job import LiveJob


class Pipeline:
    """``append`` returns when the events before these are stored, ``settle`` when all are. While the log cannot be
    written, both wait for it; where another writer was first, the events come after what it appended. A caller that
    is cancelled may call ``settle`` again."""

    def __init__(self, live_job: LiveJob) -> None:
        self._live_job = live_job
        self._events: Sequence[NewEvent] = ()
        self._stored: asyncio.Future[None] | None = None

    async def append(self, events: Sequence[NewEvent]) -> None:
        if not events:
            return
        await self.settle()
        try:
            self._stored = await self._live_job.submit(events)
        except StoreUnavailable:
            await self._live_job.append(events)
        else:
            self._events = events

    async def settle(self) -> None:
        stored = self._stored
        if stored is None:
            return
        if not stored.done():
            # It is not awaited itself: a cancelled caller would cancel it.
            await asyncio.wait([stored])
        self._stored = None
        try:
            stored.result()
        except (StoreUnavailable, SequenceConflict):
            await self._live_job.append(self._events)
