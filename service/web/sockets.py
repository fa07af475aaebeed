"""Socket.IO's handlers: connect with the token, subscribe to jobs, leave them. The only module that imports socketio.

Learned by trying: a client can send events that are called ``connect`` and ``disconnect``, and runs those handlers with
forged arguments; with ``async_handlers=True`` two events of one client can change places; Engine.IO closes a connection
only after the client has read its queue, so that a shutdown with one silent client takes 45 seconds; permessage-deflate
halves the fan-out; python-engineio decodes at most 16 packets of one HTTP body, and loses all of a longer one.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import socketio
from aiohttp import web
from aiohttp.typedefs import Handler
from engineio import packet as engineio_packet
from engineio import payload as engineio_payload

from service.errors import (
    InvalidRequest,
    NotFound,
    RequestError,
    StoreError,
    StoreUnavailable,
    Unauthorized,
    UnknownJob,
)
from service.events.job import Job
from service.store.background import BackgroundLoop
from service.store.journal import Journal
from service.web import refusals
from service.web.replay import Replay
from service.web.rooms import Rooms, Subscription
from service.web.socket_events import (
    AFTER_MAX,
    ERROR,
    NAMESPACE,
    SUBSCRIBE,
    SUBSCRIBED,
    UNSUBSCRIBE,
    SocketRefusal,
    SubscribeAnswer,
    Subscribed,
    UnknownJobError,
    UnsubscribeAnswer,
)

logger = logging.getLogger(__name__)

MESSAGE_BYTES_MAX = 64 * 1024
JOIN_SECONDS_MAX = 20.0
HANG_UP_SECONDS_MAX = 0.5
# python-engineio's client decodes no more of one answer.
POLLED_PACKETS_MAX = 16
# The JavaScript client posts everything that waits in one body: one packet for each subscription of a page, and more.
POSTED_PACKETS_MAX = 512


class _Json:
    """orjson in the shape of the JSON module that python-socketio expects."""

    @staticmethod
    def dumps(data: Any, **_options: Any) -> str:
        return orjson.dumps(data).decode()

    @staticmethod
    def loads(text: str | bytes, **_options: Any) -> Any:
        return orjson.loads(text)


class _Poll:
    """A connection's ``poll``, with a bound on the packets of one polling answer. ``waiting``: those that were taken
    out of its queue and go into the next answers, or into the WebSocket after an upgrade."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._take_all = socket.poll
        self.waiting: list[Any] = []

    async def __call__(self) -> list[Any]:
        if not self.waiting:
            packets: list[Any] = await self._take_all()
            if self._socket.upgraded or len(packets) <= POLLED_PACKETS_MAX:
                return packets
            self.waiting += packets
        count = len(self.waiting) if self._socket.upgraded else POLLED_PACKETS_MAX
        answer = self.waiting[:count]
        del self.waiting[:count]
        return answer


class SocketServer:
    """python-socketio's server, and the Transport of the rooms. ``send`` is Engine.IO's own method: one call less for
    each packet."""

    def __init__(self, *, origin_allowed: Callable[[str, Any], bool]) -> None:
        self.server = socketio.AsyncServer(
            async_mode="aiohttp",
            cors_allowed_origins=origin_allowed,
            # A client's events are handled one after the other, in its order; no handler takes long.
            async_handlers=False,
            namespaces=[NAMESPACE],
            json=_Json,
            max_http_buffer_size=MESSAGE_BYTES_MAX,
            http_compression=False,
        )
        self.send = self.server.eio.send_packet
        self.server.eio.on("connect", self._engine_connect)
        # The documented way to raise the bound; MESSAGE_BYTES_MAX bounds the body.
        engineio_payload.Payload.max_decode_packets = POSTED_PACKETS_MAX

    def packet(self, name: str, payload_json: str) -> Any:
        """Socket.IO's EVENT is ``2<namespace>,<JSON>``."""
        return engineio_packet.Packet(engineio_packet.MESSAGE, f'2{NAMESPACE},["{name}",{payload_json}]')

    def queued(self, engine_sid: str) -> int:
        socket = self.server.eio.sockets.get(engine_sid)
        return socket.queue.qsize() + len(socket.poll.waiting) if socket is not None else 0

    def engine_sid(self, sid: str) -> str:
        return str(self.server.manager.eio_sid_from_sid(sid, NAMESPACE))

    def has_joined(self, engine_sid: str) -> bool:
        """Whether this connection is in the namespace: before that it has shown no token."""
        return self.server.manager.sid_from_eio_sid(engine_sid, NAMESPACE) is not None

    async def hang_up(self, engine_sids: Iterable[str]) -> None:
        """Close these connections, also those whose clients do not read their queues."""
        closing = [asyncio.create_task(self.server.eio.disconnect(engine_sid)) for engine_sid in tuple(engine_sids)]
        if closing:
            _, waiting = await asyncio.wait(closing, timeout=HANG_UP_SECONDS_MAX)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*closing, return_exceptions=True)

    async def _engine_connect(self, engine_sid: str, environ: Any) -> Any:
        socket = self.server.eio.sockets[engine_sid]
        socket.poll = _Poll(socket)
        return await self.server._handle_eio_connect(engine_sid, environ)


class Sockets:
    """What clients may ask for over Socket.IO. Built last: it reads the journal and fills the rooms."""

    def __init__(self, transport: SocketServer, rooms: Rooms, journal: Journal, *, api_token: str | None) -> None:
        self._transport = transport
        self._rooms = rooms
        self._journal = journal
        self._api_token = api_token
        self._strangers: set[str] = set()
        self._sweeper = BackgroundLoop("socket-sweeper", self._sweep)
        self.server = transport.server
        self.server.on("connect", self._connect, namespace=NAMESPACE)
        self.server.on("disconnect", self._disconnect, namespace=NAMESPACE)
        self.server.on(SUBSCRIBE, self._subscribe, namespace=NAMESPACE)
        self.server.on(UNSUBSCRIBE, self._unsubscribe, namespace=NAMESPACE)

    def attach(self, app: web.Application) -> None:
        app.middlewares.append(without_deflate)
        self.server.attach(app)

    def start(self) -> None:
        self._sweeper.start()

    async def close(self) -> None:
        """Close every client, so that the process can end at once."""
        await self._sweeper.stop()
        tasks = [subscription.task for subscription in self._rooms.all() if subscription.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.hang_up(self.server.eio.sockets)
        await self.server.shutdown()

    async def _sweep(self) -> float:
        """Close the connections that had not joined the namespace the last time either: nothing would ever be sent to
        them. Returns the seconds until the next look."""
        now = {sid for sid in self.server.eio.sockets if not self._transport.has_joined(sid)}
        await self._transport.hang_up(self._strangers & now)
        self._strangers = now - self._strangers
        return JOIN_SECONDS_MAX

    # --- handlers: python-socketio calls them with whatever a client sent ----------------------------------------

    async def _connect(self, sid: str, environ: Any, auth: Any = None) -> None:
        # A client can send an event that is called "connect"; its payload never holds a real request.
        if not isinstance(environ, dict) or not isinstance(environ.get("aiohttp.request"), web.BaseRequest):
            return
        if self._api_token is not None:
            given = auth.get("token") if isinstance(auth, dict) else None
            if not isinstance(given, str) or not hmac.compare_digest(given.encode(), self._api_token.encode()):
                message = "wrong or missing token: send auth {token}"
                raise socketio.exceptions.ConnectionRefusedError(message, {"code": Unauthorized.code})
        self._rooms.admit(sid)

    async def _disconnect(self, sid: str, *_reason: Any) -> None:
        # A client can forge this event as well; then it is still connected, and nothing happens.
        if not self.server.manager.is_connected(sid, NAMESPACE):
            self._rooms.dismiss(sid)

    async def _subscribe(self, sid: str, data: Any = None, *_more: Any) -> SubscribeAnswer | SocketRefusal:
        try:
            job, after = await self._checked(data)
            subscription = Subscription(sid, self._transport.engine_sid(sid), job.job_id, after, self._replay)
            self._rooms.subscribe(subscription)
        except UnknownJob as error:
            unknown: UnknownJobError = {
                "job_id": data["job_id"],
                "error": error.message,
                "cause": "unknown_job",
                "code": error.code,
            }
            await self.server.emit(ERROR, unknown, to=sid, namespace=NAMESPACE)
            return refusals.acknowledgement(error)
        except RequestError as error:
            return refusals.acknowledgement(error)
        except StoreError as error:
            return refusals.acknowledgement(StoreUnavailable(str(error)))
        answer: Subscribed = {"job_id": job.job_id, "last_sequence": job.last_sequence, "state": job.state}
        # The acknowledgement goes out when this returns, and nothing of the replay may overtake it.
        compact = data.get("replay") == "compact"
        asyncio.get_running_loop().call_soon(self._begin, subscription, answer, compact)
        return {"success": True, **answer}

    async def _unsubscribe(self, sid: str, data: Any = None, *_more: Any) -> UnsubscribeAnswer | SocketRefusal:
        job_id = data.get("job_id") if isinstance(data, dict) else None
        subscription = self._rooms.find(sid, job_id) if isinstance(job_id, str) else None
        if subscription is None:
            return refusals.acknowledgement(NotFound("not subscribed to this job"))
        self._rooms.end(subscription)
        return {"success": True, "job_id": subscription.job_id}

    async def _checked(self, data: Any) -> tuple[Job, int]:
        if not isinstance(data, dict) or not isinstance(data.get("job_id"), str):
            raise InvalidRequest('job_id is missing: send {"job_id": "…"}')
        after = data.get("after", 0)
        if isinstance(after, bool) or not isinstance(after, int) or not 0 <= after <= AFTER_MAX:
            raise InvalidRequest("after must be an integer, 0 or more")
        if data.get("replay", "full") not in ("full", "compact"):
            raise InvalidRequest("replay must be full or compact")
        return await self._journal.check_after(data["job_id"], after), after

    # --- serving a subscription from the log ---------------------------------------------------------------------

    def _begin(self, subscription: Subscription, answer: Subscribed, compact: bool) -> None:
        if self._rooms.is_current(subscription):
            subscription.task = asyncio.create_task(self._welcome(subscription, answer, compact))

    def _replay(self, subscription: Subscription) -> None:
        """A live subscription fell behind."""
        subscription.task = asyncio.create_task(self._serve(subscription, compact=False))

    async def _welcome(self, subscription: Subscription, answer: Subscribed, compact: bool) -> None:
        await self.server.emit(SUBSCRIBED, answer, to=subscription.sid, namespace=NAMESPACE)
        await self._serve(subscription, compact=compact)

    async def _serve(self, subscription: Subscription, *, compact: bool) -> None:
        replay = Replay(subscription, journal=self._journal, rooms=self._rooms, transport=self._transport)
        try:
            await (replay.run_compact() if compact else replay.run())
        except StoreError:
            # Nothing is lost: the client comes back with the last sequence that it saw.
            logger.exception("replay of job %s to a client failed", subscription.job_id)
            await self.server.disconnect(subscription.sid, namespace=NAMESPACE)


@web.middleware
async def without_deflate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Take the offer of permessage-deflate out of a WebSocket's handshake: it would halve the fan-out."""
    if "Sec-WebSocket-Extensions" in request.headers:
        kept = request.headers.copy()
        kept.popall("Sec-WebSocket-Extensions")
        request = request.clone(headers=kept)
    return await handler(request)
