"""The network between a replica and PostgreSQL: it can swallow everything, cut one kind of connection, and lose the
reply to every so many commits."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sqlalchemy.engine import make_url

COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
LISTENS = b"listen resource_installer_news"


class _Connection:
    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_listener = False

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class DatabaseProxy:
    """``url`` in the place of the database's. ``freeze``: from now on it accepts bytes, passes none on and closes
    nothing. ``lose_every``: the reply to one of so many commits is lost."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._target = (parsed.host or "127.0.0.1", parsed.port or 5432)
        self._parsed = parsed
        # None are lost before somebody says so: a service that starts may fail.
        self.lose_every = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.refuses_listeners = False
        self.commits = self.lost = 0
        self.url = ""

    async def start(self) -> DatabaseProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = self._parsed.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.cut()
        self._flows.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        # A transport that was aborted closes its socket in the loop's next turns.
        await asyncio.sleep(0.1)

    def freeze(self) -> None:
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def cut_listeners(self) -> None:
        for connection in [connection for connection in self._connections if connection.is_listener]:
            connection.cut()

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            server_reader, server = await asyncio.open_connection(*self._target)
        except OSError:
            client.transport.abort()
            return
        connection = _Connection(client, server)
        self._connections.add(connection)
        try:
            await asyncio.gather(
                self._forward(client_reader, server, connection, is_reply=False),
                self._forward(server_reader, client, connection, is_reply=True),
            )
        finally:
            self._connections.discard(connection)
            connection.cut()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection, *, is_reply: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(64 * 1024):
                await self._flows.wait()
                if not is_reply and LISTENS in data:
                    connection.is_listener = True
                    if self.refuses_listeners:
                        break
                if is_reply and self._loses(data):
                    break
                writer.write(data)
                await writer.drain()
        connection.cut()

    def _loses(self, data: bytes) -> bool:
        if not self.lose_every or COMMITTED not in data:
            return False
        self.commits += 1
        is_lost = self.commits % self.lose_every == 0
        self.lost += is_lost
        return is_lost
