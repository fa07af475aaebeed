"""Controls through any replica, while replicas are killed: whatever was accepted is obeyed on the instance."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.cluster.clients import BREAKS
from tests.cluster.replicas import ClusterWorld, Stopwatch
from tests.cluster.test_takeover import is_stopped

LEASE_SECONDS = 2.0
OBEYED_SECONDS_MAX = 2.0
CARD = 'for n in $(seq 1 3000); do echo "tick $n"; sleep 0.1; done'


@pytest.mark.timeout(120)
async def test_controls_during_a_kill(tmp_path: Path, cluster_database: str) -> None:
    await controls(tmp_path, cluster_database, count=6, kill_every=4, seed=random.randrange(2**32))


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_two_hundred_controls_during_kills(tmp_path: Path, cluster_database: str) -> None:
    await controls(tmp_path, cluster_database, count=200, kill_every=8, seed=random.randrange(2**32))


async def controls(folder: Path, url: str, *, count: int, kill_every: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    world = ClusterWorld(folder, url, LEASE_SECONDS)
    try:
        await world.start()
        await world.start_replicas(3)
        card = world.card("other/ticks.md", CARD)
        job = Controlled(world, chance, card)
        sampling = asyncio.create_task(sample(world))
        alive: list[float] = []
        lost: list[float] = []
        restarting: set[asyncio.Task[Any]] = set()
        await job.begin()
        for n in range(1, count + 1):
            is_killed = n % kill_every == 0
            if is_killed:
                victim = chance.choice(world.replicas)
                await victim.kill()
                restart = asyncio.create_task(start_later(victim))
                restarting.add(restart)
                restart.add_done_callback(restarting.discard)
            (lost if restarting else alive).append(await job.control())
            if not is_killed and restarting:
                await asyncio.wait(restarting)
        await asyncio.gather(*restarting)
        await job.post("cancel")
        assert (await world.replicas[0].ended(job.job_id))["state"] == "cancelled"
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        assert not sampling.done() or sampling.cancelled() or sampling.exception() is None
        world.check_database()
        print(
            f"{count} controls: obeyed within {max(alive):.2f} s where nothing was killed, "
            f"within {max(lost, default=0):.2f} s after a kill, of a lease of {LEASE_SECONDS} s"
        )
        assert max(alive) <= OBEYED_SECONDS_MAX
        assert max(lost, default=0) <= LEASE_SECONDS + 3
    finally:
        await world.close()


async def start_later(replica: Any) -> None:
    await asyncio.sleep(1)
    await replica.start()


async def sample(world: ClusterWorld) -> None:
    """Never two jobs of one instance at once."""
    while True:
        running = world.rows(
            "select instance_key, count(*) from jobs where state = 'running' group by 1 having count(*) > 1"
        )
        assert running == []
        await asyncio.sleep(0.5)


class Controlled:
    """A running job that is paused and resumed, and now and then ended and retried, beside waiting jobs that move."""

    def __init__(self, world: ClusterWorld, chance: random.Random, card: str) -> None:
        self._world = world
        self._chance = chance
        self._card = card
        self._is_paused = False
        self._waiting: list[str] = []
        self.job_id = ""

    async def begin(self) -> None:
        replica = self._world.replicas[0]
        self.job_id = await replica.install(self._world.instance, self._world.ui_home, self._card)
        self._waiting = [await replica.install(self._world.instance, self._world.ui_home, self._card) for _ in range(3)]
        await self._until_runs(stopped=False)

    async def control(self) -> float:
        """One of them; the seconds until the instance has obeyed."""
        what = self._chance.random()
        if what < 0.15:
            return await self._move()
        if what < 0.25:
            return await self._cancel_and_retry()
        await self.post("resume" if self._is_paused else "pause")
        self._is_paused = not self._is_paused
        watch = Stopwatch()
        await self._until_runs(stopped=self._is_paused)
        return watch.seconds

    async def _move(self) -> float:
        """To the front: it is obeyed once the queue says so."""
        last = self._waiting[-1]
        await self.post("move", {"before": "first"}, last)
        watch = Stopwatch()
        self._waiting = [last, *self._waiting[:-1]]
        order = self._world.rows("select job_id from jobs where state = 'queued' order by place")
        assert [row[0] for row in order][: len(self._waiting)] == self._waiting
        return watch.seconds

    async def _cancel_and_retry(self) -> float:
        """The next of the queue runs then; what was cancelled waits again, once."""
        before = self.job_id
        await self.post("cancel")
        watch = Stopwatch()
        async with asyncio.timeout(LEASE_SECONDS + 10):
            while self._processes(before):
                await asyncio.sleep(0.02)
        obeyed = watch.seconds
        async with asyncio.timeout(20):
            while (await asked(self._world, self._chance, f"/resources/jobs/{before}"))["state"] != "cancelled":
                await asyncio.sleep(0.05)
        retry = (await self.post("retry", job_id=before))["job_id"]
        self.job_id, self._waiting = self._waiting[0], [*self._waiting[1:], retry]
        self._is_paused = False
        await self._until_runs(stopped=False)
        return obeyed

    async def post(self, what: str, body: Any = None, job_id: str = "") -> Any:
        """Through any replica, again until one accepts it."""
        path = f"/resources/jobs/{job_id or self.job_id}/{what}"
        while True:
            replica = self._chance.choice(self._world.replicas)
            try:
                status, answer = await replica.post(path, body)
            except BREAKS:
                await asyncio.sleep(0.05)
                continue
            if status == 202:
                return answer
            # A control whose answer was lost with its replica was made.
            if status == 409 and what in ("pause", "resume", "cancel"):
                return answer
            assert status == 503, answer
            await asyncio.sleep(0.05)

    def _processes(self, job_id: str) -> list[int]:
        return self._world.instance.marked_processes("attempt", job_id=job_id) or self._world.instance.marked_processes(
            job_id=job_id
        )

    async def _until_runs(self, *, stopped: bool) -> None:
        async with asyncio.timeout(LEASE_SECONDS + 20):
            while True:
                found = self._world.instance.marked_processes("bash", job_id=self.job_id)
                if found and any(is_stopped(pid) for pid in found) is stopped:
                    return
                await asyncio.sleep(0.01)


async def asked(world: ClusterWorld, chance: random.Random, path: str) -> Any:
    while True:
        try:
            return await chance.choice(world.replicas).get(path)
        except (*BREAKS, aiohttp.ContentTypeError):
            await asyncio.sleep(0.05)
