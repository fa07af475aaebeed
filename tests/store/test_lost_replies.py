"""The reply to a COMMIT is lost on its way: the log is asked, and nothing is lost, doubled or left unpublished."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import ReplyLost, StoreUnavailable
from service.events import event_types as types
from service.events.fold import fold
from service.events.recorded_event import NewEvent
from service.runner.live_job import LiveJob
from service.runner.pipeline import Pipeline
from service.store import event_store
from service.store.database import Work
from service.store.database_sqlite import SqliteDatabase
from service.store.event_store import EventStore
from service.store.jobs import Jobs
from service.store.journal import Journal
from tests.store.conftest import Store, queued

T = TypeVar("T")
JOBS = 6
BARS = 12
ATTEMPTS = 2
RESOURCES = ("a.md", "b.md")
CONTROLS = 4


class CutDatabase(SqliteDatabase):
    """A real file behind a network that breaks in every ``every``-th commit: before it or after it, by chance. For the
    next few reads and looks the database cannot be reached."""

    def __init__(self, path: Path, every: int, chance: random.Random) -> None:
        super().__init__(make_url(f"sqlite+aiosqlite:///{path}"))
        self._every = every
        self._chance = chance
        self._down = 0
        self.stays_down = False
        self.commits = self.made = self.conflicts = 0

    def commit(self, prepare: Callable[[], Work | None], settled: Callable[[Exception | None], None]) -> None:
        is_cut_after = False

        def work_or_break() -> Work | None:
            nonlocal is_cut_after
            work = prepare()
            if work is None:
                return None
            if self._is_away:
                raise StoreUnavailable("the database cannot be reached")
            self.commits += 1
            is_cut = self.commits % self._every == 0
            self._down = self._chance.randrange(3) if is_cut else 0
            is_cut_after = is_cut and self._chance.random() < 0.5
            return partial(_broken, work) if is_cut and not is_cut_after else work

        def told(error: Exception | None) -> None:
            self.conflicts += isinstance(error, IntegrityError)
            self.made += is_cut_after
            settled(ReplyLost("the connection broke after the commit") if is_cut_after else error)

        super().commit(work_or_break, told)

    @property
    def _is_away(self) -> bool:
        return self.stays_down and self.commits >= self._every

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        self._reach()
        async with super().read() as connection:
            yield connection

    async def write(self, work: Callable[[Connection], T]) -> T:
        self._reach()
        return await super().write(work)

    def _reach(self) -> None:
        if self._down > 0 or self._is_away:
            self._down -= 1
            raise StoreUnavailable("the database cannot be reached")


def _broken(work: Work, connection: Connection) -> None:
    work(connection)
    raise ReplyLost("the connection broke before the commit")


def store_over(database: CutDatabase, path: Path) -> Store:
    store = Store(f"sqlite+aiosqlite:///{path}")
    store.database = database
    store.events = EventStore(database)
    store.queue = Jobs(database)
    store.journal = Journal(store.events, store.queue, clock_ms=store.clock, publish=store._publish)
    return store


async def again(call: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """As a client does on 503."""
    while True:
        try:
            return await call(*arguments)
        except StoreUnavailable:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("every", [2, 3, 7, 23])
async def test_every_lost_reply_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    monkeypatch.setattr(event_store, "LOOK_SECONDS", 0.001)
    path = tmp_path / "cut.sqlite3"
    chance = random.Random(seed)
    database = CutDatabase(path, every, random.Random(seed))
    store = await store_over(database, path).open()

    async def install() -> str:
        resources = [{"resource": path, "title": path, "dependencies": []} for path in RESOURCES]
        job = await again(store.journal.enqueue, replace(queued(), resources=resources))
        live_job = LiveJob(job, store.journal)
        begun = types.ResourceStarted(title="A", card_sha256="0" * 64)
        begin = [NewEvent(event=types.JobStarted()), NewEvent(event=begun, resource="a.md", attempt=1)]
        await live_job.append(begin)
        await asyncio.gather(*(draw(live_job, n) for n in range(ATTEMPTS)), limit_now_and_then(live_job))
        return job.job_id

    async def draw(live_job: LiveJob, attempt: int) -> None:
        """Now and then the caller is cancelled, as by a time limit: what it left is stored with the next."""
        pipeline = Pipeline(live_job)
        resource = RESOURCES[attempt]
        for n in range(BARS):
            bar = types.Progress(stage=f"model {attempt}", percent=n)
            appending = asyncio.create_task(
                pipeline.append([NewEvent(event=bar, resource=resource, attempt=1, source_offset=n + 1)])
            )
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() / 100)
                appending.cancel()
            await asyncio.wait([appending])
        await pipeline.settle()

    async def limit_now_and_then(live_job: LiveJob) -> None:
        """Decisions between the facts."""
        for n in range(CONTROLS):
            await asyncio.sleep(chance.random() / 100)
            await live_job.append([NewEvent(event=types.LimitsChanged(bandwidth_limit=n + 1))])

    ids = await asyncio.gather(*(install() for _ in range(JOBS)))
    for job_id in ids:
        history = await again(store.events.read, job_id)
        assert [event.sequence for event in history] == list(range(1, ATTEMPTS * BARS + CONTROLS + 4))
        for attempt in range(ATTEMPTS):
            drawn = [event for event in history if f'"model {attempt}"' in event.data_json]
            assert [event.source_offset for event in drawn] == list(range(1, BARS + 1))
        published = [event for event in store.published if event.job_id == job_id]
        assert [event.to_json() for event in published] == [event.to_json() for event in history]
        assert await again(store.queue.get, job_id) == fold(history)
    print(f"{database.commits} commits, {database.made} made without a reply")
    assert database.conflicts == 0
    await store.close()


async def test_what_waits_behind_a_lost_reply_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "LOOK_SECONDS", 0.001)
    path = tmp_path / "cut.sqlite3"
    database = CutDatabase(path, 4, random.Random(1))
    store = await store_over(database, path).open()
    first, other = [await store.journal.enqueue(queued()) for _ in range(2)]
    # From its second event on a job is in memory.
    await store.journal.append(other.job_id, [NewEvent(event=types.LimitsChanged(bandwidth_limit=5))])
    database.stays_down = True
    paused = [NewEvent(event=types.JobPaused())]
    lost = asyncio.create_task(store.journal.append(first.job_id, paused))
    async with asyncio.timeout(30):
        while database.commits < 4:
            await asyncio.sleep(0.001)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await store.journal.append(other.job_id, paused)
    # Of the other nobody knows yet.
    assert not lost.done()
    database.stays_down = False
    await asyncio.wait([lost])
    history = await again(store.events.read, first.job_id)
    assert (lost.exception() is None) == (len(history) == 2)
    await store.close()
