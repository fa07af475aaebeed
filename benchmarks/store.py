"""The store alone, for measurements that need no service: on either engine, with the lease, the fence and the news that
a service has there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

from service.clock import SteadyClock
from service.events.event_types import JobQueued, JobStarted, Progress, ResourceStarted
from service.events.recorded_event import NewEvent, RecordedEvent
from service.store.append import Append
from service.store.cluster import Cluster
from service.store.database import LEASE_SECONDS, database_of
from service.store.event_store import EventStore, Observe
from service.store.jobs import Jobs
from service.store.journal import Journal
from service.store.membership import Member

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


class Owned:
    """The jobs that run here, as far as the other parts know: an Owner (see cluster.py)."""

    def __init__(self) -> None:
        self.running: set[str] = set()

    def look(self) -> None:
        """Nothing is claimed by itself."""

    async def let_go(self) -> None:
        raise RuntimeError("the lease was lost: this machine is too busy to measure anything")


class Store:
    """A journal, and jobs that are running as far as it knows. ``where``: a file of SQLite, or the URL of a database.
    ``observe``: as in EventStore. ``is_fenced``, ``tells``: whether it has the fence and tells others of its commits,
    where its engine can be shared."""

    def __init__(
        self,
        where: Path | str,
        publish: Publish,
        observe: Observe | None = None,
        *,
        is_fenced: bool = True,
        tells: bool = True,
    ) -> None:
        self.database = database_of(where if isinstance(where, str) else f"sqlite+aiosqlite:///{where}")
        self.cluster = Cluster(
            self.database,
            Member(name=uuid4().hex, version=""),
            clock_ms=SteadyClock(),
            lease_seconds=LEASE_SECONDS,
            library_digest=lambda: "",
        )
        self._observe = observe
        self._tells = tells
        membership = self.cluster.membership
        self.events = EventStore(
            self.database,
            clock=time.perf_counter,
            observe=self._committed,
            fence=membership.fence if is_fenced else None,
        )
        self.queue = Jobs(self.database)
        # One instance runs one job.
        self._numbers = count(1)
        self.journal = Journal(
            self.events,
            self.queue,
            clock_ms=clock_ms,
            publish=publish,
            is_shared=self.cluster.is_shared,
            replica_id=lambda: membership.replica_id,
        )
        self.owned = Owned()
        # In whose rooms somebody is.
        self.joined: set[str] = set()
        self.cluster.connect(
            journal=self.journal, event_store=self.events, joined=lambda: self.joined, owner=self.owned
        )

    @property
    def replica_id(self) -> int | None:
        return self.cluster.membership.replica_id

    async def running_job(self) -> str:
        resources = [{"resource": "a.md", "title": "A", "dependencies": []}]
        queued = JobQueued(
            ssh_host=f"h{next(self._numbers)}", ssh_port=22, ssh_user="root", ui_home="/ui", resources=resources
        )
        job = await self.journal.enqueue(queued)
        started = NewEvent(event=ResourceStarted(title="A", card_sha256="0" * 64), resource="a.md", attempt=1)
        await self.journal.append(job.job_id, [NewEvent(event=JobStarted()), started], owner=self.replica_id)
        self.owned.running.add(job.job_id)
        return job.job_id

    async def fill(self, job_id: str, count: int) -> None:
        for first in range(0, count, 1000):
            await self.journal.append(job_id, bars(first, min(1000, count - first)))

    def _committed(self, appends: Sequence[Append], commit_seconds: float, publish_seconds: float) -> None:
        if self._tells:
            self.cluster.committed(appends)
        if self._observe is not None:
            self._observe(appends, commit_seconds, publish_seconds)


@asynccontextmanager
async def opened(
    where: Path | str,
    publish: Publish = publish_nothing,
    observe: Observe | None = None,
    *,
    is_fenced: bool = True,
    tells: bool = True,
) -> AsyncIterator[Store]:
    store = Store(where, publish, observe, is_fenced=is_fenced, tells=tells)
    await store.database.open()
    store.events.start()
    await store.cluster.start()
    try:
        yield store
    finally:
        await store.journal.drain()
        await store.events.stop()
        await store.cluster.stop()
        await store.database.close()


def bars(first: int, count: int) -> list[NewEvent]:
    return [
        NewEvent(event=BAR, resource="a.md", attempt=1, source_offset=offset)
        for offset in range(first + 1, first + count + 1)
    ]
