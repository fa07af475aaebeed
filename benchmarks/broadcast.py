"""(b) Broadcast to 1, 100 and 1,000 clients, and (d) the history for a late one, beside bare python-socketio without a
log. The bare server emits the same payloads to a room, 64 at a time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import socketio
from aiohttp import web

from benchmarks.scratch import scratch
from benchmarks.store import BAR, Store, bars, opened
from benchmarks.table import Row, median
from benchmarks.watchers import watchers
from service.runner.controls import Controls
from service.web.connections import Connections
from service.web.engine.server import SocketServer
from service.web.guard import Guard
from service.web.listener import Listener
from service.web.rooms import Rooms
from service.web.router import add_routes
from service.web.services import Services
from service.web.sockets import Sockets

CHUNK = 64
PROGRESS = "resource_install_progress"
# Clients, events, repetitions.
QUICK = ((1, 3_200, 2), (100, 320, 1), (1_000, 64, 1))
FULL = ((1, 6_400, 3), (100, 1_280, 3), (1_000, 320, 3))


@asynccontextmanager
async def served(app: web.Application, connections: Connections | None = None) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    assert runner.server is not None
    listener = Listener(connections or Connections(), host="127.0.0.1", port=0)
    await listener.start(runner.server)
    try:
        yield f"http://127.0.0.1:{listener.address[1]}"
    finally:
        listener.stop()
        await runner.cleanup()


@asynccontextmanager
async def ours(folder: Path) -> AsyncIterator[tuple[str, Store]]:
    """The sockets, the history and the journal of the service, without a runner."""
    guard = Guard(bound_host="127.0.0.1")
    connections = Connections()
    transport = SocketServer(origin_allowed=guard.allows_socket_origin, connections=connections)
    rooms = Rooms(transport)
    async with opened(folder / "ours.sqlite3", rooms.publish) as store:
        app = web.Application(middlewares=[connections.serve])
        nothing: Any = None
        services = Services(
            journal=store.journal,
            event_store=store.events,
            jobs=store.queue,
            library=nothing,
            editor=nothing,
            links=nothing,
            outbound=nothing,
            keys=nothing,
            sites={},
            vast=nothing,
            catalogue=nothing,
            notifications=nothing,
            database=store.database,
            cluster=nothing,
            ownership=nothing,
            controls=Controls(journal=store.journal, jobs=store.queue, on_control=lambda _job: None),
            check_host=nothing,
            check_instance=nothing,
            connect=nothing,
            visits=nothing,
            ssh_user="root",
            max_attempts=1,
            version="",
            metrics=nothing,
        )
        add_routes(app, services)
        sockets = Sockets(transport, rooms, store.journal, api_token=None)
        sockets.attach(app)
        sockets.start()
        async with served(app, connections) as url:
            yield url, store
            await sockets.close()


class Bare:
    """python-socketio as its documentation shows it: a room, and an emit for each event."""

    def __init__(self) -> None:
        self.server = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*", namespaces=["/resources"])
        self.server.on("subscribe_install", self._join, namespace="/resources")
        self.server.on("connect", self._connect, namespace="/resources")
        self.late: list[dict[str, Any]] = []

    async def _connect(self, sid: str, environ: Any, auth: Any = None) -> None:
        return None

    async def _join(self, sid: str, data: Any) -> dict[str, Any]:
        await self.server.enter_room(sid, data["job_id"], namespace="/resources")
        if self.late:
            self.server.start_background_task(self._replay, sid)
        return {"success": True}

    async def _replay(self, sid: str) -> None:
        for payload in self.late:
            await self.server.emit(PROGRESS, payload, to=sid, namespace="/resources")

    async def emit(self, payloads: list[dict[str, Any]]) -> None:
        for payload in payloads:
            await self.server.emit(PROGRESS, payload, room="room", namespace="/resources")


async def run(quick: bool) -> list[Row]:
    rows = []
    for clients, count, repetitions in QUICK if quick else FULL:
        mine, peers = [], []
        for _ in range(repetitions):
            with scratch() as folder:
                mine.append(await broadcast_ours(folder, clients, count))
            peers.append(await broadcast_bare(clients, count))
        rows.append(
            Row(
                name=f"(b) broadcast to {clients:,}",
                value=median(mine),
                unit="deliveries/s",
                peer="bare python-socketio",
                peer_value=median(peers),
                goal=">= 0.9",
                holds=median(mine) >= 0.9 * median(peers),
            )
        )
    for count in (10_000,) if quick else (10_000, 100_000):
        rows += await replay(count, 2 if quick else 3)
    return rows


async def broadcast_ours(folder: Path, clients: int, count: int) -> float:
    async with ours(folder) as (url, store):
        job_id = await store.running_job()
        async with watchers(url, job_id, clients, count) as watching:
            assert await watching.line() == "ready"
            await asyncio.sleep(0.5)
            begin = time.monotonic()
            for first in range(0, count, CHUNK):
                await store.journal.append(job_id, bars(first, CHUNK))
                await asyncio.sleep(0)
            return clients * count / (await watching.done_at() - begin)


async def broadcast_bare(clients: int, count: int) -> float:
    server = Bare()
    app = web.Application()
    server.server.attach(app)
    payloads = [payload(n) for n in range(count)]
    async with served(app) as url, watchers(url, "room", clients, count) as watching:
        assert await watching.line() == "ready"
        await asyncio.sleep(0.5)
        begin = time.monotonic()
        for first in range(0, count, CHUNK):
            await server.emit(payloads[first : first + CHUNK])
            await asyncio.sleep(0)
        return clients * count / (await watching.done_at() - begin)


async def replay(count: int, repetitions: int) -> list[Row]:
    mine, peers, lines = [], [], []
    with scratch() as folder:
        async with ours(folder) as (url, store):
            job_id = await store.running_job()
            await store.fill(job_id, count)
            for _ in range(repetitions):
                mine.append(await late(url, job_id, count))
                peers.append(await late_bare(count))
                lines.append(await ndjson(url, job_id, count))
    return [
        Row(
            name=f"(d) {count:,} events to a late client",
            value=median(mine),
            unit="s",
            peer="bare emits of the same",
            peer_value=median(peers),
            goal="<= 1.2" if count == 10_000 else "",
            holds=median(mine) <= 1.2 * median(peers) if count == 10_000 else None,
        ),
        Row(
            name=f"(d) NDJSON history of {count:,}",
            value=median(lines),
            unit="events/s",
            goal=">= 50,000",
            holds=median(lines) >= 50_000,
        ),
    ]


async def late(url: str, job_id: str, count: int) -> float:
    async with watchers(url, job_id, 1, count) as watching:
        assert await watching.line() == "ready"
        begin = time.monotonic()
        return await watching.done_at() - begin


async def late_bare(count: int) -> float:
    server = Bare()
    server.late = [payload(n) for n in range(count)]
    app = web.Application()
    server.server.attach(app)
    async with served(app) as url:
        return await late(url, "room", count)


async def ndjson(url: str, job_id: str, count: int) -> float:
    accept = {"Accept": "application/x-ndjson"}
    begin = time.perf_counter()
    received = 0
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{url}/resources/jobs/{job_id}/events", headers=accept) as response,
    ):
        async for chunk in response.content.iter_any():
            received += chunk.count(b"\n")
    assert received >= count
    return received / (time.perf_counter() - begin)


def payload(n: int) -> dict[str, Any]:
    head = {"type": "progress", "job_id": "550e8400-e29b-41d4-a716-446655440000", "sequence": n + 1}
    more = {"at": "2026-01-31T23:59:59.123Z", "resource": "a.md", "attempt": 1}
    fields: dict[str, Any] = json.loads(json.dumps(BAR.data()))
    return {**head, **more, **fields}
