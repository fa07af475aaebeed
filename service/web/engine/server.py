"""python-socketio's server: it begins and ends the sessions, and the rooms send through it.

Learned by trying: with ``async_handlers=True`` two events of one client can change places; Engine.IO closes a
connection only after the client has read its queue, so that a shutdown with one silent client takes 45 seconds.
Engine.IO accepts sessions without number, also such as never join, so both have a bound, and joining has a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
import socketio
from engineio import payload as engineio_payload

from service.events.recorded_event import RecordedEvent
from service.store.background import BackgroundLoop
from service.web.connections import Connections
from service.web.engine.incoming import MESSAGE_BYTES_MAX, POSTED_PACKETS_MAX
from service.web.engine.packets import Batch, event_packet
from service.web.engine.session import SESSION, Session
from service.web.engine.websocket import WebSocket
from service.web.socket_events import NAMESPACE

ConnectionRefusedError = socketio.exceptions.ConnectionRefusedError

HANG_UP_SECONDS_MAX = 0.5
SESSIONS_MAX = 20_000
# Those that have not joined yet: each costs some 10 KB.
UNJOINED_MAX = 4_000
JOIN_SECONDS_MAX = 20.0
SWEEP_SECONDS = 2.0


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

    def _websocket(self, handler: Any, _engine: Any) -> WebSocket:
        socket = handler.__self__
        return WebSocket(socket, self._sessions[socket.sid], self._connections, handler)


class _Json:
    """orjson in the shape of the JSON module that python-socketio expects."""

    @staticmethod
    def dumps(data: Any, **_options: Any) -> str:
        return orjson.dumps(data).decode()

    @staticmethod
    def loads(text: str | bytes, **_options: Any) -> Any:
        return orjson.loads(text)
