"""Pages of a stream that many read at once: each is read once, and encoded once in each form.

A page that is full never changes, so it may be shared for as long as somebody uses it. The last one of a stream is not
full and grows: everybody reads it anew.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from service.events.recorded_event import RecordedEvent

T = TypeVar("T")
Key = tuple[str, int]

PAGE_EVENTS = 1_000
# Kept although nobody uses them at this moment: readers follow each other. About 1 MB each, with a form.
RECENT_MAX = 4


class Page(list[RecordedEvent]):
    """Events in order, and what was made of them."""

    def __init__(self, events: Sequence[RecordedEvent]) -> None:
        super().__init__(events)
        self._forms: dict[str, Any] = {}

    def form(self, name: str, make: Callable[[Sequence[RecordedEvent]], T]) -> T:
        """What ``make`` makes of this page, made once for all who ask by this name."""
        if name not in self._forms:
            self._forms[name] = make(self)
        form: T = self._forms[name]
        return form


class Pages:
    """``read`` of the event store, shared. ``read``: at most PAGE_EVENTS events of a job after a sequence, in order."""

    def __init__(self, read: Callable[[str, int], Awaitable[Sequence[RecordedEvent]]]) -> None:
        self._read = read
        self._used: WeakValueDictionary[Key, Page] = WeakValueDictionary()
        self._recent: OrderedDict[Key, Page] = OrderedDict()
        self._reading: dict[Key, asyncio.Task[Page]] = {}

    async def after(self, job_id: str, sequence: int) -> Page:
        """The next page of this stream: all that was committed before the call, up to the bound. Raises
        StoreUnavailable."""
        key = (job_id, sequence)
        page = self._used.get(key)
        if page is not None:
            return page
        task = self._reading.get(key)
        if task is not None:
            page = await asyncio.shield(task)
            if len(page) == PAGE_EVENTS:
                return page
            # That read may have begun before this call. The next one has not, and all who waited share it.
            task = self._reading.get(key)
            if task is not None:
                return await asyncio.shield(task)
        task = self._reading[key] = asyncio.create_task(self._load(key))
        # If all readers leave, nobody asks for its error.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # A reader that leaves must not take the page from the others.
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait for the reads that are under way."""
        if self._reading:
            await asyncio.wait(self._reading.values())

    def forget(self, *job_ids: str) -> None:
        """These streams are deleted."""
        for key in [key for key in self._used if key[0] in job_ids]:
            self._recent.pop(key, None)
            del self._used[key]

    async def _load(self, key: Key) -> Page:
        try:
            page = Page(await self._read(*key))
        finally:
            del self._reading[key]
        if len(page) == PAGE_EVENTS:
            self._used[key] = self._recent[key] = page
            while len(self._recent) > RECENT_MAX:
                self._recent.popitem(last=False)
        return page
