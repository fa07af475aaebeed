"""kill -9 at every named step and at random: the three promises hold after each restart."""

from __future__ import annotations

import asyncio
import random

import aiohttp
import pytest
import socketio

from service.crash_points import POINTS
from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.kit.invariants import check_client, check_job
from tests.kit.service import Watcher
from tests.kit.sshd import USER

CARD = """
echo "run $$" >>"$HOME/ran"
for n in 1 2 3 4 5 6; do
    printf '\\rModel:  %s0%%|###       | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]' $n
    sleep 0.15
done
printf '\\nlast line\\n'
"""
WALK_MAX = 60


async def watch_until_ended(world: World, watcher: Watcher) -> None:
    """Follow the job over every restart of the service, each time after the last event that was seen."""
    while not watcher.has_ended:
        try:
            answer = await watcher.join()
            assert answer["success"], answer
            while not watcher.has_ended and watcher.is_connected:
                await asyncio.sleep(0.02)
        except (socketio.exceptions.SocketIOError, aiohttp.ClientError):
            await asyncio.sleep(0.05)
        finally:
            await watcher.leave()


async def prepared(world: World) -> None:
    await world.service.terminate()
    world.service._settings |= {"INSTALLER_KEEP_REMOTE_LOGS": "true"}


STEPS = [point for point in POINTS if not point.endswith(("control", "signal", "removal"))]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("point", STEPS)
async def test_a_crash_at_every_step(world: World, point: str) -> None:
    await crash_at_every_step(world, point)


async def crash_at_every_step(world: World, point: str) -> None:
    """Crash when the point is reached for the first time, the second, and so on, until nothing crashes any more."""
    await prepared(world)
    card = world.card("other/walk.md", CARD)
    await world.service.start()
    job_id = await world.service.install(world.instance, world.ui_home, card)
    watcher = Watcher(world.service.url, job_id)
    watching = asyncio.create_task(watch_until_ended(world, watcher))
    await world.service.kill()
    crashes = 0
    for n in range(1, WALK_MAX):
        await start_or_crash(world, f"{point}:{n}")
        ended = asyncio.create_task(world.service.wait())
        await asyncio.wait((ended, watching), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            ended.cancel()
            break
        crashes += 1
    await watching
    history = await world.service.history(job_id)
    check_job(history, world.instance, [(card, f"Card {card}")])
    check_client(watcher, history)
    await world.service.terminate()
    world.check_database()
    assert crashes >= 1
    assert len((world.instance.home / "ran").read_text().splitlines()) == 1
    assert history[-1]["type"] == "job_completed"


@pytest.mark.parametrize("point", [point for point in POINTS if point.endswith("removal")])
async def test_a_crash_around_a_removal(world: World, point: str) -> None:
    await prepared(world)
    file = world.ui_home / "models/loras/a.safetensors"
    file.parent.mkdir(parents=True)
    file.write_text("text")
    await world.service.start(INSTALLER_CRASH_AT=f"{point}:1")
    asked = f"/instances/{USER}@127.0.0.1:{world.instance.port}/removals"
    _, started = await world.service.post(asked, {"ui_home": str(world.ui_home), "paths": ["loras/a.safetensors"]})
    assert await world.service.wait() == -9
    assert file.exists() is (point == "before_removal")
    await world.service.start()
    assert (await world.service.ended(started["job_id"]))["state"] == "completed"
    assert not file.exists()
    types = [event["type"] for event in await world.service.history(started["job_id"])]
    assert (types.count("file_removed"), types[-1]) == (1, "job_completed")
    await world.service.terminate()
    world.check_database()


async def start_or_crash(world: World, at: str) -> None:
    """Start the service with a bomb. It may go off before it says where it listens."""
    try:
        await world.service.start(INSTALLER_CRASH_AT=at)
    except RuntimeError:
        assert (await world.service.wait()) == -9


async def kills_at_random(world: World, kills: int, resources: int, seed: int) -> None:
    """Kill the service again and again in one install that three clients watch."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    await prepared(world)
    await world.service.start()
    models = [
        StandInModel(
            id=1001 + n, name=f"Model {n}", size_bytes=3_000_000, bytes_per_second=3_000_000 * resources // (kills + 2)
        )
        for n in range(resources)
    ]
    cards = [world.model(model) for model in models]
    job_id = await world.service.install(world.instance, world.ui_home, *cards)
    watchers = [Watcher(world.service.url, job_id) for _ in range(3)]
    watching = [asyncio.create_task(watch_until_ended(world, watcher)) for watcher in watchers]
    for _ in range(kills):
        await asyncio.sleep(chance.random() * 0.8)
        await world.service.kill()
        await world.service.start()
    await asyncio.gather(*watching)
    history = await world.service.history(job_id)
    assert history[-1]["type"] == "job_completed"
    check_job(history, world.instance, [(card, f"Card {card}") for card in cards])
    for watcher in watchers:
        check_client(watcher, history)
    for model in models:
        assert [request.bytes for request in world.civitai.downloads(model.id)] == [model.size_bytes]
    await world.service.terminate()
    world.check_database()


@pytest.mark.timeout(300)
async def test_a_few_kills_at_random(world: World) -> None:
    await kills_at_random(world, kills=4, resources=2, seed=random.randrange(2**32))


@pytest.mark.long
async def test_thirty_kills_at_random(world: World) -> None:
    await kills_at_random(world, kills=30, resources=4, seed=random.randrange(2**32))
