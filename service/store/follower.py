"""Follows one stream for one client: its history from the log, then what is published, from memory.

A follower enters its stream before it looks into the log. So whatever is committed after its look is published to it,
and whatever came before is in the log; sequences tell the two apart. It reads the log again only if it has fallen
behind the last published events, which the stream keeps for all of its followers together.
"""

from __future__ import annotations

import asyncio

from service.events.event_types import TERMINAL_TYPES
from service.store.jobs import Jobs
from service.store.pages import PAGE_EVENTS, Page, Pages
from service.store.stream import Stream


class Follower:
    """``next`` until it returns None, then ``close``. ``after``: the last sequence that was seen."""

    def __init__(self, job_id: str, after: int, *, stream: Stream, pages: Pages, jobs: Jobs) -> None:
        self._job_id = job_id
        self._after = after
        self._stream = stream
        self._pages = pages
        self._jobs = jobs
        self._is_ended = False
        # It has seen the end of the log: from here on everything is published to it.
        self._is_live = False
        self._news = asyncio.Event()
        stream.followers.add(self)

    async def next(self, seconds: float | None = None) -> Page | None:
        """The next events; none if nothing came for so many seconds; None at the end of the stream, and once
        ``end`` was called. Raises StoreUnavailable."""
        while not self._is_ended:
            self._news.clear()
            page = await self._look()
            if page:
                self._after = page[-1].sequence
                self._is_ended = page[-1].type in TERMINAL_TYPES
                return page
            if await self._is_at_the_end():
                return None
            if self._stream.published <= self._after and not await self._hears(seconds):
                return page
        return None

    def notify(self) -> None:
        """Something was published."""
        self._news.set()

    def end(self) -> None:
        """``next`` returns None from now on, also the one that waits."""
        self._is_ended = True
        self._news.set()

    def close(self) -> None:
        self._stream.followers.discard(self)
        self._stream.trim()

    async def _look(self) -> Page:
        """What follows the last event that it has seen; empty if there is nothing yet."""
        if self._is_live:
            if self._stream.published <= self._after:
                return Page(())
            page = self._stream.recent_after(self._after)
            if page is not None:
                return page
        page = await self._pages.after(self._job_id, self._after)
        self._is_live = len(page) < PAGE_EVENTS
        if self._is_live and not self._stream.published:
            # Nothing was published here yet: another replica may append the next one.
            self._stream.published = page[-1].sequence if page else self._after
        return page

    async def _hears(self, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._news.wait()
        except TimeoutError:
            return False

    async def _is_at_the_end(self) -> bool:
        """The end never overtakes the last event: an ended job may have one more that was appended a moment ago. Asked
        once the stream is silent, so not for each event."""
        job = self._stream.job or await self._jobs.get(self._job_id)
        return job.is_terminal and self._after >= job.last_sequence
