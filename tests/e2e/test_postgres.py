"""The installs on PostgreSQL: the service is killed, and so is the database under it."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.e2e.test_crashes import STEPS, crash_at_every_step, kills_at_random
from tests.kit.invariants import check_client
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresServer
from tests.kit.service import Watcher

DATABASE = "installer"


@pytest.fixture
async def postgres_world(tmp_path: Path, postgres_url: str) -> AsyncIterator[World]:
    built = World(tmp_path, postgres_url)
    try:
        await built.start()
        yield built
    finally:
        await built.close()


@pytest.mark.timeout(300)
async def test_two_kills_at_random(postgres_world: World) -> None:
    await kills_at_random(postgres_world, kills=2, resources=2, seed=random.randrange(2**32))


@pytest.mark.long
@pytest.mark.parametrize("point", STEPS)
async def test_a_crash_at_every_step(postgres_world: World, point: str) -> None:
    await crash_at_every_step(postgres_world, point)


@pytest.mark.long
async def test_thirty_kills_at_random(postgres_world: World) -> None:
    await kills_at_random(postgres_world, kills=30, resources=4, seed=random.randrange(2**32))


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_the_server_crashes_in_the_middle_of_installs(tmp_path: Path) -> None:
    await crashes_of_the_server(tmp_path, crashes=2, seed=random.randrange(2**32))


@pytest.mark.long
async def test_the_server_crashes_again_and_again(tmp_path: Path) -> None:
    await crashes_of_the_server(tmp_path, crashes=15, seed=random.randrange(2**32))


async def crashes_of_the_server(folder: Path, crashes: int, seed: int) -> None:
    """A server that keeps what it commits is killed and started again in one install, which a client watches."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        server = PostgresServer(Path(home) / "server", port=free_port(), durable=True)
        server.create()
        server.start()
        world = World(folder, server.url(DATABASE))
        try:
            server.execute(f"create database {DATABASE}")
            await world.start()
            size = 2_000_000
            models = [
                StandInModel(id=1001 + n, name=f"Model {n}", size_bytes=size, bytes_per_second=size // (2 * crashes))
                for n in range(2)
            ]
            job_id = await world.service.install(world.instance, world.ui_home, *map(world.model, models))
            watcher = Watcher(world.service.url, job_id)
            await watcher.join()
            for _ in range(crashes):
                await asyncio.sleep(0.3 + chance.random())
                await asyncio.to_thread(server.stop, "immediate")
                assert (await world.service.get("/readyz"))["status"] == "not ready"
                await asyncio.sleep(chance.random())
                await asyncio.to_thread(server.start)
            job = await world.service.ended(job_id)
            assert job["state"] == "completed", job
            history = await world.service.history(job_id)
            await watcher.end()
            await watcher.leave()
            check_client(watcher, history)
            for model in models:
                assert [request.bytes for request in world.civitai.downloads(model.id)] == [size]
            world.check_database()
        finally:
            await world.close()
            server.stop()
