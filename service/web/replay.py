"""A replay: one subscription on its way through the log into its room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from service.events.event_types import TERMINAL_TYPES
from service.events.recorded_event import RecordedEvent, skipped_ranges
from service.store.journal import Journal
from service.store.pages import Page
from service.web.rooms import Rooms, Subscription, Transport
from service.web.socket_events import SKIPPED

# A client's queue: above the first a replay waits, below the second it continues.
QUEUE_MAX = 2_000
QUEUE_RESUME = 500
PACE_SECONDS = 0.01
PACE_SECONDS_MAX = 0.2


class Replay:
    """The journal's Subscriber for one client: sends the history after the subscription's last sequence at the
    client's pace, then makes the subscription live.

    The journal's hand-over calls ``deliver`` with one page of history after the other. It calls ``join`` while it holds
    the stream's lock, at the one moment when every event so far is in the client's queue and the next append will find
    the client in the room: no event is missed and none comes twice.
    """

    def __init__(self, subscription: Subscription, *, journal: Journal, rooms: Rooms, transport: Transport) -> None:
        self._subscription = subscription
        self._journal = journal
        self._rooms = rooms
        self._transport = transport
        self._saw_end = False

    async def run(self) -> None:
        """Everything after the last sequence, in full. Raises StoreError."""
        subscription = self._subscription
        await self._journal.hand_over(subscription.job_id, subscription.after, self)

    async def run_compact(self) -> None:
        """First say which sequences are left out, then send what a late screen needs of the history so far; then the
        rest in full. Raises StoreError."""
        subscription = self._subscription
        after = subscription.after
        found, upto = await self._journal.compact(subscription.job_id, after)
        skipped = {"job_id": subscription.job_id, "skipped": skipped_ranges(found, after, upto)}
        self._send(self._transport.packet(SKIPPED, orjson.dumps(skipped).decode()))
        if found:
            self.deliver(found)
        subscription.after = max(subscription.after, upto)
        await self.run()

    async def ready(self) -> None:
        """Wait until the client has read most of what it was sent."""
        engine_sid = self._subscription.engine_sid
        if self._transport.queued(engine_sid) < QUEUE_MAX:
            return
        seconds = PACE_SECONDS
        while self._transport.queued(engine_sid) > QUEUE_RESUME:
            await asyncio.sleep(seconds)
            seconds = min(seconds * 2, PACE_SECONDS_MAX)

    def deliver(self, events: Sequence[RecordedEvent]) -> None:
        """Put a page into the client's queue. Clients that read the same page share its encoding."""
        encode = self._transport.encode
        self._send(events.form("packets", encode) if isinstance(events, Page) else encode(events))
        self._subscription.after = events[-1].sequence
        self._saw_end = events[-1].type in TERMINAL_TYPES

    def join(self, last: int) -> None:
        """Become live, or end after the terminal event: nothing follows it."""
        if self._saw_end:
            self._rooms.end(self._subscription)
        else:
            self._rooms.join(self._subscription)

    def _send(self, encoded: Any) -> None:
        self._transport.send(self._subscription.engine_sid, encoded)
