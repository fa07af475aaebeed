"""(g) What an append, a read and a claim cost when the log is long already, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from benchmarks.appending import appends
from benchmarks.claims import fill as enqueue
from benchmarks.interpreter import as_served
from benchmarks.postgres_server import postgres
from benchmarks.preload import preload, settle
from benchmarks.scratch import scratch
from benchmarks.store import Store, opened
from benchmarks.table import Row, median
from service.store.pages import PAGE_EVENTS

QUEUED = 50
LEAST = 0.8


async def run(quick: bool) -> list[Row]:
    with scratch() as folder, as_served():
        rows = await grown("", folder / "long.sqlite3", folder / "empty.sqlite3", quick)
    with (
        scratch() as folder,
        as_served(),
        postgres(folder) as server,
        server.database() as long,
        server.database() as empty,
    ):
        return rows + await grown(", PostgreSQL", long, empty, quick)


async def grown(engine: str, where: Path | str, empty: Path | str, quick: bool) -> list[Row]:
    """In an empty log and in a long one, in turns: what else the machine does hits both."""
    sizes = (100_000,) if quick else (1_000_000, 5_000_000)
    seconds, turns = (0.25, 3) if quick else (1.0, 5)
    rows: list[Row] = []
    stored = 0
    async with opened(where) as long, opened(empty) as short:
        for size in sizes:
            await asyncio.to_thread(preload, where, stored, size)
            await asyncio.to_thread(settle, where)
            stored = size
            mine: dict[str, list[float]] = {name: [] for name in MEASURES}
            peers: dict[str, list[float]] = {name: [] for name in MEASURES}
            for turn in range(turns):
                # The one that is second in this turn is first in the next.
                for found, of in ((mine, long), (peers, short))[:: 1 if turn % 2 else -1]:
                    for name, measure in MEASURES.items():
                        found[name].append(await measure(of, seconds))
            rows += [row_of(name + engine, size, median(mine[name]), median(peers[name])) for name in MEASURES]
    return rows


def row_of(name: str, size: int, value: float, empty: float) -> Row:
    return Row(
        name=f"(g) {name} after {size:,} events",
        value=value,
        unit="a second",
        peer="an empty log",
        peer_value=empty,
        goal=f">= {LEAST:g}",
        holds=value >= LEAST * empty,
    )


async def appends_of_16_jobs(store: Store, seconds: float) -> float:
    return await appends(store, 16, seconds)


async def reads(store: Store, seconds: float) -> float:
    """Pages of a job's events, a second."""
    job_id = await store.running_job()
    await store.fill(job_id, PAGE_EVENTS)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        await store.events.read(job_id)
        count += 1
    return count / (time.perf_counter() - begin)


async def claims(store: Store, seconds: float) -> float:
    """Looks for the next job to claim, a second."""
    if not await store.queue.next_to_claim():
        await enqueue(store, QUEUED)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        await store.queue.next_to_claim()
        count += 1
    return count / (time.perf_counter() - begin)


MEASURES = {"appends": appends_of_16_jobs, "pages read": reads, "claims": claims}
