"""Accepts connections, and only as many as their registry has room for.

The loop's own server accepts whatever comes, until the process has no descriptor left. This one asks first.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable

from service.web.connections import Connections

logger = logging.getLogger(__name__)

# Long enough that no honest client waits for its next SYN, a second later, while many knock.
BACKLOG = 4_096
# The kernel's buffers for a connection, which it would let grow to megabytes: a client that reads slowly would have
# minutes of events waiting for it, and each ping after them.
SEND_BYTES = 128 << 10
RECEIVE_BYTES = 64 << 10
# The loop comes back to everything else after so many.
ACCEPTS_AT_ONCE = 32
NO_DESCRIPTOR_SECONDS = 0.1
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_REFUSAL = (
    b'{"success": false, "message": "the service has too many clients: try again later", "code": "unavailable", '
    b'"retry_after_seconds": 5, "errors": []}'
)
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Server: resource-installer\r\nContent-Length: %d\r\n\r\n%s" % (len(_REFUSAL), _REFUSAL)
)


class Listener:
    """``start``, then ``address`` is where it listens, then ``stop``. ``handler`` makes the protocol that serves a
    connection."""

    def __init__(self, connections: Connections, *, host: str, port: int) -> None:
        self._connections = connections
        self._host = host
        self._port = port
        self._handler: Callable[[], asyncio.Protocol] | None = None
        self._sockets: list[socket.socket] = []
        self._accepting: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    async def start(self, handler: Callable[[], asyncio.Protocol]) -> None:
        """Raises OSError."""
        self._handler = handler
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
                self._sockets.append(listening)
                listening.setblocking(False)
                # Who is accepted inherits these.
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
                loop.add_reader(listening.fileno(), self._accept, listening)
        except OSError:
            self.stop()
            raise

    def stop(self) -> None:
        """Accept nobody any more. Who was accepted stays."""
        for listening in self._sockets:
            with contextlib.suppress(ValueError):
                asyncio.get_running_loop().remove_reader(listening.fileno())
            listening.close()
        self._sockets.clear()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in NO_DESCRIPTOR:
                    raise
                self._pause(listening, error)
                return
            accepted.setblocking(False)
            if self._connections.make_room(str(address[0]), len(self._accepting)):
                task = asyncio.create_task(self._serve(accepted, str(address[0])))
                self._accepting.add(task)
                task.add_done_callback(self._accepting.discard)
            else:
                with contextlib.suppress(OSError):
                    accepted.send(FULL)
                accepted.close()

    async def _serve(self, accepted: socket.socket, address: str) -> None:
        assert self._handler is not None
        handler = self._handler
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._connections.new(handler(), address), accepted
            )
        except OSError:
            # It has left already.
            accepted.close()

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Others use up the descriptors, of this process or of the machine: wait, instead of asking all the time."""
        logger.warning("cannot accept a connection now: %s", error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.fileno())
        loop.call_later(NO_DESCRIPTOR_SECONDS, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening.fileno(), self._accept, listening)
