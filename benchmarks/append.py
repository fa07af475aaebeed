"""(a) Durable appends a second, 1, 16 and 128 jobs at once, beside raw sqlite3, bare SQLAlchemy with aiosqlite, the
``eventsourcing`` library and Dagster's SQLite event log.

Each job appends one event after the other, ours through the whole journal: gate, fold, log, projection, publication.
It does so as an attempt does, whose next events are made while the last one is in its commit (runner/pipeline.py).
The peers write the same event at the same durability: WAL, synchronous=FULL (``eventsourcing`` leaves SQLite's default,
which is FULL; its module checks it), checkpoints as often, the same cache. As many events are in a commit
as there are jobs, each encoded anew, and no peer folds anything. ``eventsourcing`` is its recorder alone, without an
aggregate, in one thread, so that no event waits for a thread: its best case. All run side by side, in turns.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import event, insert
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from benchmarks.appending import COLUMNS, appends, encoded, event_row
from benchmarks.interpreter import as_served
from benchmarks.peers import dagster_log, eventsourcing_log
from benchmarks.scratch import scratch
from benchmarks.store import opened
from benchmarks.table import Row, median
from service.store.database_sqlite import WRITER_CACHE_KIB
from service.store.tables import events, metadata

RAW, BARE, EVENTSOURCING, DAGSTER = "raw sqlite3", "SQLAlchemy + aiosqlite", "eventsourcing", "Dagster"
# (peer, jobs) -> the least ratio.
GOALS = {(BARE, 128): 1.0, (EVENTSOURCING, 128): 0.6, (EVENTSOURCING, 1): 0.6, (DAGSTER, 128): 100.0}
# It needs eight seconds to make its 128 databases.
DAGSTER_REPETITIONS_MAX = 1
# A checkpoint comes after SQLite's own 1,000 pages, which is about when ours comes.
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", f"cache_size=-{WRITER_CACHE_KIB}")


async def run(quick: bool) -> list[Row]:
    with as_served():
        return [row for jobs in (1, 16, 128) for row in await beside_the_peers(jobs, quick)]


async def beside_the_peers(jobs: int, quick: bool) -> list[Row]:
    seconds, repetitions = (0.25, 2) if quick else (2.0, 5)
    ours: list[float] = []
    peers: dict[str, list[float]] = {name: [] for name in (RAW, BARE, EVENTSOURCING)}
    if jobs == 128 or not quick:
        peers[DAGSTER] = []
    for repetition in range(repetitions):
        with scratch() as folder:
            names = ["", *(name for name in peers if name != DAGSTER or repetition < DAGSTER_REPETITIONS_MAX)]
            # The one that is first in this turn is last in the next.
            for name in names[:: 1 if repetition % 2 else -1]:
                values = peers[name] if name else ours
                values.append(await appends_of(name, folder, jobs, seconds))
    return [row_of(jobs, median(ours), name, median(values)) for name, values in peers.items()]


async def appends_of(name: str, folder: Path, jobs: int, seconds: float) -> float:
    """The events a second that this peer appends; ours without a name."""
    if name == RAW:
        return raw(folder, jobs, seconds)
    if name == BARE:
        return await bare(folder, jobs, seconds)
    if name == EVENTSOURCING:
        return eventsourcing_log.appends(folder, jobs, seconds, encoded, PRAGMAS)
    if name == DAGSTER:
        return dagster_log.appends(folder, jobs, seconds, encoded())
    return await through_the_journal(folder, jobs, seconds)


def row_of(jobs: int, value: float, name: str, peer_value: float) -> Row:
    least = GOALS.get((name, jobs))
    return Row(
        name=f"(a) appends, {jobs} jobs",
        value=value,
        unit="events/s",
        peer=name,
        peer_value=peer_value,
        goal=f">= {least:g}" if least is not None else "",
        holds=value / peer_value >= least if least is not None else None,
    )


async def through_the_journal(folder: Path, jobs: int, seconds: float) -> float:
    async with opened(folder / "ours.sqlite3") as store:
        return await appends(store, jobs, seconds)


def raw(folder: Path, jobs: int, seconds: float) -> float:
    connection = sqlite3.connect(folder / "raw.sqlite3", isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(f"pragma {pragma}")
    _create(connection)
    statement = f"insert into events ({', '.join(COLUMNS)}) values ({', '.join('?' * len(COLUMNS))})"
    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        rows = [tuple(event_row(job, count).values()) for job in range(jobs)]
        connection.execute("begin immediate")
        connection.executemany(statement, rows)
        connection.execute("commit")
        count += 1
    connection.close()
    return count * jobs / (time.perf_counter() - begin)


async def bare(folder: Path, jobs: int, seconds: float) -> float:
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'bare.sqlite3'}", poolclass=StaticPool)
    event.listen(engine.sync_engine, "connect", _pragmas)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        rows = [event_row(job, count) for job in range(jobs)]
        async with engine.begin() as connection:
            await connection.execute(insert(events), rows)
        count += 1
    took = time.perf_counter() - begin
    await engine.dispose()
    return count * jobs / took


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(
        "create table events (position integer primary key autoincrement, job_id varchar(36), sequence integer, "
        "type varchar(40), version integer, at_ms integer, resource text, attempt integer, source_offset integer, "
        "data_json text, unique (job_id, sequence))"
    )


def _pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"pragma {pragma}")
    cursor.close()
