"""(t) How long an append takes while a million old events are thinned and deleted, on SQLite and on PostgreSQL: sixteen
installs draw ten bars a second. Half of the old events are of one job."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from benchmarks.claims import ended
from benchmarks.interpreter import as_served
from benchmarks.postgres_server import postgres
from benchmarks.preload import preload, settle
from benchmarks.scratch import scratch
from benchmarks.store import Store, bars, clock_ms, opened
from benchmarks.table import Row
from service.events.recorded_event import NewEvent
from service.store.housekeeping import DAY_MS, DELETED_AFTER, Housekeeping

JOBS, EVENTS_A_SECOND = 16, 10
# How much later than without retention.
ADDED_P99_MS = 50.0


async def run(quick: bool) -> list[Row]:
    with scratch() as folder, as_served():
        rows = await measure("SQLite", folder / "log.sqlite3", quick)
    with scratch() as folder, as_served(), postgres(folder) as server, server.database() as url:
        return rows + await measure("PostgreSQL", url, quick)


async def measure(engine: str, where: Path | str, quick: bool) -> list[Row]:
    streams = [50_000, *[500] * 100] if quick else [500_000, *[5_000] * 100]
    async with opened(where) as store:
        for count in streams:
            job_id = await store.running_job()
            last = await store.journal.append(job_id, [NewEvent(event=ended())])
            store.owned.running.discard(job_id)
            await asyncio.to_thread(preload, where, last.last_sequence + 1, last.last_sequence + 1 + count, job_id)
        await asyncio.to_thread(settle, where)
        ids = [await store.running_job() for _ in range(JOBS)]
        later_ms = clock_ms() + (DELETED_AFTER + 1) * DAY_MS
        house = Housekeeping(database=store.database, keep_days=1, clock_ms=lambda: later_ms)
        before = await latencies(store, ids, asyncio.create_task(asyncio.sleep(2 if quick else 5)))
        begin = time.perf_counter()
        round_ = asyncio.create_task(house.round())
        during = await latencies(store, ids, round_)
        took = time.perf_counter() - begin
        if await round_ != (len(streams), len(streams)):
            raise RuntimeError(f"of {len(streams)} old jobs {round_.result()} were thinned and deleted")
    name = f"(t) an append while {sum(streams):,} events are deleted, {engine}"
    p99, usual = at(during, 0.99), at(before, 0.99)
    return [
        Row(name=f"{name}, p50", value=at(during, 0.5), unit="ms", peer="before", peer_value=at(before, 0.5)),
        Row(
            name=f"{name}, p99",
            value=p99,
            unit="ms",
            peer="before",
            peer_value=usual,
            goal=f"<= + {ADDED_P99_MS:g} ms",
            holds=p99 <= usual + ADDED_P99_MS,
        ),
        Row(name=f"{name}, longest", value=at(during, 1.0), unit="ms", peer="before", peer_value=at(before, 1.0)),
        Row(name=f"(t) deleted, {engine}", value=sum(streams) / took, unit="events/s"),
    ]


async def latencies(store: Store, ids: list[str], until: asyncio.Task[Any]) -> list[float]:
    """Of the appends until that task ends, in ms, in order of size."""
    found: list[float] = []

    async def append(job_id: str, due: float) -> None:
        while not until.done():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            begin = time.perf_counter()
            await store.journal.append(job_id, bars(len(found), 1))
            found.append((time.perf_counter() - begin) * 1000)
            due += 1 / EVENTS_A_SECOND

    begin = time.perf_counter()
    step = 1 / EVENTS_A_SECOND / len(ids)
    await asyncio.gather(*(append(job_id, begin + number * step) for number, job_id in enumerate(ids)))
    return sorted(found)


def at(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(len(values) * part))]
