"""The WebSocket of a session: aiohttp's, in the shape in which Engine.IO drives one.

Learned by trying: permessage-deflate halves the fan-out, so nothing is compressed. Whole frames go straight to the
transport, and the writer waits there until the client reads. Engine.IO waits for ever in the middle of an upgrade, so
an upgrade has a time; and the first frame that no client of ours sends ends its connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from service.web.connection import Connection
from service.web.connections import Connections
from service.web.engine.incoming import MESSAGE_BYTES_MAX, packet_of_frame
from service.web.engine.packets import frame
from service.web.engine.session import Session

UPGRADE_SECONDS_MAX = 20.0
SILENT_SECONDS = 10.0
_NOOP = "6"


class WebSocket:
    """A session's WebSocket, in the shape that Engine.IO expects of its driver's. ``receive`` and ``close`` are
    aiohttp's; whole frames go straight to the transport."""

    def __init__(self, socket: Any, session: Session, connections: Connections, handler: Callable[[Any], Any]) -> None:
        self._socket = socket
        self._session = session
        self._connections = connections
        self._handler = handler
        self._response = web.WebSocketResponse(max_msg_size=MESSAGE_BYTES_MAX, compress=False)
        self._connection: Connection | None = None
        self._left: OSError | None = None

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
                self._forget_errors()
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
            raise self._end() if isinstance(text, bytes) else self._gone()
        packet = packet_of_frame(text)
        if packet is None or not self._session.may_send(packet):
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
        frames = data if isinstance(data, list) else [frame(data.encode())]
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
        return self._gone()

    def _gone(self) -> OSError:
        self._left = OSError()
        return self._left

    def _forget_errors(self) -> None:
        """The errors by which a client left are held by a task and by aiohttp's response, and their frames hold these
        and all of the connection: circles that would stay in memory until a full collection of garbage."""
        for error in (self._left, self._response.exception()):
            if error is not None:
                error.__traceback__ = error.__context__ = None
