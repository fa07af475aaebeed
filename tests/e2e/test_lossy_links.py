"""Links that are late, lose segments and break, between the service and its instance, and between clients and the
service: nothing is lost, nothing comes twice, nothing starts twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest
import socketio

from tests.e2e.conftest import World
from tests.e2e.test_floods import MEGABYTE, resident_bytes
from tests.kit.invariants import check_database
from tests.kit.lossy_link import LossyLink
from tests.kit.raw_watcher import RawWatcher
from tests.kit.service import TERMINAL, Watcher, check_stream, until

LINES = 60
SLOWLY = 'echo ran >>"$HOME/ran"; for n in $(seq {lines}); do echo "line $n"; sleep {pause}; done'
# A quick link, and one as bad as they get: late by 300 ms plus or minus 100.
LINKS = [pytest.param(0.03, id="near"), pytest.param(0.3, id="far", marks=pytest.mark.long)]
CUT_OFF = (OSError, aiohttp.ClientError, socketio.exceptions.ConnectionError, asyncio.TimeoutError)
END_SECONDS_MAX = 250


def chance() -> random.Random:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    return random.Random(seed)


async def cut_now_and_then(link: LossyLink, chances: random.Random, times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(chances.uniform(0.5, 2.5))
        link.cut()


@pytest.mark.parametrize("delay_seconds", LINKS)
async def test_an_install_over_a_bad_link_to_its_instance(world: World, delay_seconds: float) -> None:
    chances = chance()
    async with LossyLink(world.instance.port, delay_seconds=delay_seconds, chance=chances) as link:
        card = world.card("other/slow.md", SLOWLY.format(lines=LINES, pause=0.1))
        job_id = await world.service.install(link, world.ui_home, card)
        watcher = RawWatcher(world.service.url, job_id)
        await watcher.join()
        await until(lambda: (world.instance.home / "ran").exists(), END_SECONDS_MAX)
        await cut_now_and_then(link, chances, 3)
        job = await world.service.ended(job_id, END_SECONDS_MAX)
        history = await world.service.history(job_id)
        print(f"{link.segments} segments, {link.lost} lost, {link.cuts} cuts, {len(history)} events")
        await until(lambda: watcher.sequences[-1:] == [len(history)])
        await watcher.leave()
    assert job["state"] == "completed", job["error"]
    check_stream(history)
    assert watcher.sequences == list(range(1, len(history) + 1))
    lines = [event["line"] for event in history if event["type"] == "output" and event["line"].startswith("line ")]
    assert lines == [f"line {n}" for n in range(1, LINES + 1)]
    assert (world.instance.home / "ran").read_text() == "ran\n"
    await world.service.terminate()
    check_database(world.folder / "installer.sqlite3")


@pytest.mark.parametrize("delay_seconds", LINKS)
async def test_watchers_over_a_bad_link_to_the_service(world: World, delay_seconds: float) -> None:
    chances = chance()
    card = world.card("other/slow.md", SLOWLY.format(lines=200, pause=0.03))
    async with LossyLink(world.service.port, delay_seconds=delay_seconds, chance=chances) as link:
        job_id = await world.service.install(world.instance, world.ui_home, card)
        follow = [raw_follower, socketio_follower, sse_follower]
        watching = [asyncio.create_task(follower(link.url, job_id)) for follower in (*follow, *follow)]
        await cut_now_and_then(link, chances, 4)
        async with asyncio.timeout(END_SECONDS_MAX):
            seen = await asyncio.gather(*watching)
        last = (await world.service.job(job_id))["last_sequence"]
        print(f"{link.segments} segments, {link.lost} lost, {link.cuts} cuts, {last} events")
    assert last > 200
    assert seen == [list(range(1, last + 1))] * len(watching)


@pytest.mark.parametrize("follower_of", ["raw", "sse"])
async def test_a_client_that_reads_slowly_for_long_gets_all_and_holds_up_nobody(world: World, follower_of: str) -> None:
    """120 KB a second: the events come faster than this client can take them."""
    follower = {"raw": raw_follower, "sse": sse_follower}[follower_of]
    card = world.card("other/many.md", "for n in $(seq 4000); do echo line $n of many; done; sleep 1")
    warm = await world.service.install(world.instance, world.ui_home, world.card("other/warm.md", "echo warm"))
    await world.service.ended(warm)
    async with LossyLink(
        world.service.port, delay_seconds=0.01, loss=0, bytes_per_second=120_000, chance=chance()
    ) as link:
        before = resident_bytes(world.service.pid)
        job_id = await world.service.install(world.instance, world.ui_home, card)
        slow = asyncio.create_task(follower(link.url, job_id))
        prompt = asyncio.create_task(raw_follower(world.service.url, job_id))
        last = (await world.service.ended(job_id))["last_sequence"]
        async with asyncio.timeout(60):
            assert await prompt == list(range(1, last + 1))
        growth = resident_bytes(world.service.pid) - before
        async with asyncio.timeout(END_SECONDS_MAX):
            assert await slow == list(range(1, last + 1))
    assert last > 4_000
    assert growth <= 64 * MEGABYTE, growth / MEGABYTE


@pytest.mark.long
async def test_a_half_open_client_is_given_up_and_comes_back(world: World) -> None:
    """Its link is dead and nobody says so: no FIN, no RST. Within the ping's time the service counts it no more."""
    card = world.card("other/long.md", SLOWLY.format(lines=60, pause=1))
    async with LossyLink(world.service.port, delay_seconds=0.01, loss=0, chance=chance()) as link:
        job_id = await world.service.install(world.instance, world.ui_home, card)
        watcher = RawWatcher(link.url, job_id)
        await watcher.join()
        await until(lambda: len(watcher.sequences) > 5)
        connected = await clients(world)
        assert connected == 1
        with link.frozen():
            async with asyncio.timeout(90):
                while await clients(world) == connected:
                    await asyncio.sleep(0.5)
        link.cut()
        await watcher.leave()
        await watcher.join()
        last = (await world.service.ended(job_id))["last_sequence"]
        await until(lambda: watcher.sequences[-1] == last)
        await watcher.leave()
    assert watcher.sequences == list(range(1, last + 1))


async def clients(world: World) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"{world.service.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return int(float(next(line for line in lines if line.startswith("installer_clients")).split()[1]))


# --- clients that come back until they have seen the end; each returns the sequences as it received them -------------


async def raw_follower(url: str, job_id: str) -> list[int]:
    ended = asyncio.Event()
    watcher = RawWatcher(url, job_id, heard=lambda event: ended.set() if event["type"] in TERMINAL else None)

    async def once() -> None:
        try:
            await watcher.join()
            await gone_or(ended, watcher)
        finally:
            await watcher.leave()

    await until_the_end(once, ended)
    return watcher.sequences


async def gone_or(ended: asyncio.Event, watcher: RawWatcher) -> None:
    while not ended.is_set() and watcher._reading is not None and not watcher._reading.done():
        await asyncio.sleep(0.05)


async def socketio_follower(url: str, job_id: str) -> list[int]:
    watcher = Watcher(url, job_id)
    ended = asyncio.Event()

    async def once() -> None:
        try:
            await watcher.join()
            while not watcher.has_ended and watcher.is_connected:
                await asyncio.sleep(0.05)
        finally:
            if watcher.has_ended:
                ended.set()
            with contextlib.suppress(*CUT_OFF):
                await watcher.leave()

    await until_the_end(once, ended)
    return watcher.sequences


async def sse_follower(url: str, job_id: str) -> list[int]:
    seen: list[int] = []
    ended = asyncio.Event()

    async def once() -> None:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(seen[-1])} if seen else {})
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{url}/resources/jobs/{job_id}/events", headers=headers) as response,
        ):
            async for line in response.content:
                if line.startswith(b"data:"):
                    event: dict[str, Any] = orjson.loads(line[5:])
                    seen.append(event["sequence"])
                    if event["type"] in TERMINAL:
                        ended.set()

    await until_the_end(once, ended)
    return seen


async def until_the_end(once: Callable[[], Awaitable[None]], ended: asyncio.Event) -> None:
    while not ended.is_set():
        with contextlib.suppress(*CUT_OFF):
            await once()
        await asyncio.sleep(0.05)
