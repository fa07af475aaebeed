"""The event log: append with group commit, and reads in order.

Appends of all jobs that wait while one commit runs go into the next one together. One task writes; no caller can
cancel it. A conflict of one stream fails the append of that stream alone. What has to be told to others is told by
that same task right after the commit, before any caller wakes, so that news of a stream leaves in its order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.crash_points import crash_point
from service.errors import SequenceConflict, StoreError, StoreUnavailable
from service.events.job import Job, ResourceProgress
from service.events.recorded_event import RecordedEvent
from service.store.database import Database
from service.store.tables import events, job_resources, jobs

logger = logging.getLogger(__name__)

PAGE_EVENTS = 1_000
COMMIT_EVENTS_MAX = 4_096

_EVENT_COLUMNS = tuple(column.name for column in events.columns)
_RESOURCE_COLUMNS = tuple(c.name for c in job_resources.columns if c.name not in ("job_id", "dependencies"))
_JOB_COLUMNS = tuple(c.name for c in jobs.columns if c.name not in ("number", "job_id"))
_INSERT_EVENTS = insert(events)
_INSERT_JOB = insert(jobs)
_INSERT_RESOURCES = insert(job_resources)
_UPDATE_JOB = (
    update(jobs)
    .where(jobs.c.job_id == bindparam("of_job_id"))
    .values({name: bindparam(name) for name in ("state", "link", "last_sequence", "started_at_ms", "ended_at_ms")})
    .values({name: bindparam(name) for name in ("error", "cause")})
)
_UPDATE_RESOURCE = (
    update(job_resources)
    .where(job_resources.c.job_id == bindparam("of_job_id"), job_resources.c.number == bindparam("of_number"))
    .values({name: bindparam(name) for name in _RESOURCE_COLUMNS if name not in ("number", "resource")})
)

Committed = Callable[[Sequence[RecordedEvent]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Events of one stream and the job that they lead from and to: one all-or-nothing unit."""

    before: Job | None
    after: Job
    events: Sequence[RecordedEvent]


@dataclass(frozen=True, slots=True)
class _Waiting:
    append: Append
    committed: Committed
    done: asyncio.Future[None]


class EventStore:
    """Owns the writer task. ``start`` before the first append, ``stop`` after the last."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._stopping = False
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._writer = asyncio.create_task(self._write_until_stopped(), name="event-store-writer")

    async def stop(self) -> None:
        """Write what waits, then end the writer. It is asked, never cancelled in the middle of a commit."""
        self._stopping = True
        self._wake.set()
        if self._writer is not None:
            await self._writer

    async def append(self, append: Append, committed: Committed) -> None:
        """Durable, and told to ``committed``, when this returns.

        Raises StoreUnavailable (nothing was written: the same append may be tried again) and SequenceConflict.
        """
        if self._writer is None or self._writer.done():
            raise StoreUnavailable("the event log is closed: the service is stopping")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(append, committed, done))
        self._wake.set()
        await done

    async def read(
        self, job_id: str, after: int = 0, limit: int = PAGE_EVENTS, types: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """At most ``limit`` events of the stream behind sequence ``after``, in order."""
        query = select(events).where(events.c.job_id == job_id, events.c.sequence > after)
        if types is not None:
            query = query.where(events.c.type.in_(types))
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(events.c.sequence).limit(limit))).all()
        return [RecordedEvent(**dict(zip(_EVENT_COLUMNS, row, strict=True))) for row in rows]

    async def _write_until_stopped(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._commit(self._take())
            if self._stopping:
                return

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0].append.events) <= COMMIT_EVENTS_MAX):
            taken.append(self._waiting.popleft())
            size += len(taken[-1].append.events)
        return taken

    async def _commit(self, batch: list[_Waiting]) -> None:
        try:
            async with self._database.write() as connection:
                crash_point("before_append")
                await _write(connection, [waiting.append for waiting in batch])
                crash_point("after_append")
        except IntegrityError as error:
            if len(batch) > 1:
                for waiting in batch:
                    await self._commit([waiting])
            else:
                _fail(batch, SequenceConflict(f"another writer appended to job {batch[0].append.after.job_id} first"))
                logger.error("sequence conflict in job %s: %s", batch[0].append.after.job_id, error.orig)
        except StoreError as error:
            _fail(batch, error)
        except Exception as error:
            logger.exception("a commit failed")
            _fail(batch, error)
        else:
            crash_point("after_commit")
            await self._tell(batch)
            crash_point("after_emit")

    async def _tell(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            try:
                await waiting.committed(waiting.append.events)
            except Exception:
                # The events are durable: whoever was not told reads them from the log.
                logger.exception("publishing events of job %s failed", waiting.append.after.job_id)
            if not waiting.done.done():
                waiting.done.set_result(None)


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        with contextlib.suppress(asyncio.InvalidStateError):
            waiting.done.set_exception(error)


async def _write(connection: AsyncConnection, appends: Sequence[Append]) -> None:
    """All statements of one commit: one executemany a table."""
    new = [append.after for append in appends if append.before is None]
    if new:
        await connection.execute(_INSERT_JOB, [job_values(job) for job in new])
        await connection.execute(_INSERT_RESOURCES, [resource_values(job, r) for job in new for r in job.resources])
    await connection.execute(_INSERT_EVENTS, [_event_values(event) for a in appends for event in a.events])
    changed = [append for append in appends if append.before is not None]
    if changed:
        await connection.execute(_UPDATE_JOB, [_job_changes(append.after) for append in changed])
    resources = [(append.after, r) for append in changed for r in _changed_resources(append)]
    if resources:
        await connection.execute(_UPDATE_RESOURCE, [_resource_changes(job, r) for job, r in resources])


def _changed_resources(append: Append) -> list[ResourceProgress]:
    before = append.before.resources if append.before is not None else ()
    return [new for old, new in zip(before, append.after.resources, strict=True) if new is not old]


def _event_values(event: RecordedEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in _EVENT_COLUMNS if name != "position"}


def job_values(job: Job) -> dict[str, Any]:
    """The row of this job, but for its number."""
    return {"job_id": job.job_id, **{name: getattr(job, name) for name in _JOB_COLUMNS}}


def resource_values(job: Job, resource: ResourceProgress) -> dict[str, Any]:
    """The row of this resource."""
    values = {name: getattr(resource, name) for name in _RESOURCE_COLUMNS}
    return {"job_id": job.job_id, "dependencies": json.dumps(resource.dependencies), **values}


def _job_changes(job: Job) -> dict[str, Any]:
    return {
        "of_job_id": job.job_id,
        "state": job.state,
        "link": job.link,
        "last_sequence": job.last_sequence,
        "started_at_ms": job.started_at_ms,
        "ended_at_ms": job.ended_at_ms,
        "error": job.error,
        "cause": job.cause,
    }


def _resource_changes(job: Job, resource: ResourceProgress) -> dict[str, Any]:
    changes = {name: getattr(resource, name) for name in _RESOURCE_COLUMNS if name not in ("number", "resource")}
    return {"of_job_id": job.job_id, "of_number": resource.number, **changes}
