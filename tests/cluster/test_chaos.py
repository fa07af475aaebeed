"""Replicas are killed one after the other, behind one nginx, under clients of every kind.

Every client holds exactly 1..N; each file was fetched once and is whole; each job has one terminal event; none failed.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from service.demo.civitai import StandInModel, sha256
from tests.cluster.clients import BREAKS, Client, Poller, Socket, Sse
from tests.cluster.replicas import ClusterWorld, Stopwatch
from tests.kit.nginx import Nginx
from tests.kit.service import ServiceProcess, check_stream
from tests.kit.sshd import Sshd

LEASE_SECONDS = 3.0
KILL_EVERY_SECONDS = 3.0
RESTARTED_AFTER_SECONDS = 2.0


@pytest.mark.timeout(120)
async def test_replicas_are_killed(tmp_path: Path, cluster_database: str) -> None:
    await chaos(tmp_path, cluster_database, installs=3, instances=2, clients=6, seconds=9, seed=random.randrange(2**32))


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_replicas_are_killed_for_two_minutes(tmp_path: Path, cluster_database: str) -> None:
    await chaos(
        tmp_path, cluster_database, installs=20, instances=10, clients=30, seconds=120, seed=random.randrange(2**32)
    )


async def chaos(
    folder: Path, url: str, *, installs: int, instances: int, clients: int, seconds: float, seed: int
) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    world = ClusterWorld(folder, url, LEASE_SECONDS)
    nginx = None
    try:
        await world.start()
        await world.start_replicas(3)
        nginx = Nginx(folder / "nginx", [replica.url for replica in world.replicas])
        await nginx.start()
        hosts = [world.instance, *[await world.new_instance(f"instance{n}") for n in range(1, instances)]]
        # Two files an install, so slow that all of them end a little after the last kill.
        rounds = -(-installs // instances)
        slow = max(1.0, seconds / (2 * rounds))
        models = [
            world.slow_model(n, seconds=slow * chance.uniform(0.8, 1.2), size=600_000) for n in range(2 * installs)
        ]
        job_ids = [
            await install(
                nginx.url, hosts[n % instances], world.ui_home, [world.model(m) for m in models[2 * n : 2 * n + 2]]
            )
            for n in range(installs)
        ]
        watching = [client_of(n, nginx.url, chance.choice(job_ids)) for n in range(clients)]
        following = [asyncio.create_task(client.follow()) for client in watching]
        kills = await kill_at_random(world, seconds, chance)
        for job_id in job_ids:
            await ended(world, job_id, seconds=200)
        async with asyncio.timeout(60):
            await asyncio.gather(*following)
        await check(world, job_ids, watching, models)
        takeovers = sum([await count(world, job_id, "job_taken_over") for job_id in job_ids])
        breaks = sum(client.breaks for client in watching)
        print(
            f"{installs} installs of {len(models)} files on {instances} instances, {clients} clients, {kills} kills in "
            f"{seconds:g} s: {takeovers} takeovers, {breaks} broken connections, every client has 1..N, all completed"
        )
    finally:
        if nginx is not None:
            await nginx.stop()
        await world.close()


def client_of(number: int, url: str, job_id: str) -> Client:
    """Of six clients, three speak Socket.IO, one of them by polling, two SSE, and one asks for NDJSON."""
    address = f"127.0.{1 + number}.1"
    kind = number % 6
    if kind < 3:
        return Socket(url, job_id, address, "polling" if kind == 0 else "websocket")
    return Sse(url, job_id, address) if kind < 5 else Poller(url, job_id, address)


async def install(url: str, instance: Sshd, ui_home: Path, cards: Sequence[str]) -> str:
    body = {"ssh_host": "127.0.0.1", "ssh_port": instance.port, "ui_home": str(ui_home), "resources": list(cards)}
    async with aiohttp.ClientSession() as http, http.post(f"{url}/resources/install", json=body) as response:
        answer = await response.json()
        assert response.status == 202, answer
        return str(answer["job_id"])


async def kill_at_random(world: ClusterWorld, seconds: float, chance: random.Random) -> int:
    """A kill every three seconds; each replica is started again two seconds after its kill, however long that takes on
    this machine."""
    watch, kills = Stopwatch(), 0
    starting: dict[asyncio.Task[None], ServiceProcess] = {}

    async def start_again(victim: ServiceProcess) -> None:
        await asyncio.sleep(RESTARTED_AFTER_SECONDS)
        await victim.start()

    while watch.seconds < seconds:
        await asyncio.sleep(KILL_EVERY_SECONDS)
        away = [victim for task, victim in starting.items() if not task.done()]
        alive = [replica for replica in world.replicas if replica not in away]
        if alive:
            victim = chance.choice(alive)
            await victim.kill()
            kills += 1
            starting[asyncio.create_task(start_again(victim))] = victim
    await asyncio.gather(*starting)
    return kills


async def ended(world: ClusterWorld, job_id: str, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                job = await world.replicas[0].job(job_id)
                if job.get("state") in ("completed", "failed", "cancelled"):
                    assert job["state"] == "completed", job
                    return
            except BREAKS:
                pass
            await asyncio.sleep(0.2)


async def count(world: ClusterWorld, job_id: str, kind: str) -> int:
    return [event["type"] for event in await world.replicas[0].history(job_id)].count(kind)


async def check(
    world: ClusterWorld, job_ids: Sequence[str], clients: Sequence[Client], models: Sequence[StandInModel]
) -> None:
    histories = {job_id: await world.replicas[1].history(job_id) for job_id in job_ids}
    for history in histories.values():
        check_stream(history)
        assert "resource_failed" not in [event["type"] for event in history]
    for client in clients:
        assert client.events == histories[client.job_id], (type(client).__name__, len(client.events))
    world.check_fetched_once(*models)
    wrong = await asyncio.to_thread(not_whole, world.ui_home, models)
    assert wrong == []
    world.check_database()


def not_whole(ui_home: Path, models: Sequence[StandInModel]) -> list[str]:
    return [
        model.name
        for model in models
        if [hashlib.sha256(path.read_bytes()).hexdigest() for path in ui_home.rglob(f"*{model.id}-*.safetensors")]
        != [sha256(model)]
    ]
