"""Strangers by the thousand, on bare sockets in the test's own process: idle, slow, fat and half-open."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

MEGABYTE = 1 << 20
HEADERS = 60
HEADER_BYTES = 8_000
DRIP_SECONDS = 0.5
OPEN_AT_ONCE = 200
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Crowd:
    """``idle``, ``slow``, ``fat`` and ``half_open`` add so many; ``leave`` closes them all. Nobody comes back: who is
    closed by the service stays closed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (str(parts.hostname), int(parts.port or 0))
        self._host = parts.netloc
        self._sockets: list[socket.socket] = []
        self._dripping: list[socket.socket] = []
        self._dripper: asyncio.Task[None] | None = None

    async def idle(self, count: int) -> None:
        await self._open(count)

    async def slow(self, count: int) -> None:
        """A header that comes byte by byte, and a body that does."""
        opened = await self._open(count)
        for n, one in enumerate(opened):
            body = f"POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: {self._host}\r\n"
            await self._send(one, body + ("Content-Length: 60000\r\n\r\n" if n % 2 else "X-Slow: "))
        self._dripping += opened
        if self._dripper is None:
            self._dripper = asyncio.create_task(self._drip())

    async def fat(self, count: int, headers: int = HEADERS) -> None:
        """Polling sessions with large headers; the connections stay."""
        head = f"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: {self._host}\r\n"
        head += "".join(f"X-Fat-{n}: {'x' * HEADER_BYTES}\r\n" for n in range(headers)) + "\r\n"
        for n in range(0, count, OPEN_AT_ONCE):
            opened = await self._open(min(OPEN_AT_ONCE, count - n))
            await asyncio.gather(*(self._send(one, head) for one in opened))

    async def half_open(self, count: int) -> None:
        """WebSockets that never join, and upgrades of polling sessions that never go on."""
        for n, one in enumerate(await self._open(count)):
            head = f" HTTP/1.1\r\nHost: {self._host}\r\n"
            if n % 2:
                await self._send(one, f"GET /socket.io/?EIO=4&transport=polling{head}\r\n")
                sid = (await self._answer(one)).partition('"sid":"')[2].partition('"')[0]
                await self._send(one, f"GET /socket.io/?EIO=4&transport=websocket&sid={sid}{head}{UPGRADE}")
            else:
                await self._send(one, f"GET /socket.io/?EIO=4&transport=websocket{head}{UPGRADE}")

    async def leave(self) -> None:
        if self._dripper is not None:
            self._dripper.cancel()
            await asyncio.gather(self._dripper, return_exceptions=True)
        for one in self._sockets:
            one.close()

    async def _open(self, count: int) -> list[socket.socket]:
        opened = []
        for _ in range(count):
            one = socket.socket()
            one.setblocking(False)
            await asyncio.get_running_loop().sock_connect(one, self._address)
            opened.append(one)
        self._sockets += opened
        return opened

    async def _send(self, one: socket.socket, text: str) -> None:
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(one, text.encode())

    async def _answer(self, one: socket.socket) -> str:
        with contextlib.suppress(OSError):
            return (await asyncio.get_running_loop().sock_recv(one, 65_536)).decode(errors="replace")
        return ""

    async def _drip(self) -> None:
        while True:
            for one in self._dripping:
                with contextlib.suppress(OSError):
                    one.send(b"x")
            await asyncio.sleep(DRIP_SECONDS)


def resident_mb(pid: int) -> float:
    """The memory that a process holds now."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines() if "VmRSS" in x)
    return int(line.split()[1]) / 1024


@contextlib.contextmanager
def many_descriptors(count: int) -> Iterator[bool]:
    """Raise this process's own limit for a while; yields whether it is enough."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, wanted), hard))
    try:
        yield max(before, wanted) >= count
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
