"""(h) What a claim costs: to find the next job of the queue and to record that it has started, after 10, 1,000 and
10,000 queued jobs on 50 instances, and to find those of all instances at once. It should follow the instances and not
the jobs. And how long jobs wait for their claim in a process that is busy (see starts.py)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks import starts
from benchmarks.scratch import scratch
from benchmarks.store import Store, opened
from benchmarks.table import Row, median
from service.events.event_types import JobFailed, JobQueued, JobStarted
from service.events.job import Job
from service.events.recorded_event import NewEvent
from service.store.jobs import HEADS_MAX

INSTANCES = 50
QUEUED = (10, 1_000, 10_000)
# Each instance has a job.
LOOKS_QUEUED = (INSTANCES, 10_000)
LOOK = f"(h) a look for {INSTANCES // 2} jobs"
RATIO_MAX = 1.5
ENQUEUES_AT_ONCE = 500


async def run(quick: bool) -> list[Row]:
    claims = 50 if quick else 200
    with scratch() as folder:
        found = await claims_ms({queued: folder / f"{queued}.sqlite3" for queued in QUEUED}, claims)
        looks = await looks_ms({queued: folder / f"{queued}-looks.sqlite3" for queued in LOOKS_QUEUED}, claims)
    rows = [Row(name=f"(h) a claim, {queued:,} queued", value=found[queued], unit="ms") for queued in QUEUED[:-1]]
    return [*rows, row_of("(h) a claim", found), row_of(LOOK, looks), *await starts.run(quick)]


def row_of(name: str, found: Mapping[int, float]) -> Row:
    """The most queued jobs beside the fewest."""
    few, many = min(found), max(found)
    return Row(
        name=f"{name}, {many:,} queued",
        value=found[many],
        unit="ms",
        peer=f"{few} queued",
        peer_value=found[few],
        goal=f"<= {RATIO_MAX:g}",
        holds=found[many] <= RATIO_MAX * found[few],
    )


async def looks_ms(places: Mapping[int, Path | str], looks: int) -> dict[int, float]:
    """The median time of one look that finds a job on each free instance. Each has one."""
    return await by_turns(places, looks, look)


async def claims_ms(places: Mapping[int, Path | str], claims: int) -> dict[int, float]:
    """The median time of a claim."""
    return await by_turns(places, claims, claim)


async def by_turns(
    places: Mapping[int, Path | str], times: int, step: Callable[[Store, list[float]], Awaitable[None]]
) -> dict[int, float]:
    """The median of so many steps for each number of queued jobs, in milliseconds, by turns: what else the machine does
    hits all. ``places``: the file or the database for each number. ``step`` adds the seconds that it took."""
    took: dict[int, list[float]] = {queued: [] for queued in places}
    async with AsyncExitStack() as stack:
        stores = {queued: await stack.enter_async_context(opened(where)) for queued, where in places.items()}
        for queued, store in stores.items():
            await prepare(store, queued)
        turn = deque(places)
        for _ in range(times):
            for queued in turn:
                await step(stores[queued], took[queued])
            # Nobody always comes after the same one.
            turn.rotate()
    return {queued: median(seconds) * 1000 for queued, seconds in took.items()}


async def prepare(store: Store, queued: int) -> None:
    """Half of the instances run a job, and so many jobs are queued on all of them."""
    for instance in range(INSTANCES // 2, INSTANCES):
        job = await store.journal.enqueue(queued_for(host_of(instance)))
        await store.journal.append(job.job_id, [NewEvent(event=JobStarted())], owner=store.replica_id)
    await fill(store, queued)


async def look(store: Store, took: list[float]) -> None:
    begin = time.perf_counter()
    found = await store.queue.next_to_claim(HEADS_MAX)
    took.append(time.perf_counter() - begin)
    assert len(found) == INSTANCES // 2


async def claim(store: Store, took: list[float]) -> None:
    """A claimed job ends and another comes to its instance, so that the queue keeps its length."""
    claimed = await timed_claim(store, took)
    await store.journal.append(claimed.job_id, [NewEvent(event=ended())])
    await store.journal.enqueue(queued_for(claimed.ssh_host))


async def timed_claim(store: Store, took: list[float]) -> Job:
    begin = time.perf_counter()
    [job] = await store.queue.next_to_claim()
    await store.journal.append(job.job_id, [NewEvent(event=JobStarted())], owner=store.replica_id)
    took.append(time.perf_counter() - begin)
    return job


async def fill(store: Store, count: int) -> None:
    for first in range(0, count, ENQUEUES_AT_ONCE):
        some = range(first, min(first + ENQUEUES_AT_ONCE, count))
        await asyncio.gather(*(store.journal.enqueue(queued_for(host_of(n % INSTANCES))) for n in some))


def host_of(instance: int) -> str:
    return f"10.0.0.{instance + 1}"


def queued_for(host: str) -> JobQueued:
    resources = [{"resource": "a.md", "title": "A", "dependencies": []}]
    return JobQueued(ssh_host=host, ssh_port=22, ssh_user="root", ui_home="/ui", resources=resources)


def ended() -> JobFailed:
    return JobFailed(installed=0, total=1, results=[], error="the end of a measured claim", cause="unknown", hint="")
