"""How much later a watcher on another replica gets an event, also in a database without statistics, and that it gets
each of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tests.kit.service import until
from tests.store.test_news import Member, Replica
from tests.store.test_store import bar, running_job


class Timed(Member):
    """Knows when each event came."""

    def __init__(self, replica: Replica, job_id: str) -> None:
        super().__init__(replica.room, job_id)
        self.times: dict[int, float] = {}

    def join(self, last: int) -> None:
        super().join(last)
        self.seen = _Noted(self.seen, self.times)


class _Noted(list[int]):
    def __init__(self, seen: Sequence[int], times: dict[int, float]) -> None:
        super().__init__(seen)
        self._times = times

    def __iadd__(self, more: Sequence[int]) -> _Noted:  # type: ignore[misc,override]
        now = time.perf_counter()
        for sequence in more:
            self._times[sequence] = now
        self.extend(more)
        return self


@asynccontextmanager
async def pair(url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    writer, reader = Replica(url, "1"), Replica(url, "2")
    for replica in (writer, reader):
        await replica.open()
        replica.news.start()
    await until(lambda: reader.news.reconnects == 0 and writer.news.reconnects == 0)
    yield writer, reader
    await reader.close()
    await writer.close()


async def test_watchers_elsewhere_are_a_little_later(cluster_database: str) -> None:
    """How much later is measured by the bench (benchmarks/followers.py), where nothing else is at work."""
    await followers(cluster_database, jobs=30, seconds=2)


@pytest.mark.long
@pytest.mark.parametrize("jobs", [100, 500])
async def test_many_watchers_elsewhere(cluster_database: str, jobs: int) -> None:
    await followers(cluster_database, jobs=jobs, seconds=20)


async def followers(url: str, *, jobs: int, seconds: float) -> None:
    """Ten events a second and job; the database was made a moment ago."""
    async with pair(url) as (writer, reader):
        ids = [await running_job(writer) for _ in range(jobs)]
        for job_id in ids:
            # As a run does: its replica owns the job.
            await writer.journal.append(job_id, [bar(0)], owner=1)
        here = [Timed(writer, job_id) for job_id in ids]
        there = [Timed(reader, job_id) for job_id in ids]
        for job_id, one, other in zip(ids, here, there, strict=True):
            await writer.journal.hand_over(job_id, 0, one)
            await reader.journal.hand_over(job_id, 0, other)
        count = round(seconds * 10)

        async def write(job_id: str) -> None:
            await asyncio.sleep(random.random() / 10)
            for n in range(count):
                await asyncio.gather(writer.journal.append(job_id, [bar(n)]), asyncio.sleep(0.1))

        await asyncio.gather(*map(write, ids))
        await until(lambda: all(len(member.seen) == count + 4 for member in there), 30)
        added = sorted(
            other.times[sequence] - at
            for one, other in zip(here, there, strict=True)
            for sequence, at in one.times.items()
        )
        p50, p99 = added[len(added) // 2], added[len(added) * 99 // 100]
        print(f"{jobs} jobs, 10/s each: {p50 * 1000:.1f} ms (p50), {p99 * 1000:.1f} ms (p99) later elsewhere")
        for member in there:
            assert member.seen == list(range(1, count + 5))


@pytest.mark.parametrize("count", [50, pytest.param(1_000, marks=pytest.mark.long)])
async def test_late_joiners_get_all(cluster_database: str, count: int) -> None:
    async with pair(cluster_database) as (writer, reader):
        job_id = await running_job(writer)
        joined: list[tuple[Replica, Member]] = []

        async def join(n: int) -> None:
            await asyncio.sleep(random.random() * 2)
            replica = (writer, reader)[n % 2]
            joined.append((replica, await replica.watch(job_id)))

        async def write() -> None:
            for n in range(400):
                await writer.journal.append(job_id, [bar(n)] * 3)
                await asyncio.sleep(0.005)

        await asyncio.gather(write(), *map(join, range(count)))
        await until(lambda: all(len(member.seen) == 1203 for _, member in joined), 30)
        assert all(member.seen == list(range(1, 1204)) for _, member in joined)
