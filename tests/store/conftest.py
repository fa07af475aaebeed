from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from service.clock import SteadyClock
from service.events.event_types import JobQueued
from service.events.recorded_event import RecordedEvent
from service.store.database import database_of
from service.store.event_store import EventStore
from service.store.jobs import Jobs
from service.store.journal import Journal

RESOURCES = [{"resource": "a.md", "title": "A", "dependencies": []}]


_numbers = count(1)


def queued(host: str | None = None, port: int = 22) -> JobQueued:
    """A job on this instance. Without a host each job has an instance of its own: one instance runs one job."""
    host = host or f"h{next(_numbers)}"
    return JobQueued(ssh_host=host, ssh_port=port, ssh_user="root", ui_home="/ui", resources=RESOURCES)


class Store:
    """The store on a real database, and what it published. ``now_ms`` 0: the clock's own time."""

    def __init__(self, url: str) -> None:
        self.now_ms = 0
        self.clock = SteadyClock()
        self.published: list[RecordedEvent] = []
        self.database = database_of(url)
        self.events = EventStore(self.database)
        self.queue = Jobs(self.database)
        self.journal = Journal(
            self.events, self.queue, clock_ms=lambda: self.now_ms or self.clock(), publish=self._publish
        )

    async def open(self) -> Store:
        await self.database.open()
        self.events.start()
        return self

    async def close(self) -> None:
        await self.journal.drain()
        await self.events.stop()
        await self.database.close()

    def _publish(self, job_id: str, events: Sequence[RecordedEvent]) -> None:
        self.published += events


class FileStore(Store):
    """The store in a file of SQLite."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"sqlite+aiosqlite:///{path}")
        self.path = path


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = await Store(database_url).open()
    yield opened
    await opened.close()


@pytest.fixture
async def file_store(tmp_path: Path) -> AsyncIterator[FileStore]:
    opened = FileStore(tmp_path / "test.sqlite3")
    await opened.open()
    yield opened
    await opened.close()
