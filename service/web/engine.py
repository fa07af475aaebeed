"""Engine.IO and Socket.IO, tamed: the only module that imports engineio and socketio.

Learned by trying: with ``async_handlers=True`` two events of one client can change places; Engine.IO closes a
connection only after the client has read its queue, so that a shutdown with one silent client takes 45 seconds;
permessage-deflate halves the fan-out; python-engineio's client decodes at most 16 packets of one HTTP body, and loses
all of a longer one.

What the libraries leave open, a ``Session`` closes. Engine.IO keeps all headers of a session's first request for as
long as it lives, accepts sessions without number, and waits for ever in the middle of an upgrade; Socket.IO collects as
many binary attachments as a client announces; a frame that cannot be read costs a traceback in the log. So a session
keeps no headers; it joins in time or goes, and so does an upgrade; frames are checked before they are decoded, and the
first one that no client of ours sends ends its client without a word; who asks on and on without reading the answers is
hung up on.

The way out is made for many clients: what they share is one ``Batch``, encoded once, and a client's WebSocket is
written whatever waits for it at once. So the more there is to send, the less each event costs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import orjson
import socketio
from aiohttp import web
from engineio import packet as engineio_packet
from engineio import payload as engineio_payload
from engineio.exceptions import EngineIOError, QueueEmpty

from service.events.recorded_event import RecordedEvent
from service.store.background import BackgroundLoop
from service.web.connections import Connection, Connections
from service.web.socket_events import NAMESPACE, name_of

logger = logging.getLogger(__name__)

Packet = engineio_packet.Packet
ConnectionRefusedError = socketio.exceptions.ConnectionRefusedError

MESSAGE_BYTES_MAX = 64 * 1024
HANG_UP_SECONDS_MAX = 0.5
# python-engineio's client decodes no more of one answer.
POLLED_PACKETS_MAX = 16
# The JavaScript client posts everything that waits in one body: one packet for each subscription of a page, and more.
POSTED_PACKETS_MAX = 512
SESSIONS_MAX = 20_000
# Those that have not joined yet: each costs some 10 KB.
UNJOINED_MAX = 4_000
JOIN_SECONDS_MAX = 20.0
UPGRADE_SECONDS_MAX = 20.0
SILENT_SECONDS = 10.0
SWEEP_SECONDS = 2.0
# Answers that a client has not read. Events have bounds of their own, in rooms.py and replay.py.
UNREAD_BEFORE_JOIN_MAX = 16
UNREAD_MAX = 1_000
# Engine.IO sends a ping every 25 seconds, and waits for its answer for 20.
_POLL_SECONDS_MAX = 45.0
SESSION = "session"
# What the decoders of Engine.IO and Socket.IO raise on garbage.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
_FROM_CLIENTS = "123456"
_NOOP = "6"
_CONNECT, _DISCONNECT, _EVENT = 0, 1, 2


class _Json:
    """orjson in the shape of the JSON module that python-socketio expects."""

    @staticmethod
    def dumps(data: Any, **_options: Any) -> str:
        return orjson.dumps(data).decode()

    @staticmethod
    def loads(text: str | bytes, **_options: Any) -> Any:
        return orjson.loads(text)


class Batch:
    """Events on their way to any number of clients, encoded once: as frames of a WebSocket, or as packets for those
    that poll."""

    def __init__(self, events: Sequence[RecordedEvent]) -> None:
        self.count = len(events)
        self._events = events

    @cached_property
    def packets(self) -> list[Any]:
        return [event_packet(name_of(event.type), event.to_json()) for event in self._events]

    @cached_property
    def frames(self) -> bytes:
        return b"".join(
            [_frame(f'42{NAMESPACE},["{name_of(event.type)}",{event.to_json()}]'.encode()) for event in self._events]
        )


class _Outbox(asyncio.Queue[Any]):
    """Engine.IO's queue of a client. ``events``: how many are in it, in batches; ``answers``: its other packets."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self.events = 0
        self.answers = 0

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


class _Writing:
    """Whatever waits for a WebSocket, in the place of one packet: Engine.IO's writer encodes it and sends it on."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def encode(self) -> list[bytes]:
        return [item.frames if isinstance(item, Batch) else _frame(item.encode().encode()) for item in self.items]


class Session:
    """One client of Engine.IO, from its first request to its end: in the place of the methods of Engine.IO's own
    socket that are named here.

    ``peer``: see peers.py. ``has_joined``: it is in the namespace, so it has shown the token, if there is one.
    """

    def __init__(self, socket: Any, connections: Connections, peer: str | None) -> None:
        self.peer = peer
        self.has_joined = False
        self.began = asyncio.get_running_loop().time()
        self._socket = socket
        self._connections = connections
        self._is_kept = False
        self._read_at = 0.0
        # The connections that carry it now, and whether each counts as subscribed.
        self._carried_by: dict[Connection, bool] = {}
        self._taken: list[Any] = []
        self._outbox = _Outbox()
        while not socket.queue.empty():
            self._outbox.put_nowait(socket.queue.get_nowait())
        self._get = socket.handle_get_request
        socket.queue = self._outbox
        socket.poll = self.poll
        socket.handle_get_request = self.get
        socket.handle_post_request = self.post

    @property
    def queued(self) -> int:
        return self._outbox.events + self._outbox.answers + len(self._taken)

    def send(self, item: Any) -> None:
        if not self._socket.closed:
            self._outbox.put_nowait(item)

    def joined(self) -> None:
        """Its connections are not closed for being slow from here on."""
        self.has_joined = True
        for connection in self._carried_by:
            connection.admit()

    def left(self) -> None:
        self.has_joined = False
        self.began = asyncio.get_running_loop().time()

    def keep(self) -> None:
        """It has shown a token or subscribed: its connections give way to nobody."""
        self._is_kept = True
        for connection, is_subscribed in self._carried_by.items():
            if not is_subscribed:
                self._carried_by[connection] = True
                connection.subscribe()

    def reads(self) -> None:
        """Its client has just read a lot, so it is alive, even if it answers a ping only once it has read all that was
        sent before."""
        self._read_at = time.time()
        if self._socket.last_ping:
            self._socket.last_ping = self._read_at

    def has_read_since(self, at: float) -> bool:
        return self._read_at >= at

    async def drop(self) -> None:
        """End it at once, whatever its client does."""
        await self._socket.close(wait=False, abort=True)
        self._outbox.put_nowait(None)
        self.abort()

    def abort(self) -> None:
        for connection in tuple(self._carried_by):
            connection.abort()

    # --- in the place of Engine.IO's own ---------------------------------------------------------------------------

    async def get(self, environ: Any) -> Any:
        """A poll, or a WebSocket from its handshake to its end."""
        connection = self._connections.of(environ["aiohttp.request"])
        if connection is None:
            raise ConnectionResetError("the client has left")
        self._carried_by[connection] = self._is_kept
        if self.has_joined:
            connection.admit()
        if self._is_kept:
            connection.subscribe()
        try:
            return await self._get(environ)
        finally:
            if self._carried_by.pop(connection, False):
                connection.unsubscribe()

    async def post(self, environ: Any) -> None:
        try:
            length = int(environ.get("CONTENT_LENGTH", "0"))
            if length > MESSAGE_BYTES_MAX:
                raise ValueError("the body is too large")
            body = await environ["wsgi.input"].readexactly(length)
            packets = engineio_payload.Payload(encoded_payload=body.decode()).packets
        except (*_UNREADABLE, EOFError, ConnectionError, web.RequestPayloadError) as error:
            await self._refuse(error)
        for packet in packets:
            if not self.may_send(packet):
                await self._refuse(ValueError("no client sends this"))
            await self._socket.receive(packet)

    async def poll(self) -> list[Any]:
        """What goes into one answer, or into the WebSocket; empty at the end."""
        if self._socket.upgraded:
            return await self._all()
        if not self._taken:
            self._taken = _as_packets(await self._take(_POLL_SECONDS_MAX))
        answer, self._taken = self._taken[:POLLED_PACKETS_MAX], self._taken[POLLED_PACKETS_MAX:]
        return answer

    # --- what a client may send --------------------------------------------------------------------------------------

    def may_send(self, packet: Any) -> bool:
        """Whether this is a packet that a client of ours sends, and one that reads what it is sent."""
        unread_max = UNREAD_MAX if self.has_joined else UNREAD_BEFORE_JOIN_MAX
        if packet.binary or self._outbox.answers > unread_max:
            return False
        return packet.packet_type != engineio_packet.MESSAGE or self._is_readable(packet.data)

    def may_send_text(self, text: str) -> bool:
        if text[:1] not in _FROM_CLIENTS or not text:
            return False
        return self.may_send(Packet(encoded_packet=text))

    def _is_readable(self, data: Any) -> bool:
        """Whether Socket.IO can read this, and a client may send it: it joins, leaves, or names an event where it has
        joined. No client of ours sends binary data or acknowledges anything."""
        try:
            found = socketio.packet.Packet(encoded_packet=data)
        except _UNREADABLE:
            return False
        if found.packet_type != _EVENT:
            return found.packet_type in (_CONNECT, _DISCONNECT)
        is_here = self.has_joined and found.namespace == NAMESPACE
        return is_here and isinstance(found.data, list) and bool(found.data) and isinstance(found.data[0], str)

    async def _refuse(self, error: Exception) -> None:
        logger.debug("a client of Socket.IO was hung up on: %s", error)
        await self._socket.close(wait=False, abort=True)
        raise EngineIOError

    async def _all(self) -> list[Any]:
        taken, self._taken = self._taken, []
        if not taken:
            # Pings go through here as well: if nothing comes for long, the client is gone and is closed elsewhere.
            taken = await self._take(None)
        return [_Writing(taken)] if taken else []

    async def _take(self, seconds: float | None) -> list[Any]:
        """All that waits, at least one; empty at the end. Raises QueueEmpty."""
        try:
            async with asyncio.timeout(seconds):
                first = await self._outbox.get()
        except (TimeoutError, asyncio.CancelledError) as error:
            raise QueueEmpty from error
        self._outbox.task_done()
        items = [] if first is None else [first]
        while first is not None and not self._outbox.empty():
            item = self._outbox.get_nowait()
            self._outbox.task_done()
            if item is None:
                # The end comes after the rest.
                self._outbox.put_nowait(None)
                break
            items.append(item)
        return items


class _WebSocket:
    """A session's WebSocket, in the shape that Engine.IO expects of its driver's. ``receive`` and ``close`` are
    aiohttp's; whole frames go straight to the transport."""

    def __init__(self, socket: Any, session: Session, connections: Connections, handler: Callable[[Any], Any]) -> None:
        self._socket = socket
        self._session = session
        self._connections = connections
        self._handler = handler
        self._response = web.WebSocketResponse(max_msg_size=MESSAGE_BYTES_MAX, compress=False)
        self._connection: Connection | None = None

    async def __call__(self, environ: Any) -> web.WebSocketResponse:
        request = environ["aiohttp.request"]
        self._connection = self._connections.of(request)
        await self._response.prepare(request)
        if self._connection is not None:
            self._connection.is_websocket = True
            try:
                await self._handler(self)
            finally:
                # Engine.IO forgets it when an upgrade fails, and polls would be answered with nothing from then on.
                self._socket.upgrading = False
        return self._response

    async def wait(self) -> str:
        """The next frame. Raises OSError: Engine.IO's word for the end."""
        begin = time.time()
        try:
            seconds = SILENT_SECONDS if self._socket.upgraded else UPGRADE_SECONDS_MAX
            text = (await self._response.receive(timeout=seconds)).data
        except TimeoutError:
            if self._socket.upgraded:
                return await self._after_silence(begin)
            raise self._end() from None
        if not isinstance(text, str):
            raise self._end() if isinstance(text, bytes) else OSError
        try:
            is_good = self._session.may_send_text(text)
        except _UNREADABLE:
            is_good = False
        if not is_good:
            raise self._end()
        return text

    async def _after_silence(self, begin: float) -> str:
        """Engine.IO hangs up on who says nothing for as long as a ping may take, but one who has much to read answers a
        ping only after that: as long as it reads, it says nothing in words that Engine.IO passes over."""
        return _NOOP if self._session.has_read_since(begin) else await self.wait()

    async def send(self, data: Any) -> None:
        """Write whole frames, then wait until the client has read most of them."""
        connection = self._connection
        if connection is None or connection.transport is None:
            raise ConnectionResetError
        frames = data if isinstance(data, list) else [_frame(data.encode())]
        if len(frames) == 1:
            connection.transport.write(frames[0])
        else:
            connection.transport.writelines(frames)
        if await connection.writable():
            self._session.reads()

    async def close(self) -> None:
        await self._response.close()

    def _end(self) -> OSError:
        if self._connection is not None:
            self._connection.abort()
        return OSError()


class SocketServer:
    """python-socketio's server, its sessions, and the Transport of the rooms. ``start``, ``stop``."""

    def __init__(self, *, origin_allowed: Callable[[str, Any], bool], connections: Connections) -> None:
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
        self._connections = connections
        self._sessions: dict[str, Session] = {}
        self._sweeper = BackgroundLoop("socket-sweeper", self._sweep)
        eio = self.server.eio
        eio.on("connect", self._connect)
        eio.on("disconnect", self._disconnect)
        eio._async = {**eio._async, "websocket": self._websocket}
        # The documented way to raise the bound; MESSAGE_BYTES_MAX bounds the body.
        engineio_payload.Payload.max_decode_packets = POSTED_PACKETS_MAX

    def start(self) -> None:
        self._sweeper.start()

    async def stop(self) -> None:
        """Close every client, so that the process can end at once."""
        await self._sweeper.stop()
        await self.hang_up(self.server.eio.sockets)
        await self.server.shutdown()

    def encode(self, events: Sequence[RecordedEvent]) -> Batch:
        return Batch(events)

    def packet(self, name: str, payload_json: str) -> Any:
        return event_packet(name, payload_json)

    def send(self, engine_sid: str, encoded: Any) -> None:
        session = self._sessions.get(engine_sid)
        if session is not None:
            session.send(encoded)

    def queued(self, engine_sid: str) -> int:
        session = self._sessions.get(engine_sid)
        return session.queued if session is not None else 0

    def engine_sid(self, sid: str) -> str:
        return str(self.server.manager.eio_sid_from_sid(sid, NAMESPACE))

    def session(self, sid: str) -> Session | None:
        return self._sessions.get(self.engine_sid(sid))

    async def hang_up(self, engine_sids: Iterable[str]) -> None:
        """Close these connections, also those whose clients do not read their queues."""
        sids = tuple(engine_sids)
        closing = [asyncio.create_task(self.server.eio.disconnect(engine_sid)) for engine_sid in sids]
        if closing:
            _, waiting = await asyncio.wait(closing, timeout=HANG_UP_SECONDS_MAX)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*closing, return_exceptions=True)
        for engine_sid in sids:
            self.server.eio.sockets.pop(engine_sid, None)

    async def _connect(self, engine_sid: str, environ: Any) -> Any:
        if not await self._make_room():
            return "the service has too many clients: try again later"
        request = environ["aiohttp.request"]
        session = Session(self.server.eio.sockets[engine_sid], self._connections, self._connections.peer_of(request))
        self._sessions[engine_sid] = session
        # Socket.IO keeps this for as long as the session lives: not the request, whose headers can be large.
        return await self.server._handle_eio_connect(engine_sid, {SESSION: session})

    async def _disconnect(self, engine_sid: str, reason: Any) -> None:
        session = self._sessions.pop(engine_sid, None)
        if session is not None and reason == self.server.reason.PING_TIMEOUT:
            # It reads nothing either: a farewell would wait for it for ever.
            session.abort()
        await self.server._handle_eio_disconnect(engine_sid, reason)

    async def _make_room(self) -> bool:
        """For one session more: the one that has waited longest without joining gives way."""
        unjoined = [sid for sid, session in self._sessions.items() if not session.has_joined]
        if len(unjoined) < UNJOINED_MAX and len(self._sessions) < SESSIONS_MAX:
            return True
        if unjoined:
            await self._drop(unjoined[0])
        return bool(unjoined)

    async def _drop(self, engine_sid: str) -> None:
        await self._sessions[engine_sid].drop()
        self.server.eio.sockets.pop(engine_sid, None)

    async def _sweep(self) -> float:
        """End the sessions that have not joined in time: nothing would ever be sent to them."""
        before = asyncio.get_running_loop().time() - JOIN_SECONDS_MAX
        late = [sid for sid, session in self._sessions.items() if not session.has_joined and session.began < before]
        for engine_sid in late:
            if engine_sid in self._sessions:
                await self._drop(engine_sid)
        return SWEEP_SECONDS

    def _websocket(self, handler: Any, _engine: Any) -> _WebSocket:
        socket = handler.__self__
        return _WebSocket(socket, self._sessions[socket.sid], self._connections, handler)


def event_packet(name: str, payload_json: str) -> Any:
    """Socket.IO's EVENT is ``2<namespace>,<JSON>``."""
    return Packet(engineio_packet.MESSAGE, f'2{NAMESPACE},["{name}",{payload_json}]')


def _as_packets(items: Iterable[Any]) -> list[Any]:
    return [packet for item in items for packet in (item.packets if isinstance(item, Batch) else [item])]


def _frame(payload: bytes) -> bytes:
    """One whole text frame of a WebSocket, as a server sends it (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload
