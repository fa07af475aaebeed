"""Thousands of clients in one process: bare sockets and one selector, because ten thousand tasks of asyncio would
measure themselves. Each client's events are compared, byte for byte, with the job's history."""

from __future__ import annotations

import json
import selectors
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from service.web.socket_events import name_of

NAMESPACE = "/resources"
HANDSHAKE = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FOLLOW = "GET /resources/jobs/{job}/events HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n"
EVENT = f'42{NAMESPACE},["resource_install_'.encode()
PING = b"\x81\x012"
PONG = b"\x81\x81\0\0\0\0" + b"3"
READ_BYTES = 1 << 18
CONNECTS_A_TURN = 100


def sent_frame(text: str) -> bytes:
    """A client's frame, masked with zeros."""
    payload = text.encode()
    size = len(payload)
    head = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x81" + head + b"\0\0\0\0" + payload


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The events that each client must receive: how many, the sum of their bytes, and those bytes as frames."""

    count: int
    digest: int
    frames: bytes


class Client:
    """A client of Socket.IO. ``count``: its events, ``digest``: the sum of their bytes, in order.

    With a ``history`` that is known before, its bytes are compared with it as they come: a hundred times as fast as
    taking frames apart.
    """

    def __init__(self, one: socket.socket, history: History | None = None) -> None:
        self.socket = one
        self.is_ready = False
        self.count = 0
        self.digest = 0
        self._history = history
        self._at = 0
        self._is_open = False
        self._buffer = b""

    def received(self, data: bytes) -> None:
        self._buffer += data
        if self._history is not None and self._at:
            self._compare(self._history)
            return
        if not self._is_open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert b" 101 " in head, head[:200]
            self._is_open, self._buffer = True, rest
            self.socket.send(sent_frame(f"40{NAMESPACE},"))
        self._take_frames()

    def _compare(self, history: History) -> None:
        """Pings may stand between two frames, and be cut."""
        data = self._buffer
        while PING in data:
            self.socket.send(PONG)
            data = data.replace(PING, b"", 1)
        kept = next((len(PING) - n for n in (1, 2) if data.endswith(PING[:-n])), 0)
        data, self._buffer = data[: len(data) - kept], data[len(data) - kept :]
        if not history.frames.startswith(data, self._at):
            wanted = history.frames[self._at : self._at + len(data)]
            n = next((n for n, (a, b) in enumerate(zip(data, wanted, strict=False)) if a != b), len(wanted))
            raise AssertionError(
                f"byte {self._at + n} of {len(history.frames)} is not the history's: {data[max(0, n - 80) : n + 80]!r}"
            )
        self._at += len(data)
        if self._at == len(history.frames):
            self.count, self.digest = history.count, history.digest

    def _take_frames(self) -> None:
        data, at, size_all = self._buffer, 0, len(self._buffer)
        while size_all - at >= 2:
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if size_all < start + size:
                break
            if data.startswith(EVENT, start) and self._history is not None:
                first = start + size - at
                assert data[at : start + size] == self._history.frames[:first]
                self._at, self._buffer = first, data[start + size :]
                self._compare(self._history)
                return
            if data.startswith(EVENT, start):
                self.count += 1
                self.digest = zlib.crc32(data[start : start + size], self.digest)
            elif data.startswith(b"40", start):
                self.is_ready = True
            elif data[start : start + size] == b"2":
                self.socket.send(PONG)
            at = start + size
        self._buffer = data[at:]


class Follower(Client):
    """A client of server-sent events. The service writes in pieces: a chunk of HTTP may end within an event."""

    def __init__(self, one: socket.socket, history: History | None = None) -> None:
        super().__init__(one, history)
        self._line = b""

    def received(self, data: bytes) -> None:
        self._buffer += data
        if not self.is_ready:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 200"), head[:200]
            self.is_ready, self._buffer = True, rest
        *lines, self._line = (self._line + b"".join(self._chunks())).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                self.count += 1
                self.digest = zlib.crc32(line[6:], self.digest)

    def _chunks(self) -> Iterator[bytes]:
        """Those that are there whole: each is its length in hexadecimal, its bytes, and a line's end after both."""
        at = 0
        while (begin := self._buffer.find(b"\r\n", at) + 2) > 1:
            end = begin + int(self._buffer[at : begin - 2], 16)
            if len(self._buffer) < end + 2:
                break
            yield self._buffer[begin:end]
            at = end + 2
        self._buffer = self._buffer[at:]


class Clients:
    """All of them. Every method runs the selector: call them in a thread of their own."""

    def __init__(self, url: str, kind: type[Client] = Client, history: History | None = None) -> None:
        parts = urlsplit(url)
        self._address = (str(parts.hostname), int(parts.port or 0))
        self._host = parts.netloc
        self._kind = kind
        self._history = history
        self._selector = selectors.DefaultSelector()
        self.all: list[Client] = []

    def connect(self, count: int, hello: str, **fields: str) -> None:
        """Until each is answered."""
        for n in range(count):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BYTES)
            one.connect(self._address)
            one.setblocking(False)
            client = self._kind(one, self._history)
            self.all.append(client)
            self._selector.register(one, selectors.EVENT_READ, client)
            one.send(hello.format(host=self._host, **fields).encode())
            if n % CONNECTS_A_TURN == 0:
                self.until(lambda: all(client.is_ready for client in self.all))
        self.until(lambda: all(client.is_ready for client in self.all))

    def subscribe(self, job_id: str) -> None:
        for client in self.all:
            client.socket.send(sent_frame(f'42{NAMESPACE},1["subscribe_install",{{"job_id":"{job_id}"}}]'))

    def hold(self, count: int) -> float:
        """Until each has so many events; returns the seconds."""
        return self.until(lambda: all(client.count >= count for client in self.all))

    def until(self, condition: Callable[[], bool]) -> float:
        begin = time.monotonic()
        while not condition():
            self.turn(0.05)
        return time.monotonic() - begin

    def turn(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            client: Client = key.data
            data = client.socket.recv(READ_BYTES)
            assert data, f"the service closed a connection after {client.count} events"
            client.received(data)

    def compare(self, history: History) -> None:
        held, wanted = {(client.count, client.digest) for client in self.all}, {(history.count, history.digest)}
        assert held == wanted, f"count and digest: {sorted(held)[:10]} instead of {wanted}"

    def close(self) -> None:
        self._selector.close()
        for client in self.all:
            client.socket.close()


async def expected(url: str, job_id: str, *, framed: bool) -> History:
    """The whole history of a job, whose sequences are 1..n, as clients must receive it."""
    headers = {"Accept": "application/x-ndjson"}
    count = digest = 0
    frames = bytearray()
    async with (
        aiohttp.ClientSession(read_bufsize=1 << 20) as http,
        http.get(f"{url}/resources/jobs/{job_id}/events", headers=headers) as response,
    ):
        async for line in response.content:
            event = json.loads(line)
            count += 1
            assert event["sequence"] == count
            text = line.decode().rstrip("\n")
            sent = (f'42{NAMESPACE},["{name_of(event["type"])}",{text}]' if framed else text).encode()
            digest = zlib.crc32(sent, digest)
            frames += received_frame(sent)
    return History(count=count, digest=digest, frames=bytes(frames))


def received_frame(payload: bytes) -> bytes:
    size = len(payload)
    assert size < 1 << 16
    return b"\x81" + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + payload
