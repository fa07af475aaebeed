"""What waits for one client: Engine.IO's queue, which counts what is in it and hands it out as the client reads it.

A client that polls gets packets, one that has a WebSocket gets all that waits. It may change from the one to the other
with packets left over from the last poll, and these come first.
"""

from __future__ import annotations

import asyncio
from typing import Any

from engineio.exceptions import QueueEmpty

from service.web.engine.packets import Batch, Writing, as_packets

# python-engineio's client decodes at most 16 packets of one HTTP body, and loses all of a longer one.
POLLED_PACKETS_MAX = 16
# Engine.IO sends a ping every 25 seconds, and waits for its answer for 20.
_POLL_SECONDS_MAX = 45.0


class Outbox(asyncio.Queue[Any]):
    """Engine.IO's queue of a client. ``events``: how many are in it, in batches; ``answers``: its other packets."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self.events = 0
        self.answers = 0
        # Out of the queue, and not in the answer to a poll yet.
        self._taken: list[Any] = []

    def _put(self, item: Any) -> None:
        self._count(item, 1)
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        self._count(item, -1)
        return item

    def _count(self, item: Any, sign: int) -> None:
        if isinstance(item, Batch):
            self.events += sign * item.count
        else:
            self.answers += sign

    @property
    def unread(self) -> int:
        """Events and packets that the client has not been sent yet."""
        return self.events + self.answers + len(self._taken)

    async def for_poll(self) -> list[Any]:
        """The packets of one answer; empty at the end. Raises QueueEmpty: nothing came in time."""
        if not self._taken:
            self._taken = as_packets(await self._take(_POLL_SECONDS_MAX))
        answer, self._taken = self._taken[:POLLED_PACKETS_MAX], self._taken[POLLED_PACKETS_MAX:]
        return answer

    async def for_websocket(self) -> list[Any]:
        """All that waits, as one item for Engine.IO's writer; empty at the end. Raises QueueEmpty."""
        taken, self._taken = self._taken, []
        if not taken:
            # Pings go through here as well: if nothing comes for long, the client is gone and is closed elsewhere.
            taken = await self._take(None)
        return [Writing(taken)] if taken else []

    async def _take(self, seconds: float | None) -> list[Any]:
        """All that waits, at least one; empty at the end. Raises QueueEmpty."""
        try:
            if seconds is None:
                first = await self.get()
            else:
                async with asyncio.timeout(seconds):
                    first = await self.get()
        except (TimeoutError, asyncio.CancelledError) as error:
            raise QueueEmpty from error
        self.task_done()
        items = [] if first is None else [first]
        while first is not None and not self.empty():
            item = self.get_nowait()
            self.task_done()
            if item is None:
                # The end comes after the rest.
                self.put_nowait(None)
                break
            items.append(item)
        return items
