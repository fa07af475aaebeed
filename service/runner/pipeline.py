"""Appends the events of one attempt in order, while its next bytes are parsed already.

If each append were waited for, the loop would have nothing to do during a commit, and the writer nothing during the
parsing, so that with many jobs all of them fall into step: a commit of all, then the work for all. So an append may be
in a commit while the next one waits for the commit after that; the one after both waits here. Nothing later is ever
stored before something earlier, which would hide the earlier from a restart, since what it reads again begins at the
last offset that is stored: after an append that fails, the store refuses those that follow it, and they are made
again here, in their order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from service.errors import SequenceConflict, StoreUnavailable
from service.events.recorded_event import NewEvent
from service.runner.live_job import LiveJob

# One in a commit, one that waits for the next.
UNDER_WAY_MAX = 2


class Pipeline:
    """``append`` returns when all but the last events are stored, or these are on their way; ``settle`` when all are
    stored. While the log cannot be written, both wait for it; where another writer was first, the events come after
    what it appended. A caller that is cancelled may call ``settle`` again."""

    def __init__(self, live_job: LiveJob) -> None:
        self._live_job = live_job
        self._under_way: deque[tuple[Sequence[NewEvent], asyncio.Future[None]]] = deque()

    async def append(self, events: Sequence[NewEvent]) -> None:
        if not events:
            return
        while len(self._under_way) >= UNDER_WAY_MAX:
            await self._settle_first()
        try:
            after = self._under_way[-1][1] if self._under_way else None
            stored = await self._live_job.submit(events, after)
        except StoreUnavailable:
            await self.settle()
            await self._live_job.append(events)
        else:
            self._under_way.append((events, stored))

    async def settle(self) -> None:
        while self._under_way:
            await self._settle_first()

    async def _settle_first(self) -> None:
        stored = self._under_way[0][1]
        if not stored.done():
            # It is not awaited itself: a cancelled caller would cancel it.
            await asyncio.wait([stored])
        try:
            stored.result()
        except (StoreUnavailable, SequenceConflict):
            await self._again()
        except BaseException:
            self._under_way.clear()
            raise
        else:
            self._under_way.popleft()

    async def _again(self) -> None:
        """The first of them was not stored, and so nothing after it."""
        await asyncio.wait([stored for _, stored in self._under_way])
        again = [events for events, _ in self._under_way]
        # A caller that is cancelled from here on leaves out all that comes after the last that was stored.
        self._under_way.clear()
        for events in again:
            await self._live_job.append(events)
