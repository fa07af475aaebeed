"""The event log: append with group commit, and reads in order.

Appends of all jobs that wait while one commit runs go into the next one together. One task writes; no caller can
cancel it. A conflict of one stream fails the append of that stream alone. What has to be told to others is told by
that same task right after the commit, before any caller wakes, so that news of a stream leaves in its order.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from service.crash_points import crash_point
from service.errors import SequenceConflict, StoreError, StoreUnavailable
from service.events.event_types import Output, Progress
from service.events.job import Job, ResourceProgress
from service.events.recorded_event import RecordedEvent
from service.store.database import Database, Prepared
from service.store.tables import events, job_resources, jobs

logger = logging.getLogger(__name__)

PAGE_EVENTS = 1_000
COMMIT_EVENTS_MAX = 4_096
PRINTED_TYPES = (Progress.type, Output.type)

_EVENT_COLUMNS = tuple(column.name for column in events.columns)
_RESOURCE_COLUMNS = tuple(c.name for c in job_resources.columns if c.name not in ("job_id", "dependencies"))
_JOB_COLUMNS = tuple(c.name for c in jobs.columns if c.name in Job._fields and c.name != "job_id")
_JOB_CHANGES = (
    "state",
    "link",
    "started_at_ms",
    "ended_at_ms",
    "error",
    "cause",
    "bandwidth_limit",
    "place",
    "queue_position",
    "cancel_requested_at_ms",
)
# What a line of output changes, and what only the begin and the end of an attempt change beside it.
_PROGRESS_CHANGES = (
    "source_offset",
    "name",
    "stage",
    "percent",
    "downloaded_bytes",
    "total_bytes",
    "bytes_per_second",
    "eta_seconds",
    "resource_eta_seconds",
    "job_eta_seconds",
    "progress_at_ms",
)
_RESOURCE_CHANGES = tuple(name for name in _RESOURCE_COLUMNS if name not in ("number", "resource", "size_bytes"))

_INSERT_EVENTS = Prepared(insert(events).values({name: bindparam(name) for name in _EVENT_COLUMNS[1:]}))
_INSERT_JOB = insert(jobs)
_INSERT_RESOURCES = insert(job_resources)
_UPDATE_JOB = Prepared(
    update(jobs).where(jobs.c.job_id == bindparam("of_job_id")).values({name: bindparam(name) for name in _JOB_CHANGES})
)


def _update_resource(names: Sequence[str]) -> Prepared:
    """An update of these columns of one resource."""
    of_resource = (job_resources.c.job_id == bindparam("of_job_id"), job_resources.c.number == bindparam("of_number"))
    return Prepared(update(job_resources).where(*of_resource).values({name: bindparam(name) for name in names}))


_UPDATE_PROGRESS = _update_resource(_PROGRESS_CHANGES)
_UPDATE_RESOURCE = _update_resource(_RESOURCE_CHANGES)

Committed = Callable[[Sequence[RecordedEvent]], Awaitable[None]]
Settle = Callable[[Exception | None], None]
Observe = Callable[[Sequence["Append"], float, float], None]


class Append(NamedTuple):
    """Events of one stream and the job that they lead from and to: one all-or-nothing unit."""

    before: Job | None
    after: Job
    events: Sequence[RecordedEvent]


class _Waiting(NamedTuple):
    append: Append
    committed: Committed
    settle: Settle
    done: asyncio.Future[None]


class EventStore:
    """Owns the writer task. ``start`` before the first append, ``stop`` after the last.

    ``observe`` is told of each commit: what was appended, the seconds of the commit and of the telling. ``clock``: in
    seconds; it must not go back.
    """

    def __init__(
        self, database: Database, *, clock: Callable[[], float] | None = None, observe: Observe | None = None
    ) -> None:
        self._database = database
        self._clock = clock or _no_clock
        self._observe = observe
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
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

    def submit(self, append: Append, committed: Committed, settle: Settle) -> asyncio.Future[None]:
        """Hand an append to the writer: from here on it belongs to it, whatever becomes of the caller.

        Behind the commit the writer tells ``committed``, then calls ``settle`` with None, or with the error that kept
        the append out, then wakes whoever awaits the future: StoreUnavailable (nothing was written: the same append
        may be tried again) or SequenceConflict. To cancel the future cancels nothing but the waiting.
        """
        if self._writer is None or self._writer.done():
            raise StoreUnavailable("the event log is closed: the service is stopping")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(append, committed, settle, done))
        self._idle.clear()
        self._wake.set()
        return done

    async def drain(self) -> None:
        """Until everything that was submitted is settled."""
        await self._idle.wait()

    async def read(
        self, job_id: str, after: int = 0, limit: int = PAGE_EVENTS, types: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """At most ``limit`` events of the stream behind sequence ``after``, in order."""
        query = select(events).where(events.c.job_id == job_id, events.c.sequence > after)
        if types is not None:
            query = query.where(events.c.type.in_(types))
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(events.c.sequence).limit(limit))).all()
        return [RecordedEvent._make(row) for row in rows]

    async def read_compact(self, job_id: str, after: int, upto: int) -> list[RecordedEvent]:
        """What a late screen needs of the events behind ``after`` up to ``upto``: all but what tools printed, and the
        last progress of each resource and stage."""
        mine = (events.c.job_id == job_id, events.c.sequence > after, events.c.sequence <= upto)
        stage = func.json_extract(events.c.data_json, "$.stage")
        last = select(func.max(events.c.sequence)).where(*mine, events.c.type == Progress.type)
        kept = or_(events.c.type.not_in(PRINTED_TYPES), events.c.sequence.in_(last.group_by(events.c.resource, stage)))
        async with self._database.read() as connection:
            rows = (await connection.execute(select(events).where(*mine, kept).order_by(events.c.sequence))).all()
        return [RecordedEvent._make(row) for row in rows]

    async def forget(self, *job_ids: str) -> None:
        """Delete these streams and their rows."""

        def delete_all(connection: Connection) -> None:
            for table in (events, job_resources, jobs):
                connection.execute(delete(table).where(table.c.job_id.in_(job_ids)))

        await self._database.write(delete_all)

    async def _write_until_stopped(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._commit(self._take())
            self._idle.set()
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
        begun = self._clock()
        try:
            statements = _statements([waiting.append for waiting in batch])
            await self._database.write(lambda connection: _write(connection, statements))
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
            committed = self._clock()
            await self._tell(batch)
            crash_point("after_emit")
            if self._observe is not None:
                appends = [waiting.append for waiting in batch]
                self._observe(appends, committed - begun, self._clock() - committed)

    async def _tell(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            try:
                await waiting.committed(waiting.append.events)
            except Exception:
                # The events are durable: whoever was not told reads them from the log.
                logger.exception("publishing events of job %s failed", waiting.append.after.job_id)
            waiting.settle(None)
            if not waiting.done.done():
                waiting.done.set_result(None)


def _no_clock() -> float:
    return 0.0


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        waiting.settle(error)
        if not waiting.done.done():
            waiting.done.set_exception(error)


Statements = list[tuple[Any, list[Any]]]


def _statements(appends: Sequence[Append]) -> Statements:
    """One executemany a table, and only for what has changed: a line of output touches its own row and no other."""
    new = [append.after for append in appends if append.before is None]
    changed = [(append.before, append.after) for append in appends if append.before is not None]
    resources = [(b, a, job) for before, job in changed for b, a in zip(before.resources, job.resources, strict=True)]
    turned = [(job, r) for b, r, job in resources if r is not b and _has_turned(b, r)]
    progressed = [(job, r) for b, r, job in resources if r is not b and not _has_turned(b, r)]
    jobs_changed = [after for before, after in changed if _JOB_ROW(before) != _JOB_ROW(after)]
    wanted: Statements = [
        (_INSERT_JOB, [job_values(job) for job in new]),
        (_INSERT_RESOURCES, [resource_values(job, r) for job in new for r in job.resources]),
        (_INSERT_EVENTS, [_EVENT_ROW(event) for append in appends for event in append.events]),
        (_UPDATE_JOB, [(*_JOB_ROW(job), job.job_id) for job in jobs_changed]),
        (_UPDATE_PROGRESS, [(*_PROGRESS_ROW(r), job.job_id, r.number) for job, r in progressed]),
        (_UPDATE_RESOURCE, [(*_RESOURCE_ROW(r), job.job_id, r.number) for job, r in turned]),
    ]
    return [(statement, rows) for statement, rows in wanted if rows]


def _write(connection: Connection, statements: Statements) -> None:
    crash_point("before_append")
    for statement, rows in statements:
        if isinstance(statement, Prepared):
            statement.run(connection, rows)
        else:
            connection.execute(statement, rows)
    crash_point("after_append")


# The names come from the statements themselves, in the order in which they bind.
_EVENT_ROW = attrgetter(*_INSERT_EVENTS.names)
_JOB_ROW = attrgetter(*_UPDATE_JOB.names[:-1])
_PROGRESS_ROW = attrgetter(*_UPDATE_PROGRESS.names[:-2])
_RESOURCE_ROW = attrgetter(*_UPDATE_RESOURCE.names[:-2])


def _has_turned(before: ResourceProgress, after: ResourceProgress) -> bool:
    """More than progress: an attempt or a phase of it has begun or ended."""
    return (
        before.state is not after.state
        or before.attempt != after.attempt
        or before.phase != after.phase
        or before.verified != after.verified
    )


def job_values(job: Job) -> dict[str, Any]:
    """The row of this job, but for its number."""
    return {
        "job_id": job.job_id,
        "instance_key": instance_key(job.ssh_host, job.ssh_port),
        **{name: getattr(job, name) for name in _JOB_COLUMNS},
    }


def instance_key(host: str, port: int) -> str:
    """What an instance is to the queue: its address, whoever logs in there."""
    return f"{host}:{port}"


def resource_values(job: Job, resource: ResourceProgress) -> dict[str, Any]:
    """The row of this resource."""
    values = {name: getattr(resource, name) for name in _RESOURCE_COLUMNS}
    return {"job_id": job.job_id, "dependencies": json.dumps(resource.dependencies), **values}
