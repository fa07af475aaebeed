"""The store alone, for measurements that need no service."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from service.events.event_types import JobQueued, JobStarted, Progress, ResourceStarted
from service.events.recorded_event import NewEvent, RecordedEvent
from service.store.database import database_of
from service.store.event_store import EventStore, Observe
from service.store.jobs import Jobs
from service.store.journal import Journal

BAR = Progress(
    stage="model",
    percent=45,
    downloaded="3.65M",
    total="8.12M",
    elapsed="00:03",
    remaining="00:04",
    speed="60.9MiB/s",
    downloaded_bytes=3_650_000,
    total_bytes=8_120_000,
    bytes_per_second=60_900_000.0,
    eta_seconds=4.0,
)
Publish = Callable[[str, Sequence[RecordedEvent]], None]


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


def publish_nothing(_job_id: str, _events: Sequence[RecordedEvent]) -> None:
    return None


class Store:
    """A journal on a file, and jobs that are running as far as it knows. ``observe``: as in EventStore."""

    def __init__(self, path: Path, publish: Publish, observe: Observe | None = None) -> None:
        self.database = database_of(f"sqlite+aiosqlite:///{path}")
        self.events = EventStore(self.database, clock=time.perf_counter, observe=observe)
        self.queue = Jobs(self.database)
        # One instance runs one job.
        self._numbers = count(1)
        self.journal = Journal(self.events, self.queue, clock_ms=clock_ms, publish=publish)

    async def running_job(self) -> str:
        resources = [{"resource": "a.md", "title": "A", "dependencies": []}]
        queued = JobQueued(
            ssh_host=f"h{next(self._numbers)}", ssh_port=22, ssh_user="root", ui_home="/ui", resources=resources
        )
        job = await self.journal.enqueue(queued)
        started = NewEvent(event=ResourceStarted(title="A", card_sha256="0" * 64), resource="a.md", attempt=1)
        await self.journal.append(job.job_id, [NewEvent(event=JobStarted()), started])
        return job.job_id

    async def fill(self, job_id: str, count: int) -> None:
        for first in range(0, count, 1000):
            await self.journal.append(job_id, bars(first, min(1000, count - first)))


@asynccontextmanager
async def opened(
    path: Path, publish: Publish = publish_nothing, observe: Observe | None = None
) -> AsyncIterator[Store]:
    store = Store(path, publish, observe)
    await store.database.open()
    store.events.start()
    try:
        yield store
    finally:
        await store.journal.drain()
        await store.events.stop()
        await store.database.close()


def bars(first: int, count: int) -> list[NewEvent]:
    return [
        NewEvent(event=BAR, resource="a.md", attempt=1, source_offset=offset)
        for offset in range(first + 1, first + count + 1)
    ]
