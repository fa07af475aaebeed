"""What a client holds of the service before anybody knows it: connections, bytes and seconds, each with a bound.

The strategy, in the order in which it acts:

- **Descriptors.** Clients together may hold the process's limit less a reserve, so that the work (SSH, the database,
  the cards) always finds one. ``listener.py`` asks for room before it accepts: the bound is kept, not repaired.
- **Who gives way.** When a bound is reached, the newcomer is served and the longest idle *stranger* is closed. A
  stranger is a connection that has shown no token and carries no subscription; on a service without a token everybody
  is one until it follows a job. So nobody can occupy the service by sitting in it, and a client that works stays. Only
  if there are no strangers left, the newcomer is refused.
- **Idle** means since the last answer, or since the connection began. Bytes that trickle in do not count: a client that
  sends its headers one by one is as idle as one that sends none.
- **Bytes.** The head of a request has a bound, which aiohttp only has for each line of it. What all strangers have
  sent and nobody has answered has a bound as well. Bodies are bounded where they are read, frames in ``engine.py``.
- **Seconds.** A head must be whole, and a request must move, within the times below; aiohttp closes idle connections.
- **A peer** beyond loopback has a number of connections of its own (see ``peers.py``).

``Connection`` stands between the transport and aiohttp's handler: it needs nothing of aiohttp but its public protocol.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.typedefs import Handler

from service.store.background import BackgroundLoop
from service.web.peers import Peers

logger = logging.getLogger(__name__)

# Descriptors that clients never get: a link, a name that is looked up and a reader of the database for each job at
# work, and what the process itself has open.
RESERVE = 64
RESERVE_PER_JOB = 4
CONNECTIONS_MIN = 16
CONNECTIONS_MAX = 20_000
# Of them, those that nobody knows and whose session has not joined: each costs some 25 KB.
STRANGERS_MAX = 8_000
HEAD_BYTES_MAX = 16 << 10
UNANSWERED_BYTES_MAX = 32 << 20
# A stranger's WebSocket has only to join: with its token, in one frame.
FRAMES_BYTES_MAX = 32 << 10
HEAD_SECONDS_MAX = 20.0
KEEPALIVE_SECONDS = 75.0
STILL_SECONDS_MAX = 75.0
SWEEP_SECONDS = 2.0
# aiohttp's own bounds: a line, a field and their number in a head, a body that nobody reads yet, an idle connection,
# and what it still reads of a refused body.
HTTP_BOUNDS: dict[str, Any] = {
    "max_line_size": 8_190,
    "max_field_size": 8_190,
    "max_headers": 64,
    "read_bufsize": 32 << 10,
    "keepalive_timeout": KEEPALIVE_SECONDS,
    "lingering_time": 5.0,
}
HEAD_END = b"\r\n\r\n"
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n"
    b"Server: resource-installer\r\n\r\n"
)


class Connection(asyncio.Protocol):
    """One client's connection. ``peer``: see Peers. ``since``: when it was last answered, on the registry's clock."""

    __slots__ = (
        "_handler",
        "_head",
        "_in_head",
        "_is_admitted",
        "_is_known",
        "_registry",
        "_subscriptions",
        "_tail",
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
        self._in_head = True
        self._head = 0
        self._tail = b""
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
        return self._in_head

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
        self._in_head = False
        self._is_known = self._is_admitted = False
        self._registry.moved(self)

    def forgiven(self) -> None:
        """Its request is there, whole."""
        self._registry.forgive(self)

    def ended(self) -> None:
        """The request was answered, and its body is read."""
        self.answered += 1
        self._in_head, self._head, self._tail = True, 0, b""
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
        if self._in_head and self._head_grows(data) > HEAD_BYTES_MAX:
            self.transport.write(TOO_LARGE)
            self.transport.close()
            return False
        self._registry.hold(self, len(data))
        if self.is_websocket and self.unanswered > FRAMES_BYTES_MAX:
            self.abort()
            return False
        return True

    def _head_grows(self, data: bytes) -> int:
        """The bytes of the head so far. Each byte is looked at once, however it comes."""
        window = self._tail + data
        end = window.find(HEAD_END)
        if end >= 0:
            self._in_head = False
            size, self._tail = self._head + end - len(self._tail), b""
            return size
        self._tail = window[-len(HEAD_END) + 1 :]
        self._head += len(data)
        return self._head


CONNECTION = web.RequestKey("connection", Connection)


class Connections:
    """All connections, and the strangers among them, the longest idle first. ``start``, ``stop``.

    ``connections_max``: how many clients may hold. ``peer_max``: how many of them one peer. ``clock``: monotonic
    seconds.
    """

    def __init__(
        self,
        *,
        connections_max: int = CONNECTIONS_MAX,
        peer_max: int = CONNECTIONS_MAX,
        peers: Peers | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connections_max = connections_max
        self._strangers_max = min(connections_max, STRANGERS_MAX)
        self._peer_max = peer_max
        self._peers = peers or Peers()
        self._clock = clock
        self._open: dict[asyncio.Transport, Connection] = {}
        self._strangers: OrderedDict[Connection, None] = OrderedDict()
        # The strangers whose session has not joined either.
        self._unadmitted: OrderedDict[Connection, None] = OrderedDict()
        self._of_peer: dict[str, dict[Connection, None]] = {}
        self._unanswered = 0
        self._closed = 0
        self._sweeper = BackgroundLoop("connection-sweeper", self._sweep)

    def start(self) -> None:
        self._sweeper.start()

    async def stop(self) -> None:
        await self._sweeper.stop()

    def __len__(self) -> int:
        return len(self._open)

    def of(self, request: web.BaseRequest) -> Connection | None:
        """The connection of a request; None when the client has left."""
        return self._open.get(request.transport) if request.transport is not None else None

    def peer_of(self, request: web.BaseRequest) -> str | None:
        connection = self.of(request)
        return connection.peer if connection is not None else None

    def new(self, handler: asyncio.Protocol, address: str) -> Connection:
        return Connection(handler, self, self._peers.of_address(address))

    def make_room(self, address: str, accepted: int = 0) -> bool:
        """Close whoever must give way to a newcomer from this address; False: nobody can. ``accepted``: how many are
        accepted and not open yet."""
        peer = self._peers.of_address(address)
        if peer is not None and not self._make_room_of(peer, self._peer_max - 1):
            return False
        if len(self._unadmitted) >= self._strangers_max:
            self._close(next(iter(self._unadmitted)))
        if len(self._open) + accepted < self.connections_max:
            return True
        if not self._strangers:
            return False
        self._close(next(iter(self._strangers)))
        return True

    @web.middleware
    async def serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Outermost: follows a request from its head to its answer."""
        connection = self.of(request)
        if connection is None:
            return await handler(request)
        request[CONNECTION] = connection
        connection.began()
        request.content.on_eof(connection.forgiven)
        if self._peers.trusts(request.remote or ""):
            self._forwarded(connection, request)
        try:
            return await handler(request)
        except ConnectionError:
            if not _is_closing(connection):
                raise
            # The client has left, which is no error: nobody receives this.
            return web.Response()
        finally:
            if request.content.is_eof():
                connection.ended()
            else:
                request.content.on_eof(connection.ended)

    # --- what a connection says about itself ------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        assert connection.transport is not None
        self._open[connection.transport] = connection
        if connection.peer is not None:
            self._of_peer.setdefault(connection.peer, {})[connection] = None
        self.moved(connection)

    def moved(self, connection: Connection) -> None:
        """Its time begins anew, and it may have become a stranger, or none."""
        self._take_out(connection)
        connection.since = self._clock()
        if connection.transport in self._open and connection.is_stranger:
            self._strangers[connection] = None
        if connection.transport in self._open and not connection.is_admitted:
            self._unadmitted[connection] = None
        else:
            self.forgive(connection)

    def _take_out(self, connection: Connection) -> None:
        self._strangers.pop(connection, None)
        self._unadmitted.pop(connection, None)

    def hold(self, connection: Connection, count: int) -> None:
        connection.unanswered += count
        self._unanswered += count
        while self._unanswered > UNANSWERED_BYTES_MAX:
            heaviest = max(self._unadmitted, key=lambda c: c.unanswered, default=None)
            if heaviest is None or not heaviest.unanswered:
                return
            self._close(heaviest)

    def forgive(self, connection: Connection) -> None:
        """What it sent has been answered."""
        self._unanswered -= connection.unanswered
        connection.unanswered = 0

    def closed(self, connection: Connection) -> None:
        if connection.transport is not None:
            self._open.pop(connection.transport, None)
        self._take_out(connection)
        self.forgive(connection)
        self._leave_peer(connection)

    # --- closing ----------------------------------------------------------------------------------------------------

    async def _sweep(self) -> float:
        now = self._clock()
        for connection in tuple(self._unadmitted):
            idle = now - connection.since
            if idle < HEAD_SECONDS_MAX:
                break
            is_late = connection.is_in_head and not connection.answered
            if is_late or connection.unanswered or idle >= STILL_SECONDS_MAX:
                self._close(connection)
        if self._closed:
            logger.info("closed %d connections that were idle, too slow, or gave way to others", self._closed)
            self._closed = 0
        return SWEEP_SECONDS

    def _make_room_of(self, peer: str, number: int) -> bool:
        """Whether this peer has no more than so many connections, or its longest idle stranger was closed."""
        mine = [connection for connection in self._of_peer.get(peer, ()) if not _is_closing(connection)]
        if len(mine) <= number:
            return True
        strangers = [connection for connection in mine if connection.is_stranger]
        if not strangers:
            return False
        self._close(min(strangers, key=lambda connection: connection.since))
        return True

    def _forwarded(self, connection: Connection, request: web.Request) -> None:
        """One connection of a proxy carries the requests of many."""
        self._leave_peer(connection)
        connection.peer = self._peers.of_forwarded(request.headers.getall("X-Forwarded-For", ()))
        if connection.peer is not None:
            self._make_room_of(connection.peer, self._peer_max - 1)
            self._of_peer.setdefault(connection.peer, {})[connection] = None

    def _leave_peer(self, connection: Connection) -> None:
        if connection.peer is not None:
            mine = self._of_peer.get(connection.peer, {})
            mine.pop(connection, None)
            if not mine:
                self._of_peer.pop(connection.peer, None)

    def _close(self, connection: Connection) -> None:
        self._take_out(connection)
        self.forgive(connection)
        self._closed += 1
        connection.abort()


def connections_max(max_concurrent_jobs: int) -> int:
    """How many connections clients may hold: the process's limit of descriptors, less what the work needs."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    free = limit - RESERVE - RESERVE_PER_JOB * min(max_concurrent_jobs, 100)
    return max(CONNECTIONS_MIN, min(CONNECTIONS_MAX, free))


def _is_closing(connection: Connection) -> bool:
    return connection.transport is None or connection.transport.is_closing()
