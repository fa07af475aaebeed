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
  sent and nobody has answered has a bound as well. Bodies are bounded where they are read, frames in ``engine/``.
- **Seconds.** A head must be whole, and a request must move, within the times in ``strangers.py``; aiohttp closes idle
  connections.
- **A peer** beyond loopback has a number of connections of its own (see ``peers.py``).

The numbers stand where they are kept: ``bounds.py``, ``request_head.py``, ``connection.py`` (one connection) and
``strangers.py`` (who gives way). Here is the registry, which knows all connections and closes them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from service.store.background import BackgroundLoop
from service.web.bounds import CONNECTIONS_MAX
from service.web.connection import CONNECTION, Connection
from service.web.peers import Peers
from service.web.strangers import STRANGERS_MAX, Strangers

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 2.0


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
        self._peer_max = peer_max
        self._peers = peers or Peers()
        self._clock = clock
        self._open: dict[asyncio.Transport, Connection] = {}
        self._strangers = Strangers(min(connections_max, STRANGERS_MAX))
        self._of_peer: dict[str, dict[Connection, None]] = {}
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
        one_too_many = self._strangers.one_too_many()
        if one_too_many is not None:
            self._close(one_too_many)
        if len(self._open) + accepted < self.connections_max:
            return True
        longest_idle = self._strangers.longest_idle()
        if longest_idle is None:
            return False
        self._close(longest_idle)
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
        connection.since = self._clock()
        if connection.transport in self._open:
            self._strangers.place(connection)
        else:
            self._strangers.remove(connection)

    def hold(self, connection: Connection, count: int) -> None:
        """It has sent so many bytes more, and nobody has answered them."""
        self._strangers.hold(connection, count)
        while (heaviest := self._strangers.heaviest()) is not None:
            self._close(heaviest)

    def forgive(self, connection: Connection) -> None:
        """What it sent has been answered."""
        self._strangers.forgive(connection)

    def closed(self, connection: Connection) -> None:
        if connection.transport is not None:
            self._open.pop(connection.transport, None)
        self._strangers.remove(connection)
        self._leave_peer(connection)

    # --- closing ----------------------------------------------------------------------------------------------------

    async def _sweep(self) -> float:
        for connection in self._strangers.late(self._clock()):
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
        self._strangers.remove(connection)
        self._closed += 1
        connection.abort()


def _is_closing(connection: Connection) -> bool:
    return connection.transport is None or connection.transport.is_closing()
