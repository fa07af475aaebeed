"""Clients of every kind behind one nginx, which come back after each break with the last sequence that they saw."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import socketio

from tests.kit.service import ANSWER_SECONDS_MAX, EVENT_NAMES, NAMESPACE, TERMINAL

BREAKS = (aiohttp.ClientError, OSError, TimeoutError, socketio.exceptions.SocketIOError, asyncio.IncompleteReadError)
AGAIN_SECONDS = 0.2
SILENT_SECONDS_MAX = 10.0
POLL_SECONDS = 0.3


class Client:
    """Keeps each event as it comes. ``address``: of its own on loopback, so that nginx tells it from the others."""

    def __init__(self, url: str, job_id: str, address: str) -> None:
        self.url = url
        self.job_id = job_id
        self.address = address
        self.events: list[dict[str, Any]] = []
        self.breaks = 0

    @property
    def last(self) -> int:
        return int(self.events[-1]["sequence"]) if self.events else 0

    @property
    def has_ended(self) -> bool:
        return bool(self.events) and self.events[-1]["type"] in TERMINAL

    async def follow(self) -> None:
        """Until the terminal event, over every break."""
        while not self.has_ended:
            try:
                await self.once()
            except BREAKS:
                self.breaks += 1
                await asyncio.sleep(AGAIN_SECONDS)

    async def once(self) -> None:
        """One connection."""
        raise NotImplementedError

    def session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(local_addr=(self.address, 0))
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None, sock_read=20))


class Sse(Client):
    async def once(self) -> None:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.last)}
        async with self.session() as http, http.get(self._events, headers=headers) as response:
            if response.status != 200:
                await asyncio.sleep(AGAIN_SECONDS)
                return
            async for line in response.content:
                if line.startswith(b"data: "):
                    self.events.append(json.loads(line[6:]))

    @property
    def _events(self) -> str:
        return f"{self.url}/resources/jobs/{self.job_id}/events"


class Poller(Sse):
    """Asks for NDJSON again and again."""

    async def once(self) -> None:
        headers = {"Accept": "application/x-ndjson"}
        async with self.session() as http:
            while not self.has_ended:
                async with http.get(f"{self._events}?after={self.last}", headers=headers) as response:
                    if response.status == 200:
                        async for line in response.content:
                            self.events.append(json.loads(line))
                await asyncio.sleep(POLL_SECONDS)


class Socket(Client):
    """Socket.IO, by WebSocket alone or by polling alone."""

    def __init__(self, url: str, job_id: str, address: str, transport: str) -> None:
        super().__init__(url, job_id, address)
        self._transport = transport

    async def once(self) -> None:
        async with self.session() as http:
            client = socketio.AsyncClient(reconnection=False, http_session=http)
            for name in EVENT_NAMES:
                client.on(name, self.events.append, namespace=NAMESPACE)
            try:
                await client.connect(
                    self.url, namespaces=[NAMESPACE], transports=[self._transport], wait_timeout=ANSWER_SECONDS_MAX
                )
                await self._subscribe(client)
                while client.connected and not self.has_ended:
                    await asyncio.sleep(0.05)
            finally:
                await _unless_late(client.disconnect)

    async def _subscribe(self, client: socketio.AsyncClient) -> None:
        wanted = {"job_id": self.job_id, "after": self.last}
        answer = await client.call("subscribe_install", wanted, namespace=NAMESPACE, timeout=SILENT_SECONDS_MAX)
        if not answer["success"]:
            raise ConnectionError(answer["message"])


async def _unless_late(end: Callable[[], Awaitable[None]]) -> None:
    """The server of this connection may be gone."""
    try:
        async with asyncio.timeout(2):
            await end()
    except BREAKS:
        return
