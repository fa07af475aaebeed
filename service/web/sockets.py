"""Socket.IO: the namespace ``/resources``, one room a job, and clients that are slow without harm to others.

A subscription is in one of two ways of being served: *replaying* (a task of its own reads the log page by page, paced
by the client's own queue) or *live* (a member of the room, fed by ``publish``). Whoever is live and does not read
fast enough leaves the room and is replayed from its cursor until it has caught up.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from service.errors import InstallerError, InvalidRequest, RequestError, StoreError, UnknownJob
from service.events import event_types as types
from service.events.event_types import TERMINAL_TYPES
from service.events.job import Job
from service.events.recorded_event import RecordedEvent, skipped_ranges
from service.store.journal import Journal
from service.unused import without

# Its clients would have requests, which takes 5 MB.
with without("requests"):
    import socketio
    from engineio import packet as engineio_packet

logger = logging.getLogger(__name__)

NAMESPACE = "/resources"
SUBSCRIPTIONS_MAX = 100
MESSAGE_BYTES_MAX = 64 * 1024
# A client's queue: above the first it leaves the room, above the second its replay waits, below the third it goes on.
LIVE_QUEUE_MAX = 2_000
REPLAY_QUEUE_MAX = 2_000
REPLAY_QUEUE_RESUME = 500
PACE_SECONDS = 0.01
PACE_SECONDS_MAX = 0.2
JOIN_SECONDS_MAX = 20.0
HANG_UP_SECONDS_MAX = 0.5

_PROGRESS = "resource_install_progress"
EVENT_NAMES = {
    types.StageStart.type: _PROGRESS,
    types.Progress.type: _PROGRESS,
    types.StageComplete.type: _PROGRESS,
    types.JobCompleted.type: "resource_install_complete",
    types.JobFailed.type: "resource_install_error",
    types.JobCancelled.type: "resource_install_error",
    types.Output.type: "resource_install_output",
}
STATUS = "resource_install_status"
SKIPPED = "resource_install_skipped"


class _Json:
    """orjson in the shape that python-socketio wants of a JSON module."""

    @staticmethod
    def dumps(data: Any, **_options: Any) -> str:
        return orjson.dumps(data).decode()

    @staticmethod
    def loads(text: str | bytes, **_options: Any) -> Any:
        return orjson.loads(text)


class Subscription:
    """One client's view of one job. ``after``: the last sequence that was put into its queue. ``compact``: its history
    comes without what tools printed."""

    __slots__ = ("after", "compact", "engine_sid", "job_id", "sid", "task")

    def __init__(self, sid: str, engine_sid: str, job_id: str, after: int, *, compact: bool) -> None:
        self.sid = sid
        self.engine_sid = engine_sid
        self.job_id = job_id
        self.after = after
        self.compact = compact
        self.task: asyncio.Task[None] | None = None


Deliver = Callable[..., Coroutine[Any, Any, None]]


class _Subscriber(NamedTuple):
    """A subscription, as the journal hands a stream over to it."""

    deliver: Deliver
    join: Callable[..., None]


class Sockets:
    """The Socket.IO face. ``publish`` is what the journal calls behind each commit."""

    def __init__(self, *, origin_allowed: Callable[[str, Any], bool], api_token: str | None) -> None:
        self._api_token = api_token
        self._journal: Journal | None = None
        self._rooms: dict[str, dict[str, Subscription]] = {}
        self._subscriptions: dict[str, dict[str, Subscription]] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self.server = socketio.AsyncServer(
            async_mode="aiohttp",
            cors_allowed_origins=origin_allowed,
            # One event of a client after the other, as it sent them; nothing in a handler takes long.
            async_handlers=False,
            namespaces=[NAMESPACE],
            json=_Json,
            max_http_buffer_size=MESSAGE_BYTES_MAX,
            http_compression=False,
        )
        self.server.on("connect", self._connect, namespace=NAMESPACE)
        self.server.on("disconnect", self._disconnect, namespace=NAMESPACE)
        self.server.on("subscribe_install", self._subscribe, namespace=NAMESPACE)
        self.server.on("unsubscribe_install", self._unsubscribe, namespace=NAMESPACE)

    def attach(self, app: web.Application, journal: Journal) -> None:
        self._journal = journal
        app.middlewares.append(without_deflate)
        self.server.attach(app)

    def start(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep(), name="socket-sweeper")

    @property
    def client_count(self) -> int:
        return len(self._subscriptions)

    def replaying(self) -> list[tuple[str, int]]:
        """The job and the last sent sequence of each subscription that is served from the log."""
        of_all = [s for mine in self._subscriptions.values() for s in mine.values()]
        return [(s.job_id, s.after) for s in of_all if self._rooms.get(s.job_id, {}).get(s.sid) is not s]

    async def publish(self, job_id: str, events: Sequence[RecordedEvent]) -> None:
        """Put these events, which are durable, into the queue of everyone in the room."""
        room = self._rooms.get(job_id)
        if not room:
            return
        for event in events:
            packet = _packet(event)
            for subscription in tuple(room.values()):
                await self._send_live(room, subscription, event, packet)
        if events[-1].type in TERMINAL_TYPES:
            for subscription in tuple(room.values()):
                self._forget(subscription)

    async def close(self) -> None:
        """Close every client, so that the process can end at once."""
        tasks = [s.task for of in self._subscriptions.values() for s in of.values() if s.task is not None]
        if self._sweeper is not None:
            tasks.append(self._sweeper)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._hang_up(self.server.eio.sockets)
        await self.server.shutdown()

    async def _sweep(self) -> None:
        """End the connections that never join the namespace: they would be held open for nothing."""
        strangers: set[str] = set()
        while True:
            await asyncio.sleep(JOIN_SECONDS_MAX)
            joined = self.server.manager
            now = {sid for sid in self.server.eio.sockets if joined.sid_from_eio_sid(sid, NAMESPACE) is None}
            await self._hang_up(strangers & now)
            strangers = now - strangers

    async def _hang_up(self, engine_sids: Iterable[str]) -> None:
        """Close these connections. Engine.IO waits until a client has read its queue; a client may never do so."""
        closing = [asyncio.create_task(self.server.eio.disconnect(engine_sid)) for engine_sid in tuple(engine_sids)]
        if closing:
            _, waiting = await asyncio.wait(closing, timeout=HANG_UP_SECONDS_MAX)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*closing, return_exceptions=True)

    # --- handlers: python-socketio calls them, with whatever a client sent -------------------------------------

    async def _connect(self, sid: str, environ: Any, auth: Any = None) -> None:
        # A client can send an event that is called "connect"; its payload never holds a real request.
        if not isinstance(environ, dict) or not isinstance(environ.get("aiohttp.request"), web.BaseRequest):
            return
        if self._api_token is not None:
            given = auth.get("token") if isinstance(auth, dict) else None
            if not isinstance(given, str) or not hmac.compare_digest(given.encode(), self._api_token.encode()):
                raise socketio.exceptions.ConnectionRefusedError("wrong or missing token: send auth {token}")
        self._subscriptions.setdefault(sid, {})

    async def _disconnect(self, sid: str, *_reason: Any) -> None:
        # A client can forge this event as well; then it is still connected, and nothing happens.
        if self.server.manager.is_connected(sid, NAMESPACE):
            return
        for subscription in list(self._subscriptions.pop(sid, {}).values()):
            self._forget(subscription)

    async def _subscribe(self, sid: str, data: Any = None, *_more: Any) -> dict[str, Any]:
        job_id = data.get("job_id") if isinstance(data, dict) else None
        try:
            job, after = await self._checked(data)
            subscription = self._replace(sid, job, after, compact=data.get("replay") == "compact")
        except UnknownJob as error:
            unknown = {"job_id": job_id, "error": error.message, "cause": "unknown_job"}
            await self.server.emit("resource_install_error", unknown, to=sid, namespace=NAMESPACE)
            return {"success": False, "message": error.message}
        except RequestError as error:
            return {"success": False, "message": error.message}
        except StoreError as error:
            return {"success": False, "message": f"not able now, try again: {error}"}
        answer = {"job_id": job.job_id, "last_sequence": job.last_sequence, "state": job.state.value}
        # The acknowledgement goes out when this returns, and nothing of the replay may overtake it.
        asyncio.get_running_loop().call_soon(self._start, subscription, answer)
        return {"success": True, **answer}

    async def _unsubscribe(self, sid: str, data: Any = None, *_more: Any) -> dict[str, Any]:
        job_id = data.get("job_id") if isinstance(data, dict) else None
        subscription = self._subscriptions.get(sid, {}).get(job_id) if isinstance(job_id, str) else None
        if subscription is None:
            return {"success": False, "message": "not subscribed to this job"}
        self._forget(subscription)
        return {"success": True, "job_id": job_id}

    # --- subscriptions -----------------------------------------------------------------------------------------

    async def _checked(self, data: Any) -> tuple[Job, int]:
        if not isinstance(data, dict) or not isinstance(data.get("job_id"), str):
            raise InvalidRequest('job_id is missing: send {"job_id": "…"}')
        after = data.get("after", 0)
        if isinstance(after, bool) or not isinstance(after, int) or not 0 <= after < 2**53:
            raise InvalidRequest("after must be an integer, 0 or more")
        if data.get("replay", "full") not in ("full", "compact"):
            raise InvalidRequest("replay must be full or compact")
        return await self._log.check_after(data["job_id"], after), after

    @property
    def _log(self) -> Journal:
        if self._journal is None:
            raise InstallerError("attach() comes first")
        return self._journal

    def _replace(self, sid: str, job: Job, after: int, *, compact: bool) -> Subscription:
        mine = self._subscriptions.get(sid)
        if mine is None:
            raise InvalidRequest("not connected")
        if job.job_id in mine:
            self._forget(mine[job.job_id])
        elif len(mine) >= SUBSCRIPTIONS_MAX:
            raise InvalidRequest(f"at most {SUBSCRIPTIONS_MAX} jobs a client: unsubscribe_install from one first")
        engine_sid = self.server.manager.eio_sid_from_sid(sid, NAMESPACE)
        mine[job.job_id] = Subscription(sid, engine_sid, job.job_id, after, compact=compact)
        return mine[job.job_id]

    def _start(self, subscription: Subscription, answer: dict[str, Any] | None = None) -> None:
        if self._is_current(subscription):
            subscription.task = asyncio.create_task(self._replay(subscription, answer))

    def _forget(self, subscription: Subscription) -> None:
        self._leave(subscription)
        mine = self._subscriptions.get(subscription.sid, {})
        if mine.get(subscription.job_id) is subscription:
            del mine[subscription.job_id]
        if subscription.task is not None and subscription.task is not asyncio.current_task():
            subscription.task.cancel()

    def _leave(self, subscription: Subscription) -> None:
        room = self._rooms.get(subscription.job_id, {})
        if room.get(subscription.sid) is subscription:
            del room[subscription.sid]
            if not room:
                del self._rooms[subscription.job_id]

    def _is_current(self, subscription: Subscription) -> bool:
        return self._subscriptions.get(subscription.sid, {}).get(subscription.job_id) is subscription

    async def _replay(self, subscription: Subscription, answer: dict[str, Any] | None) -> None:
        """The history from the cursor on, then into the room."""
        ended = False

        async def deliver(events: Sequence[RecordedEvent]) -> None:
            nonlocal ended
            for event in events:
                await self._send(subscription, _packet(event))
                subscription.after = event.sequence
            ended = events[-1].type in TERMINAL_TYPES
            await self._pace(subscription)

        def join(_last: int) -> None:
            if ended:
                self._forget(subscription)
            elif self._is_current(subscription):
                self._rooms.setdefault(subscription.job_id, {})[subscription.sid] = subscription

        try:
            if answer is not None:
                await self.server.emit("subscribed", answer, to=subscription.sid, namespace=NAMESPACE)
            if subscription.compact:
                await self._replay_compact(subscription, deliver)
            await self._log.hand_over(subscription.job_id, subscription.after, _Subscriber(deliver, join))
        except StoreError:
            # Nothing is lost: the client is told to come back, and does so with the last sequence that it saw.
            logger.exception("replay of job %s to a client failed", subscription.job_id)
            await self.server.disconnect(subscription.sid, namespace=NAMESPACE)

    async def _replay_compact(self, subscription: Subscription, deliver: Deliver) -> None:
        """The lifecycle and the last progress of each stage; what was left out is said first. The rest follows in
        full."""
        subscription.compact = False
        after = subscription.after
        found, upto = await self._log.compact(subscription.job_id, after)
        skipped = {"job_id": subscription.job_id, "skipped": skipped_ranges(found, after, upto)}
        await self.server.emit(SKIPPED, skipped, to=subscription.sid, namespace=NAMESPACE)
        if found:
            await deliver(found)
        subscription.after = max(subscription.after, upto)

    async def _send_live(
        self, room: dict[str, Subscription], subscription: Subscription, event: RecordedEvent, packet: Any
    ) -> None:
        if room.get(subscription.sid) is not subscription:
            return
        if self._queued(subscription) >= LIVE_QUEUE_MAX:
            self._leave(subscription)
            self._start(subscription)
            return
        subscription.after = event.sequence
        await self._send(subscription, packet)

    async def _send(self, subscription: Subscription, packet: Any) -> None:
        await self.server.eio.send_packet(subscription.engine_sid, packet)

    async def _pace(self, subscription: Subscription) -> None:
        if self._queued(subscription) < REPLAY_QUEUE_MAX:
            return
        seconds = PACE_SECONDS
        while self._queued(subscription) > REPLAY_QUEUE_RESUME:
            await asyncio.sleep(seconds)
            seconds = min(seconds * 2, PACE_SECONDS_MAX)

    def _queued(self, subscription: Subscription) -> int:
        socket = self.server.eio.sockets.get(subscription.engine_sid)
        return socket.queue.qsize() if socket is not None else 0


def _packet(event: RecordedEvent) -> Any:
    """The Engine.IO packet of one event, encoded once for all clients: Socket.IO's EVENT is ``2<namespace>,<JSON>``."""
    name = EVENT_NAMES.get(event.type, STATUS)
    return engineio_packet.Packet(engineio_packet.MESSAGE, f'2{NAMESPACE},["{name}",{event.to_json()}]')


@web.middleware
async def without_deflate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Take the offer of permessage-deflate out of a WebSocket's handshake: it would halve the fan-out."""
    if "Sec-WebSocket-Extensions" in request.headers:
        kept = request.headers.copy()
        kept.popall("Sec-WebSocket-Extensions")
        request = request.clone(headers=kept)
    return await handler(request)
