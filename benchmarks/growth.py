"""(g) What an append, a read and a claim cost when the log is long already."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from pathlib import Path

from benchmarks.appending import COLUMNS, appends, event_row
from benchmarks.scratch import scratch
from benchmarks.store import Store, opened
from benchmarks.table import Row, median
from service.store.pages import PAGE_EVENTS


async def run(quick: bool) -> list[Row]:
    """In an empty log and in a long one, in turns: what else the machine does hits both."""
    sizes = (100_000,) if quick else (1_000_000, 5_000_000)
    seconds, repetitions = (0.25, 3) if quick else (2.0, 5)
    rows: list[Row] = []
    with scratch() as folder:
        async with opened(folder / "long.sqlite3") as long:
            stored = 0
            for size in sizes:
                stored = await asyncio.to_thread(preload, folder / "long.sqlite3", stored, size)
                mine: dict[str, list[float]] = {name: [] for name in MEASURES}
                empty: dict[str, list[float]] = {name: [] for name in MEASURES}
                for repetition in range(repetitions):
                    async with opened(folder / f"empty{size}-{repetition}.sqlite3") as store:
                        # The one that is second in this turn is first in the next.
                        for found, of in ((mine, long), (empty, store))[:: 1 if repetition % 2 else -1]:
                            for name, measure in MEASURES.items():
                                found[name].append(await measure(of, seconds))
                rows += [row_of(name, size, median(mine[name]), median(empty[name])) for name in MEASURES]
    return rows


def row_of(name: str, size: int, value: float, empty: float) -> Row:
    return Row(
        name=f"(g) {name} after {size:,} events",
        value=value,
        unit="a second",
        peer="an empty log",
        peer_value=empty,
        goal=">= 0.8",
        holds=value >= 0.8 * empty,
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
    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        await store.queue.next_to_claim()
        count += 1
    return count / (time.perf_counter() - begin)


MEASURES = {"appends": appends_of_16_jobs, "pages read": reads, "claims": claims}


def preload(path: Path, stored: int, size: int) -> int:
    """Events of other jobs, written past the store: it is about the length of the log."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma synchronous=OFF")
    statement = f"insert into events ({', '.join(COLUMNS)}) values ({', '.join('?' * len(COLUMNS))})"
    for first in range(stored, size, 50_000):
        connection.execute("begin immediate")
        rows = (tuple(event_row(n // 1_000, n % 1_000).values()) for n in range(first, min(first + 50_000, size)))
        connection.executemany(statement, rows)
        connection.execute("commit")
    # What the preload left to be written must not burden the appends after it.
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    os.sync()
    return size
