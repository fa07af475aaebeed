"""The network between the replicas and PostgreSQL: it swallows everything, loses replies, cuts the listener."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.database_proxy import DatabaseProxy
from tests.cluster.replicas import ClusterWorld, Stopwatch
from tests.kit.invariants import check_client
from tests.kit.service import ServiceProcess, Watcher

LEASE_SECONDS = 2.0


@pytest.fixture
async def world(tmp_path: Path, cluster_database: str) -> AsyncIterator[ClusterWorld]:
    built = ClusterWorld(tmp_path, cluster_database, LEASE_SECONDS)
    try:
        await built.start()
        yield built
    finally:
        await built.close()


async def status_of(replica: ServiceProcess, path: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(replica.url + path) as response:
        return response.status


async def until_status(replica: ServiceProcess, path: str, status: int, seconds: float) -> float:
    watch = Stopwatch()
    async with asyncio.timeout(seconds):
        while await status_of(replica, path) != status:
            await asyncio.sleep(0.02)
    return watch.seconds


async def test_a_replica_that_is_cut_off(world: ClusterWorld, cluster_database: str) -> None:
    proxy = await DatabaseProxy(cluster_database).start()
    cut_off = world.new_replica(INSTALLER_DATABASE_URL=proxy.url)
    other = world.new_replica()
    await cut_off.start()
    model = world.slow_model(1, seconds=9)
    job_id = await cut_off.install(world.instance, world.ui_home, world.model(model))
    assert await world.owned(job_id) == "replica-1"
    await other.start()
    watcher = Watcher(other.url, job_id)
    await watcher.join()
    await asyncio.sleep(1)
    proxy.freeze()
    watch = Stopwatch()
    history = asyncio.create_task(until_status(cut_off, f"/resources/jobs/{job_id}/events", 503, 30))
    not_ready = await until_status(cut_off, "/readyz", 503, LEASE_SECONDS)
    await world.owned(job_id, lambda name: name == "replica-2")
    taken_over = watch.seconds
    # A pause through the other: nobody else tells the instance anything.
    assert (await other.post(f"/resources/jobs/{job_id}/pause", None))[0] == 202
    await asyncio.sleep(max(0.0, 2 * LEASE_SECONDS - watch.seconds))
    refused = await history
    assert (await other.job(job_id))["state"] == "paused"
    assert (await other.post(f"/resources/jobs/{job_id}/resume", None))[0] == 202
    proxy.thaw()
    ready = await until_status(cut_off, "/readyz", 200, 5)
    print(
        f"lease {LEASE_SECONDS} s: not ready after {not_ready:.2f} s, taken over after {taken_over:.2f} s, "
        f"history refused after {refused:.2f} s, ready again after {ready:.2f} s"
    )
    assert taken_over <= LEASE_SECONDS + 1
    assert (await cut_off.ended(job_id))["state"] == "completed"
    await watcher.end(10)
    await watcher.leave()
    check_client(watcher, await cut_off.history(job_id))
    world.check_fetched_once(model)
    world.check_database()
    await cut_off.kill()
    await proxy.stop()


async def test_a_listener_that_is_cut(world: ClusterWorld, cluster_database: str) -> None:
    proxy = await DatabaseProxy(cluster_database).start()
    owner = world.new_replica()
    deaf = world.new_replica(INSTALLER_DATABASE_URL=proxy.url)
    await owner.start()
    card = world.card("other/ticks.md", 'for n in $(seq 1 60); do echo "tick $n"; sleep 0.15; done')
    job_id = await owner.install(world.instance, world.ui_home, card)
    assert await world.owned(job_id) == "replica-1"
    await deaf.start()
    here, there = Watcher(owner.url, job_id), Watcher(deaf.url, job_id)
    await here.join()
    await there.join()
    await asyncio.sleep(1)
    proxy.refuses_listeners = True
    proxy.cut_listeners()
    watch = Stopwatch()
    seen: list[list[float]] = [[], []]
    while not (here.has_ended and there.has_ended):
        for times, watcher in zip(seen, (here, there), strict=True):
            times += [watch.seconds] * (len(watcher.events) - len(times))
        await asyncio.sleep(0.02)
        if watch.seconds > 7:
            proxy.refuses_listeners = False
    worst = max(late - soon for soon, late in zip(*seen, strict=False))
    await there.end(7)
    print(f"at most {worst:.1f} s behind")
    assert worst <= 6
    history = await deaf.history(job_id)
    for watcher in (here, there):
        await watcher.leave()
        check_client(watcher, history)
    await deaf.kill()
    await proxy.stop()


@pytest.mark.parametrize("every", [3])
async def test_replies_to_commits_are_lost(world: ClusterWorld, cluster_database: str, every: int) -> None:
    await lost_replies(world, cluster_database, every, installs=3)


@pytest.mark.long
@pytest.mark.parametrize("every", [2, 7, 23])
async def test_more_replies_to_commits_are_lost(world: ClusterWorld, cluster_database: str, every: int) -> None:
    await lost_replies(world, cluster_database, every, installs=10)


async def lost_replies(world: ClusterWorld, url: str, every: int, installs: int) -> None:
    """Behind every replica's writer the reply to every k-th commit is lost: durable is what was published."""
    proxies = [await DatabaseProxy(url).start() for _ in range(2)]
    for proxy in proxies:
        await world.new_replica(INSTALLER_DATABASE_URL=proxy.url, INSTALLER_MAX_ATTEMPTS="1").start()
        proxy.lose_every = every
    chance = random.Random(every)
    job_ids, watchers = [], []
    for n in range(installs):
        instance = world.instance if n == 0 else await world.new_instance(f"instance{n}")
        card = world.card(
            f"other/lines_{n}.md", f'echo "run" >>"$HOME/ran"\nfor n in $(seq 1 60); do echo "{n} $n"; sleep 0.05; done'
        )
        job_ids.append(await install_surely(world, instance, card, n))
        watcher = Watcher(world.replicas[chance.randrange(2)].url, job_ids[-1])
        await join_surely(watcher)
        watchers.append(watcher)
    for job_id, watcher in zip(job_ids, watchers, strict=True):
        job = await world.replicas[0].ended(job_id)
        assert job["state"] == "completed", job
        await watcher.end(20)
        await watcher.leave()
        check_client(watcher, await world.replicas[1].history(job_id))
    world.check_database()
    print(f"{sum(proxy.commits for proxy in proxies)} commits, {sum(proxy.lost for proxy in proxies)} replies lost")
    assert sum(proxy.lost for proxy in proxies) > 0
    for replica in world.replicas:
        await replica.kill()
        assert "conflict" not in replica.log.lower()
    for proxy in proxies:
        await proxy.stop()


async def install_surely(world: ClusterWorld, instance: object, card: str, n: int) -> str:
    """As a client does: again on 503, under one Idempotency-Key."""
    body = {"ssh_host": "127.0.0.1", "ssh_port": instance.port, "ui_home": str(world.ui_home), "resources": [card]}  # type: ignore[attr-defined]
    async with aiohttp.ClientSession() as http:
        while True:
            url = f"{world.replicas[n % len(world.replicas)].url}/resources/install"
            async with http.post(url, json=body, headers={"Idempotency-Key": f"key-{n}"}) as response:
                answer = await response.json()
                if response.status == 202:
                    return str(answer["job_id"])
                assert response.status == 503, answer
            await asyncio.sleep(0.05)


async def join_surely(watcher: Watcher) -> None:
    while not (await watcher.join())["success"]:
        await watcher.leave()
        await asyncio.sleep(0.05)
