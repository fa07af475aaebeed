"""(r) How much later a watcher on another replica gets an event than one on the replica that runs the job, on a
database that was made a moment ago: each job has ten events a second, and a watcher on both.

The replicas are processes of their own, without the SSH connections and the clients that would be beside them: what is
measured is the way of an event from one to the other. ``python -m benchmarks.followers [--jobs 500] [--seconds 20]``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from typing import NamedTuple

import uvloop

from benchmarks.latency import busy_seconds
from benchmarks.postgres_server import postgres
from benchmarks.replica import ReplicaProcess, replica_process
from benchmarks.scratch import scratch
from benchmarks.table import Row, median, show
from service.store.news import LOOK_SECONDS_MAX
from tests.kit.postgres import PostgresServer


class Case(NamedTuple):
    """``added_p99_ms``: the goal."""

    jobs: int
    added_p99_ms: float | None = None


class Measured(NamedTuple):
    """Milliseconds that an event came later elsewhere, which part of them came, which part of what was due was
    appended, and the cores that each replica used."""

    p50: float
    p99: float
    received: float
    due: float
    cores: tuple[float, float]


QUICK = (Case(20),)
FULL = (Case(100, 10.0), Case(500, 50.0))


async def run(quick: bool) -> list[Row]:
    seconds, turns = (3, 1) if quick else (10, 3)
    with scratch() as folder, postgres(folder) as server:
        return [row for case in (QUICK if quick else FULL) for row in await rows_of(server, case, seconds, turns)]


async def rows_of(server: PostgresServer, case: Case, seconds: int, turns: int) -> list[Row]:
    """The medians of the turns, each on a database of its own."""
    found = [await measure(server, case.jobs, seconds) for _ in range(turns)]
    name = f"(r) later elsewhere, {case.jobs} jobs"
    p99, received = median([turn.p99 for turn in found]), min(turn.received for turn in found)
    most = case.added_p99_ms
    cores = f"cores of {os.cpu_count()}"
    return [
        Row(name=f"{name}, p50", value=median([turn.p50 for turn in found]), unit="ms"),
        Row(
            name=f"{name}, p99",
            value=p99,
            unit="ms",
            goal="" if most is None else f"<= {most:g}",
            holds=None if most is None else p99 <= most,
        ),
        Row(name=f"{name}, received", value=received, unit="of all", goal="1", holds=received == 1),
        Row(name=f"{name}, appended", value=median([turn.due for turn in found]), unit="of due"),
        Row(name=f"{name}, the replica that runs", value=median([turn.cores[0] for turn in found]), unit=cores),
        Row(name=f"{name}, the other replica", value=median([turn.cores[1] for turn in found]), unit=cores),
    ]


async def measure(server: PostgresServer, jobs: int, seconds: int) -> Measured:
    with server.database() as url:
        async with replica_process() as here, replica_process() as there:
            ids = await here.ask({"url": url, "jobs": jobs, "ids": []})
            await there.ask({"url": url, "jobs": jobs, "ids": ids})
            return await times(here, there, seconds)


async def times(here: ReplicaProcess, there: ReplicaProcess, seconds: int) -> Measured:
    begin, before = time.monotonic(), [busy_seconds([replica.pid]) for replica in (here, there)]
    await asyncio.gather(here.ask(seconds), there.ask(seconds))
    took = time.monotonic() - begin
    cores = [(busy_seconds([replica.pid]) - was) / took for replica, was in zip((here, there), before, strict=True)]
    # Who lost a hint looks by itself meanwhile.
    await asyncio.sleep(LOOK_SECONDS_MAX)
    published, received = await here.ask("times"), await there.ask("times")
    added = sorted(
        at - first for job_id, firsts in published.items() for first, at in zip(firsts, received[job_id], strict=False)
    )
    p50, p99 = (added[int(len(added) * part)] * 1000 for part in (0.5, 0.99))
    return Measured(p50, p99, len(added) / sum(map(len, published.values())), seconds / took, (cores[0], cores[1]))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=500)
    arguments.add_argument("--seconds", type=int, default=20)
    arguments.add_argument("--turns", type=int, default=1)
    given = arguments.parse_args()

    async def case() -> list[Row]:
        with scratch() as folder, postgres(folder) as server:
            return await rows_of(server, Case(given.jobs), given.seconds, given.turns)

    show(uvloop.run(case()))


if __name__ == "__main__":
    main()
