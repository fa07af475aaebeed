"""One client's connection: it stands between the transport and aiohttp's handler, and tells the registry what happens.

It needs nothing of aiohttp but its public protocol. What a stranger sends whose session has not joined is counted
before aiohttp sees it: a head and the frames of a WebSocket have a bound here, all that was sent and not answered has
one in ``strangers.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from aiohttp import web

from service.web.request_head import HEAD_BYTES_MAX, TOO_LARGE, RequestHead

if TYPE_CHECKING:
    from service.web.connections import Connections

# A stranger's WebSocket has only to join: with its token, in one frame.
FRAMES_BYTES_MAX = 32 << 10


class Connection(asyncio.Protocol):
    """One client's connection. ``peer``: see Peers. ``since``: when it was last answered, on the registry's clock."""

    __slots__ = (
        "_handler",
        "_head",
        "_is_admitted",
        "_is_known",
        "_registry",
        "_subscriptions",
        "_writable",
        "answered",
        "is_websocket",
        "peer",
        "since",
        "transport",
        "unanswered",
        "when_lost",
    )

    def __init__(self, handler: asyncio.Protocol, registry: Connections, peer: str | None) -> None:
        self._handler = handler
        self._registry = registry
        self.peer = peer
        self.since = 0.0
        self.transport: asyncio.Transport | None = None
        self.is_websocket = False
        self.answered = 0
        self.unanswered = 0
        self._head = RequestHead()
        self._is_known = False
        self._is_admitted = False
        self._subscriptions = 0
        self._writable: asyncio.Future[None] | None = None
        # To be called once the client has left.
        self.when_lost: set[Callable[[], None]] = set()

    # --- what the transport calls -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self._registry.opened(self)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if not self.is_admitted and not self._may_send(data):
            return
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._release()
        self._registry.moved(self)
        self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._registry.closed(self)
        self.transport = None
        self._release()
        self._handler.connection_lost(exc)
        while self.when_lost:
            self.when_lost.pop()()

    # --- what the service says about it ---------------------------------------------------------------------------

    @property
    def is_stranger(self) -> bool:
        return not self._is_known and not self._subscriptions

    @property
    def is_admitted(self) -> bool:
        """Its bytes and its seconds are not counted: it is no stranger, or its session has joined."""
        return self._is_admitted or not self.is_stranger

    @property
    def is_in_head(self) -> bool:
        """It has sent no whole request since its last answer."""
        return self._head.is_open

    def know(self) -> None:
        """Its request has shown the right token: it is no stranger until its next request."""
        self._is_known = True
        self._registry.moved(self)

    def moves(self) -> None:
        """A part of a long answer was sent."""
        self._registry.moved(self)

    def admit(self) -> None:
        """It carries a session that has joined, until its next request."""
        self._is_admitted = True
        self._registry.moved(self)

    def subscribe(self) -> None:
        """It carries a subscription more."""
        self._subscriptions += 1
        self._registry.moved(self)

    def unsubscribe(self) -> None:
        self._subscriptions -= 1
        self._registry.moved(self)

    def began(self) -> None:
        """A whole head is there, and its request is being answered."""
        self._head.is_open = False
        self._is_known = self._is_admitted = False
        self._registry.moved(self)

    def forgiven(self) -> None:
        """Its request is there, whole."""
        self._registry.forgive(self)

    def ended(self) -> None:
        """The request was answered, and its body is read."""
        self.answered += 1
        self._head = RequestHead()
        self._registry.forgive(self)
        self._registry.moved(self)

    async def writable(self) -> bool:
        """Until the client reads, if too much waits for it; whether it did. Raises ConnectionResetError when the client
        has left."""
        waits = self._writable is not None
        if self._writable is not None:
            await asyncio.shield(self._writable)
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the client has left")
        return waits

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _release(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def _may_send(self, data: bytes) -> bool:
        """Whether a stranger may send this as well; if not, its connection is closed."""
        if self.transport is None or self.transport.is_closing():
            return False
        if self._head.is_open and self._head.grow(data) > HEAD_BYTES_MAX:
            self.transport.write(TOO_LARGE)
            self.transport.close()
            return False
        self._registry.hold(self, len(data))
        if self.is_websocket and self.unanswered > FRAMES_BYTES_MAX:
            self.abort()
            return False
        return True


CONNECTION = web.RequestKey("connection", Connection)
