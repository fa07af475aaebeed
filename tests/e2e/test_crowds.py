"""Thousands of strangers at once, at the usual limit of descriptors: the work continues, and the token lets in."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from dataclasses import dataclass

import aiohttp
import pytest

from tests.e2e.conftest import World
from tests.kit.crowd import Crowd, many_descriptors, resident_mb
from tests.kit.service import NAMESPACE, until

TOKEN = "a-long-token-9f2c"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
LIMIT = 1024
LIMITED = ["sh", "-c", f'ulimit -n {LIMIT} && exec "$0" "$@"', sys.executable]
MEMORY_MB_MAX = 150.0
GIVEN_BACK_SECONDS_MAX = 60.0
# What the allocator keeps of it, and the working size of a service that has done something.
GIVEN_BACK_MB = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Strangers:
    idle: int
    slow: int
    fat: int
    half_open: int

    @property
    def count(self) -> int:
        return self.idle + self.slow + self.fat + self.half_open


@pytest.fixture
async def limited(world: World) -> World:
    await world.service.terminate()
    settings = {"INSTALLER_API_TOKEN": TOKEN, "INSTALLER_PRIVATE_TARGETS": "true"}
    await world.service.start_under(LIMITED, **settings)
    return world


class Visitor:
    """Has the token: installs, and joins as a client of Socket.IO."""

    def __init__(self, world: World, http: aiohttp.ClientSession) -> None:
        self._world = world
        self._http = http
        self._url = world.service.url

    async def install(self, *cards: str) -> str:
        body = {
            "ssh_host": "127.0.0.1",
            "ssh_port": self._world.instance.port,
            "ui_home": str(self._world.ui_home),
            "resources": list(cards),
        }
        async with self._http.post(f"{self._url}/resources/install", json=body, headers=HEADERS) as response:
            answer = await response.json()
            assert response.status == 202, answer
            return str(answer["job_id"])

    async def ended(self, job_id: str) -> str:
        while True:
            # Each time anew: a client keeps no connection that the service has closed.
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with self._http.get(f"{self._url}/resources/jobs/{job_id}", headers=HEADERS) as response:
                    state = str((await response.json())["state"])
                    if state not in ("queued", "running", "paused"):
                        return state
            await asyncio.sleep(0.2)

    async def join_seconds(self) -> float:
        """Until the namespace has let it in."""
        begin = time.monotonic()
        url = self._url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        async with self._http.ws_connect(url, compress=0) as socket:
            await socket.send_str(f'40{NAMESPACE},{{"token":"{TOKEN}"}}')
            while not (await socket.receive_str()).startswith(f"40{NAMESPACE}"):
                continue
            return time.monotonic() - begin


async def besieged(world: World, strangers: Strangers) -> list[float]:
    """All of them at once, an install of three resources and clients that join; returns the seconds of each join."""
    pid = world.service.pid
    cards = [world.card(f"other/card{n}.md", f"sleep 1; echo {n}") for n in range(3)]
    async with aiohttp.ClientSession() as http:
        visitor = Visitor(world, http)
        assert await visitor.ended(await visitor.install(*cards)) == "completed"
        before = peak = resident_mb(pid)
        crowd = Crowd(world.service.url)
        try:
            running = await visitor.install(*cards)
            begin = time.monotonic()
            await asyncio.gather(
                crowd.idle(strangers.idle),
                crowd.slow(strangers.slow),
                crowd.fat(strangers.fat // 2),
                # As large as a head may be: these become sessions.
                crowd.fat(strangers.fat - strangers.fat // 2, headers=1),
                crowd.half_open(strangers.half_open),
            )
            opened = time.monotonic() - begin
            peak = max(peak, resident_mb(pid))
            joins = [await visitor.join_seconds() for _ in range(5)]
            late = await visitor.install(*cards)
            states = [await visitor.ended(job_id) for job_id in (running, late)]
            peak = max(peak, resident_mb(pid))
        finally:
            await crowd.leave()
        assert states == ["completed"] * 2, world.service.log[-3_000:]
        begin = time.monotonic()
        await until(lambda: resident_mb(pid) <= before + GIVEN_BACK_MB, GIVEN_BACK_SECONDS_MAX)
        print(
            f"{strangers.count} strangers in {opened:.1f} s; joins {min(joins):.2f} to {max(joins):.2f} s; "
            f"memory {before:.0f} MB, +{peak - before:.0f} MB, {resident_mb(pid):.0f} MB "
            f"{time.monotonic() - begin:.1f} s later; the log has {len(world.service.log.splitlines())} lines"
        )
    assert "Traceback" not in world.service.log, world.service.log[world.service.log.index("Traceback") - 300 :][:2_500]
    assert "Too many open files" not in world.service.log
    assert peak - before <= MEMORY_MB_MAX
    return joins


@pytest.mark.timeout(300)
async def test_an_install_and_a_client_in_a_crowd(limited: World) -> None:
    with many_descriptors(4_096) as enough:
        if not enough:
            pytest.skip("this machine lets a process open too few files to be a crowd")
        await besieged(limited, Strangers(idle=1_000, slow=100, fat=200, half_open=50))


@pytest.mark.long
async def test_an_install_and_a_client_in_a_large_crowd(limited: World) -> None:
    with many_descriptors(8_192) as enough:
        assert enough
        joins = await besieged(limited, Strangers(idle=2_000, slow=500, fat=1_500, half_open=200))
    assert max(joins) <= 2
