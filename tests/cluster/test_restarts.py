"""PostgreSQL crashes and comes back under installs of several replicas: nobody fails, and clients stay connected."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.replicas import ClusterWorld, Stopwatch
from tests.cluster.test_chaos import install
from tests.kit.invariants import check_client
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresServer
from tests.kit.service import Watcher

DATABASE = "installer"
LEASE_SECONDS = 3.0


@pytest.mark.timeout(120)
async def test_the_server_crashes_under_three_replicas(tmp_path: Path) -> None:
    await crashes(tmp_path, installs=2, seconds=3, pauses=(0.7, 1.5), seed=random.randrange(2**32))


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_the_server_crashes_again_and_again_under_three_replicas(tmp_path: Path) -> None:
    await crashes(tmp_path, installs=20, seconds=120, pauses=(5.0, 20.0), seed=random.randrange(2**32))


async def crashes(folder: Path, *, installs: int, seconds: float, pauses: tuple[float, float], seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        server = PostgresServer(Path(home) / "server", port=free_port(), durable=True)
        server.create()
        server.start()
        world = ClusterWorld(folder, server.url(DATABASE), LEASE_SECONDS)
        try:
            server.execute(f"create database {DATABASE}")
            await world.start()
            await world.start_replicas(3)
            hosts = [world.instance, *[await world.new_instance(f"instance{n}") for n in range(1, min(installs, 10))]]
            rounds = -(-installs // len(hosts))
            models = [world.slow_model(n, seconds=max(2.0, seconds / rounds)) for n in range(installs)]
            job_ids = [
                await install(world.replicas[n % 3].url, hosts[n % len(hosts)], world.ui_home, [world.model(model)])
                for n, model in enumerate(models)
            ]
            watchers = [Watcher(world.replicas[n % 3].url, job_id) for n, job_id in enumerate(job_ids)]
            for watcher in watchers:
                await watcher.join()
            watch, times = Stopwatch(), []
            while watch.seconds < seconds:
                await asyncio.sleep(chance.uniform(*pauses))
                await asyncio.to_thread(server.stop, "immediate")
                await asyncio.sleep(chance.random())
                await asyncio.to_thread(server.start)
                times.append(await until_ready(world))
            for job_id in job_ids:
                job = await world.replicas[0].ended(job_id, 200)
                assert job["state"] == "completed", job
            for job_id, watcher in zip(job_ids, watchers, strict=True):
                await watcher.end(20)
                assert watcher.is_connected or watcher.has_ended
                check_client(watcher, await world.replicas[1].history(job_id))
                await watcher.leave()
            world.check_fetched_once(*models)
            world.check_database()
            print(f"{installs} installs, {len(times)} crashes, all ready again after {max(times):.2f} s at most")
            assert max(times) <= 3
        finally:
            await world.close()
            server.stop()


async def until_ready(world: ClusterWorld) -> float:
    """Seconds until all replicas are ready."""
    watch = Stopwatch()

    async def one(url: str) -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                async with http.get(f"{url}/readyz") as response:
                    if response.status == 200:
                        return
                await asyncio.sleep(0.05)

    async with asyncio.timeout(60):
        await asyncio.gather(*(one(replica.url) for replica in world.replicas))
    return watch.seconds
