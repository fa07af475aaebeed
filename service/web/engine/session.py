"""One client of Engine.IO, from its first request to its end, with the bounds that Engine.IO leaves open.

Engine.IO keeps all headers of a session's first request for as long as it lives, accepts sessions without number, and
waits for ever in the middle of an upgrade. So a session keeps no headers; it joins in time or goes (server.py), and so
does an upgrade (websocket.py); packets are checked before they are decoded (incoming.py), and the first one that no
client of ours sends ends its client without a word. A client that asks on and on without reading the answers is hung up
on.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from typing import Any

from aiohttp import web
from engineio.exceptions import EngineIOError
from engineio.packet import NOOP, Packet

from service.web.connection import Connection
from service.web.connections import Connections
from service.web.engine import incoming
from service.web.engine.outbox import Outbox

logger = logging.getLogger(__name__)

# Answers that a client has not read. Events have bounds of their own, in rooms.py and replay.py.
UNREAD_BEFORE_JOIN_MAX = 16
UNREAD_MAX = 1_000
# The key under which Socket.IO's handlers find the session in their environ.
SESSION = "session"


class Session:
    """One client of Engine.IO: in the place of the methods of Engine.IO's own socket that are named here.

    ``peer``: see peers.py. ``has_joined``: it is in the namespace, so it has shown the token, if there is one.
    ``began``: when it connected or left the namespace, on the loop's clock.
    """

    def __init__(self, socket: Any, connections: Connections, peer: str | None) -> None:
        self.peer = peer
        self.has_joined = False
        self.began = asyncio.get_running_loop().time()
        # Engine.IO's socket holds the session: each would keep the other in memory once the client has left.
        self._engine = weakref.ref(socket)
        self._connections = connections
        self._is_kept = False
        self._read_at = 0.0
        # The connections that carry it now, and whether each counts as subscribed.
        self._carried_by: dict[Connection, bool] = {}
        self._outbox = Outbox()
        while not socket.queue.empty():
            self._outbox.put_nowait(socket.queue.get_nowait())
        socket.queue = self._outbox
        socket.poll = self.poll
        socket.handle_get_request = self.get
        socket.handle_post_request = self.post

    @property
    def queued(self) -> int:
        return self._outbox.unread

    def send(self, item: Any) -> None:
        """Put a batch or a packet into its queue."""
        socket = self._engine()
        if socket is not None and not socket.closed:
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

    def may_send(self, packet: Any) -> bool:
        """Whether this is a packet that a client of ours sends, and one that reads what it is sent."""
        unread_max = UNREAD_MAX if self.has_joined else UNREAD_BEFORE_JOIN_MAX
        return self._outbox.answers <= unread_max and incoming.is_allowed(packet, has_joined=self.has_joined)

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
            socket = self._socket
            return await type(socket).handle_get_request(socket, environ)
        finally:
            if self._carried_by.pop(connection, False):
                connection.unsubscribe()

    async def post(self, environ: Any) -> None:
        try:
            length = int(environ.get("CONTENT_LENGTH", "0"))
            if length > incoming.MESSAGE_BYTES_MAX:
                raise ValueError("the body is too large")
            packets = incoming.packets_of_body(await environ["wsgi.input"].readexactly(length))
        except (*incoming.UNREADABLE, EOFError, ConnectionError, web.RequestPayloadError) as error:
            await self._refuse(error)
        for packet in packets:
            if not self.may_send(packet):
                await self._refuse(ValueError("no client sends this"))
            await self._socket.receive(packet)
        if self._socket.closed:
            # Its client waits for its poll to be answered before it has left.
            self._outbox.put_nowait(Packet(NOOP))

    async def poll(self) -> list[Any]:
        """What goes into one answer, or into the WebSocket; empty at the end. Raises QueueEmpty."""
        return await (self._outbox.for_websocket() if self._socket.upgraded else self._outbox.for_poll())

    @property
    def _socket(self) -> Any:
        socket = self._engine()
        if socket is None:
            raise ConnectionResetError("the client has left")
        return socket

    async def _refuse(self, error: Exception) -> None:
        logger.debug("a client of Socket.IO was hung up on: %s", error)
        await self._socket.close(wait=False, abort=True)
        raise EngineIOError
