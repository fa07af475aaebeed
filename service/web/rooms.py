"""The rooms: which client is subscribed to which job, and the delivery of new events to those that are live.

A subscription is served in one of two ways. *Live*: it is a member of its job's room, and ``publish`` puts new events
into the client's queue, one item for each commit. *Replaying*: a task reads the log for it page by page (see replay.py)
and joins the room at the end. Engine.IO's queue has no bound, so a member whose queue has grown past LIVE_QUEUE_MAX
leaves the room and is replayed from its last sequence: a slow client harms only itself.

This module knows neither the journal nor socketio. The journal calls ``publish`` after each commit; what Engine.IO does
comes in as a Transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from service.errors import InvalidRequest
from service.events.event_types import TERMINAL_TYPES
from service.events.recorded_event import RecordedEvent

SUBSCRIPTIONS_MAX = 100
LIVE_QUEUE_MAX = 2_000


class Transport(Protocol):
    """What rooms and replays need of Engine.IO; ``engine_sid`` is its name of a connection."""

    def encode(self, events: Sequence[RecordedEvent]) -> Any:
        """These events, to be sent: encoded once for all clients."""

    def packet(self, name: str, payload_json: str) -> Any:
        """A Socket.IO event for one client."""

    def send(self, engine_sid: str, encoded: Any) -> None:
        """Put events or a packet into the client's queue; it never waits for the client."""

    def queued(self, engine_sid: str) -> int:
        """The packets that the client has not read yet."""


class Subscription:
    """One client's subscription to one job. ``after``: the last sequence that was put into the client's queue.
    ``start_replay``: starts a task that serves it from the log; ``task``: the one that runs."""

    __slots__ = ("after", "engine_sid", "job_id", "sid", "start_replay", "task")

    def __init__(
        self, sid: str, engine_sid: str, job_id: str, after: int, start_replay: Callable[[Subscription], None]
    ) -> None:
        self.sid = sid
        self.engine_sid = engine_sid
        self.job_id = job_id
        self.after = after
        self.start_replay = start_replay
        self.task: asyncio.Task[None] | None = None

    def run(self, serving: Coroutine[Any, Any, None]) -> None:
        """Serve it in a task of its own."""
        self.task = asyncio.create_task(serving)
        self.task.add_done_callback(self._has_run)

    def _has_run(self, task: asyncio.Task[None]) -> None:
        # A task that was cancelled holds the subscription by its error's frames: each would keep the other.
        if self.task is task:
            self.task = None


class Rooms:
    """The connected clients, their subscriptions, and one room for each job that somebody follows live."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._rooms: dict[str, dict[str, Subscription]] = {}
        self._subscriptions: dict[str, dict[str, Subscription]] = {}

    def publish(self, job_id: str, events: Sequence[RecordedEvent]) -> None:
        """Put these events, which are durable, into the queue of each member of the room."""
        room = self._rooms.get(job_id)
        if not room:
            return
        encoded, last = self._transport.encode(events), events[-1].sequence
        for subscription in tuple(room.values()):
            self._send(subscription, last, encoded)
        if events[-1].type in TERMINAL_TYPES:
            for subscription in tuple(room.values()):
                self.end(subscription)

    def admit(self, sid: str) -> None:
        """A client is connected and may subscribe."""
        self._subscriptions.setdefault(sid, {})

    def dismiss(self, sid: str) -> None:
        """A client is gone, and so are its subscriptions."""
        for subscription in list(self._subscriptions.pop(sid, {}).values()):
            self.end(subscription)

    def subscribe(self, subscription: Subscription) -> None:
        """Register it in the place of the client's earlier subscription to the same job. Raises InvalidRequest."""
        mine = self._subscriptions.get(subscription.sid)
        if mine is None:
            raise InvalidRequest("not connected")
        before = mine.get(subscription.job_id)
        if before is not None:
            self.end(before)
        elif len(mine) >= SUBSCRIPTIONS_MAX:
            raise InvalidRequest(
                f"a client can subscribe to at most {SUBSCRIPTIONS_MAX} jobs: unsubscribe_install from one first"
            )
        mine[subscription.job_id] = subscription

    def find(self, sid: str, job_id: str) -> Subscription | None:
        return self._subscriptions.get(sid, {}).get(job_id)

    def is_current(self, subscription: Subscription) -> bool:
        """Whether it has neither ended nor been replaced."""
        return self.find(subscription.sid, subscription.job_id) is subscription

    def join(self, subscription: Subscription) -> None:
        """From now on it is live, if it has not ended meanwhile."""
        if self.is_current(subscription):
            self._rooms.setdefault(subscription.job_id, {})[subscription.sid] = subscription

    def leave(self, subscription: Subscription) -> None:
        """From now on it is not live."""
        room = self._rooms.get(subscription.job_id, {})
        if room.get(subscription.sid) is subscription:
            del room[subscription.sid]
            if not room:
                del self._rooms[subscription.job_id]

    def end(self, subscription: Subscription) -> None:
        """Nothing more is sent for it. Its task is cancelled, unless that task is the caller."""
        self.leave(subscription)
        if self.is_current(subscription):
            del self._subscriptions[subscription.sid][subscription.job_id]
        if subscription.task is not None and subscription.task is not asyncio.current_task():
            subscription.task.cancel()

    def jobs(self) -> list[str]:
        """The jobs that somebody follows live."""
        return list(self._rooms)

    @property
    def client_count(self) -> int:
        return len(self._subscriptions)

    def all(self) -> list[Subscription]:
        return [subscription for mine in self._subscriptions.values() for subscription in mine.values()]

    def replaying(self) -> list[tuple[str, int]]:
        """The job and the last sent sequence of each subscription that is not live."""
        return [(s.job_id, s.after) for s in self.all() if self._rooms.get(s.job_id, {}).get(s.sid) is not s]

    def _send(self, subscription: Subscription, last: int, encoded: Any) -> None:
        if self._transport.queued(subscription.engine_sid) >= LIVE_QUEUE_MAX:
            self.leave(subscription)
            subscription.start_replay(subscription)
            return
        subscription.after = last
        self._transport.send(subscription.engine_sid, encoded)
