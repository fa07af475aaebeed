"""As many watchers as a job may ever have: each holds 1..N, and the service stays small. Each test prints what it
measured; ``make test-long`` shows it."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from service.events import event_types as types
from service.events.recorded_event import NewEvent
from tests.e2e.conftest import World
from tests.kit.crowd import many_descriptors, resident_mb
from tests.kit.ports import silent_port
from tests.kit.running import running
from tests.kit.subscribers import FOLLOW, HANDSHAKE, Client, Clients, Follower, expected

FILES = 20_000
PAGE = 1_000
LINES = """
exec python3 -S -c '
import os, time
while not os.path.exists(os.environ["HOME"] + "/go"):
    print("waits", flush=True)
    time.sleep(1)
begin = time.time()
for n in range({count}):
    print("line", n, flush=True)
    time.sleep(max(0.0, begin + n / {rate} - time.time()))
'"""
BAR = types.Progress(stage="model", percent=45, downloaded="3.65M", total="8.12M", elapsed="00:03", remaining="00:04")


async def live(world: World, kind: type[Client], clients: int, lines: int, rate: int) -> float:
    """So many clients watch a job whose card prints so many lines at this rate; returns the megabytes that the service
    grew by."""
    service = world.service
    framed = kind is Client
    await service.ended(await service.install(world.instance, world.ui_home, world.card("other/warm.md", "echo warm")))
    before = resident_mb(service.pid)
    job_id = await service.install(
        world.instance, world.ui_home, world.card("other/lines.md", LINES.format(count=lines, rate=rate))
    )
    with closing(Clients(service.url, kind)) as watching:
        begin = time.monotonic()
        await asyncio.to_thread(watching.connect, clients, HANDSHAKE if framed else FOLLOW, job=job_id)
        if framed:
            watching.subscribe(job_id)
        # All of them have seen the first events, so all are subscribed.
        await asyncio.to_thread(watching.hold, 1)
        joined, idle = time.monotonic() - begin, resident_mb(service.pid)
        (world.instance.home / "go").touch()
        begin = time.monotonic()
        reading = asyncio.create_task(asyncio.to_thread(watching.hold, lines))
        job = await service.ended(job_id, 1_000)
        ended = time.monotonic() - begin
        await reading
        assert job["state"] == "completed", job
        history = await expected(service.url, job_id, framed=framed)
        await asyncio.to_thread(watching.hold, history.count)
        watching.compare(history)
        count = history.count
        seconds, peak = time.monotonic() - begin, resident_mb(service.pid)
    print(
        f"\n{clients} {'subscribers' if framed else 'followers'}, connected in {joined:.1f} s; {count} events at {rate}"
        f" a second: the job ended after {ended:.1f} s, each holds 1..{count} after {seconds:.1f} s; memory "
        f"{before:.0f} MB, +{idle - before:.0f} MB with all connected, +{peak - before:.0f} MB at the end"
    )
    return max(idle, peak) - before


async def ended_job(folder: Path, count: int, database_url: str) -> str:
    """A job with so many events that has ended, put into this database by a service in this process."""
    card = folder / "resources/a.md"
    card.write_text("---\ninstalls: nothing\n---\n# Download\n```bash\ntrue\n```\n", encoding="utf-8")
    async with running(folder, database_url=database_url) as service:
        body = {"ssh_host": "127.0.0.1", "ssh_port": silent_port(), "ui_home": "/ui", "resources": ["a.md"]}
        url = f"{service.url}/resources/install"
        async with aiohttp.ClientSession() as http, http.post(url, json=body) as response:
            job_id = str((await response.json())["job_id"])
        while (await service._jobs.get(job_id)).state != "running":
            await asyncio.sleep(0.01)

        async def add(*events: types.Event) -> None:
            await service._journal.append(job_id, [NewEvent(event=e, resource="a.md", attempt=1) for e in events])

        await add(types.ResourceStarted(title="A", card_sha256="0" * 64))
        for _ in range(count // PAGE):
            await add(*[BAR] * PAGE)
        await add(types.ResourceInstalled(exit_code=0, seconds=1.0))
        done = types.JobCompleted(installed=1, total=1, results=[])
        await service._journal.append(job_id, [NewEvent(event=done)])
    return job_id


async def late(world: World, clients: int, events: int) -> float:
    """So many clients join an ended job of so many events at once; returns the megabytes that the service grew by."""
    service = world.service
    await service.terminate()
    job_id = await ended_job(world.folder, events, f"sqlite+aiosqlite:///{world.folder / 'installer.sqlite3'}")
    await service.start()
    assert len((await service.get(f"/resources/jobs/{job_id}/events?limit=10"))["events"]) == 10
    history = await expected(service.url, job_id, framed=True)
    before = peak = resident_mb(service.pid)
    with closing(Clients(service.url, history=history)) as watching:
        await asyncio.to_thread(watching.connect, clients, HANDSHAKE)
        begin = time.monotonic()
        watching.subscribe(job_id)
        reading = asyncio.create_task(asyncio.to_thread(watching.hold, history.count))
        while not reading.done():
            peak = max(peak, resident_mb(service.pid))
            await asyncio.wait([reading], timeout=0.2)
        await reading
        watching.compare(history)
        count = history.count
        seconds = time.monotonic() - begin
    print(
        f"\n{clients} clients join {count} events at once: each holds 1..{count} after {seconds:.1f} s, "
        f"{clients * count / seconds:,.0f} events a second; memory {before:.0f} MB, +{peak - before:.0f} MB"
    )
    return peak - before


@pytest.mark.timeout(240)
async def test_a_hundred_of_each_kind(world: World) -> None:
    await live(world, Client, 100, 100, 20)
    (world.instance.home / "go").unlink()
    await live(world, Follower, 100, 100, 20)
    await late(world, 50, 5_000)


@pytest.mark.long
async def test_ten_thousand_subscribers(world: World) -> None:
    with many_descriptors(FILES) as enough:
        assert enough, "the clients need 10,000 descriptors, and so does the service"
        await live(world, Client, 10_000, 400, 20)


@pytest.mark.long
async def test_a_thousand_clients_join_a_hundred_thousand_events(world: World) -> None:
    with many_descriptors(FILES) as enough:
        assert enough
        await late(world, 1_000, 100_000)


@pytest.mark.long
async def test_a_thousand_followers_are_small(world: World) -> None:
    assert await live(world, Follower, 1_000, 400, 20) <= 250
