"""A replica of its own, for measurements: its journal, its lease and its news, and a watcher of each job; no SSH and no
HTTP. ``python -m benchmarks.replica`` reads from standard input a line ``{"url", "jobs", "ids"}``.

Without ids it makes so many jobs, which it owns; else it watches those of another replica. It prints the ids when each
is watched. A line ``seconds`` later it appends ten events a second to each job that it owns, and says ``done``; at the
last line it prints when each event was published to its watchers, in seconds of the clock that all processes share.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import uvloop

from benchmarks.interpreter import as_served
from benchmarks.store import Store, bars, opened
from service.events.recorded_event import RecordedEvent

EVENTS_A_SECOND = 10
LINE_BYTES_MAX = 1 << 26


class Watched:
    """The watchers of one job: the time of each event after the one that they joined at."""

    def __init__(self) -> None:
        self.joined = 0
        self.times: list[float] = []

    async def ready(self) -> None:
        """They read as fast as they are sent."""

    def deliver(self, events: Sequence[RecordedEvent]) -> None:
        """Their history is not measured."""

    def join(self, last: int) -> None:
        self.joined = last


async def main() -> None:
    wanted = await line()
    found: dict[str, Watched] = {}

    def publish(job_id: str, events: Sequence[RecordedEvent]) -> None:
        watched = found.get(job_id)
        if watched is not None:
            if events[0].sequence != watched.joined + len(watched.times) + 1:
                raise RuntimeError(f"a watcher of job {job_id} missed events before {events[0].sequence}")
            watched.times += [time.monotonic()] * len(events)

    async with opened(wanted["url"], publish) as store:
        owned = [await store.running_job() for _ in range(0 if wanted["ids"] else wanted["jobs"])]
        for job_id in owned or wanted["ids"]:
            watched = Watched()
            await store.journal.hand_over(job_id, 0, watched)
            found[job_id] = watched
            store.joined.add(job_id)
        with as_served():
            say(list(found))
            seconds = await line()
            if owned:
                await asyncio.gather(*(append(store, job_id, seconds * EVENTS_A_SECOND) for job_id in owned))
            say("done")
            await line()
        say({job_id: watched.times for job_id, watched in found.items()})


async def append(store: Store, job_id: str, count: int) -> None:
    due = time.monotonic() + random.random() / EVENTS_A_SECOND
    for n in range(count):
        await asyncio.sleep(due - time.monotonic())
        await store.journal.append(job_id, bars(n, 1))
        due += 1 / EVENTS_A_SECOND


async def line() -> Any:
    return orjson.loads(await asyncio.to_thread(sys.stdin.readline))


def say(what: Any) -> None:
    print(orjson.dumps(what).decode(), flush=True)


class ReplicaProcess:
    """The other process, seen from the measuring one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, what: Any) -> Any:
        """Its answer to a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps(what) + b"\n")
        await self._process.stdin.drain()
        answer = await self._process.stdout.readline()
        if not answer:
            raise RuntimeError("a replica has ended: its error is above")
        return orjson.loads(answer)


@asynccontextmanager
async def replica_process() -> AsyncIterator[ReplicaProcess]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.replica", stdin=pipe, stdout=pipe, limit=LINE_BYTES_MAX
    )
    try:
        yield ReplicaProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    uvloop.run(main())
