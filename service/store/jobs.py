"""The jobs as rows: look one up, list them, find the next to claim and those to rescue; make the rows again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, exists, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import FieldError, InvalidRequest, UnknownJob
from service.events.fold import apply
from service.events.job import ACTIVE_STATES, Job, JobState, ResourceProgress, ResourceState
from service.events.recorded_event import RecordedEvent, rfc3339
from service.store.database import Database
from service.store.event_store import PAGE_EVENTS, instance_key, job_values, resource_values
from service.store.places import number_of, whole_place
from service.store.tables import events, job_resources, jobs

LIST_MAX = 500

# The last sequence is the log's own: an update of it with every line would say the same thing twice.
_LAST_SEQUENCE = select(func.max(events.c.sequence)).where(events.c.job_id == jobs.c.job_id).scalar_subquery()
_JOBS = select(jobs, _LAST_SEQUENCE.label("last_sequence"))


def _holds_its_instance(of: Any) -> ColumnElement[bool]:
    """A started job that has not ended: it runs, or it is paused and keeps its instance."""
    return or_(of.c.state == JobState.RUNNING, and_(of.c.state == JobState.PAUSED, of.c.started_at_ms.is_not(None)))


def _next_to_claim() -> Select[Any]:
    """One step of the recursion is one look into the index: the next instance that has a queued job."""
    first = select(func.min(jobs.c.instance_key).label("key")).where(jobs.c.state == JobState.QUEUED)
    keys = first.cte("keys", recursive=True)
    after = select(func.min(jobs.c.instance_key)).where(
        jobs.c.state == JobState.QUEUED, jobs.c.instance_key > keys.c.key
    )
    keys = keys.union_all(select(after.scalar_subquery()).where(keys.c.key.is_not(None)))
    other = jobs.alias()
    busy = exists().where(other.c.instance_key == keys.c.key, _holds_its_instance(other))
    queued = jobs.alias()
    head = (
        select(queued.c.number)
        .where(queued.c.state == JobState.QUEUED, queued.c.instance_key == keys.c.key)
        .order_by(queued.c.place, queued.c.number)
        .limit(1)
        .scalar_subquery()
    )
    heads = select(head.label("number")).where(keys.c.key.is_not(None), ~busy)
    return _JOBS.where(jobs.c.number.in_(heads)).order_by(jobs.c.place, jobs.c.number).limit(1)


_NEXT_TO_CLAIM = _next_to_claim()


class Jobs:
    """Reads the projection. A claim itself is an event (``job_started``), recorded by whoever claims."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._places: int | None = None

    async def get(self, job_id: str) -> Job:
        """Raises UnknownJob."""
        found = await self._load(_JOBS.where(jobs.c.job_id == job_id))
        if not found:
            raise UnknownJob(f'unknown job "{job_id[:64]}": no such job in the log')
        return found[0]

    async def page(
        self, *, state: str | None = None, host: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[Job], str | None]:
        """A page of jobs, newest first, and the cursor of the next page (None: this is the last)."""
        limit = min(limit, LIST_MAX)
        query = _JOBS.order_by(jobs.c.number.desc()).limit(limit + 1)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if host is not None:
            query = query.where(jobs.c.ssh_host == host)
        if cursor is not None:
            query = query.where(jobs.c.number < _cursor_number(cursor))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
            found = await _with_resources(connection, rows[:limit])
        return found, str(rows[limit - 1].number) if len(rows) > limit else None

    async def next_to_claim(self) -> Job | None:
        """The first queued job, in the order of their places, whose instance runs none and has none that is paused.

        It looks at the head of each instance's queue alone, so that its cost follows the instances and not the jobs.
        """
        found = await self._load(_NEXT_TO_CLAIM)
        return found[0] if found else None

    async def next_place(self) -> str:
        """The place behind all others."""
        if self._places is None:
            async with self._database.read() as connection:
                last = (await connection.execute(select(func.max(jobs.c.place)))).scalar()
                count = (await connection.execute(select(func.max(jobs.c.number)))).scalar()
            self._places = max(number_of(last or ""), count or 0)
        self._places += 1
        return whole_place(self._places)

    async def queue_of(
        self, instance_key: str, *, with_paused: bool = False, limit: int | None = None
    ) -> Sequence[Any]:
        """``job_id, place, queue_position`` (as last told) of the jobs that wait for the instance, in their order."""
        waits = jobs.c.state == JobState.QUEUED
        if with_paused:
            waits = or_(waits, and_(jobs.c.state == JobState.PAUSED, jobs.c.started_at_ms.is_(None)))
        query = select(jobs.c.job_id, jobs.c.place, jobs.c.queue_position).where(
            waits, jobs.c.instance_key == instance_key
        )
        async with self._database.read() as connection:
            return (await connection.execute(query.order_by(jobs.c.place, jobs.c.number).limit(limit))).all()

    async def with_position(self, job: Job) -> Job:
        """The job with its present place in the queue: it is told only to those near the front."""
        if job.state is not JobState.QUEUED:
            return job
        before = select(func.count()).where(
            jobs.c.state == JobState.QUEUED,
            jobs.c.instance_key == instance_key(job.ssh_host, job.ssh_port),
            jobs.c.place < job.place,
        )
        async with self._database.read() as connection:
            return job._replace(queue_position=1 + int((await connection.execute(before)).scalar_one()))

    async def active_on(self, instance_key: str) -> list[str]:
        """The ids of the instance's jobs that have not ended, in their order."""
        query = select(jobs.c.job_id).where(jobs.c.state.in_(ACTIVE_STATES), jobs.c.instance_key == instance_key)
        async with self._database.read() as connection:
            return [str(row.job_id) for row in (await connection.execute(query.order_by(jobs.c.place))).all()]

    async def failures(self, since_ms: int, limit: int) -> list[dict[str, Any]]:
        """Failed resources of jobs that ended since then, grouped by cause, host and card, the most frequent first."""
        count, last = func.count().label("count"), func.max(job_resources.c.ended_at_ms).label("last_ms")
        group = (job_resources.c.cause, jobs.c.ssh_host, job_resources.c.resource)
        query = (
            select(*group, count, last, func.max(job_resources.c.error).label("error"))
            .join(jobs, jobs.c.job_id == job_resources.c.job_id)
            .where(jobs.c.ended_at_ms >= since_ms, job_resources.c.state == ResourceState.FAILED)
            .group_by(*group)
            .order_by(count.desc(), last.desc())
            .limit(limit)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [
            {
                "cause": row.cause,
                "host": row.ssh_host,
                "card": row.resource,
                "count": row.count,
                "last_at": rfc3339(row.last_ms) if row.last_ms is not None else None,
                "error": row.error,
            }
            for row in rows
        ]

    async def by_idempotency_key(self, key: str) -> Job | None:
        """The job that was asked for under this key."""
        found = await self._load(_JOBS.where(jobs.c.idempotency_key == key))
        return found[0] if found else None

    async def active_retry_of(self, job_id: str) -> Job | None:
        """The job that makes this one good and has not ended."""
        query = _JOBS.where(jobs.c.retry_of == job_id, jobs.c.state.in_(ACTIVE_STATES))
        found = await self._load(query.order_by(jobs.c.number).limit(1))
        return found[0] if found else None

    async def to_rescue(self) -> list[Job]:
        """The jobs that were started and had not ended when the service ended, oldest first."""
        return await self._load(_JOBS.where(_holds_its_instance(jobs)).order_by(jobs.c.number))

    async def ended_among(self, job_ids: Sequence[str]) -> list[str]:
        """Those of these ids that are ended jobs of this log."""
        query = select(jobs.c.job_id).where(jobs.c.job_id.in_(job_ids), jobs.c.state.not_in(ACTIVE_STATES))
        async with self._database.read() as connection:
            return [str(row.job_id) for row in (await connection.execute(query)).all()]

    async def _load(self, query: Select[Any]) -> list[Job]:
        async with self._database.read() as connection:
            return await _with_resources(connection, (await connection.execute(query)).all())


async def rebuild(database: Database) -> int:
    """Make the rows of jobs and resources again from the log alone, in one transaction. Returns how many jobs."""
    return await database.write(_rebuild)


def _rebuild(connection: Connection) -> int:
    # A job keeps its number, which is its place in the queue; without one the order of the log decides.
    numbers = {row.job_id: row.number for row in connection.execute(select(jobs.c.job_id, jobs.c.number))}
    first = select(events.c.job_id).where(events.c.sequence == 1).order_by(events.c.position)
    job_ids = connection.execute(first).scalars().all()
    connection.execute(delete(job_resources))
    connection.execute(delete(jobs))
    for job_id in job_ids:
        job = _folded(connection, job_id)
        number = {"number": numbers[job_id]} if job_id in numbers else {}
        place = {} if job.place else {"place": whole_place(numbers.get(job_id, 0))}
        connection.execute(insert(jobs), [{**job_values(job), **number, **place}])
        connection.execute(insert(job_resources), [resource_values(job, r) for r in job.resources])
    return len(job_ids)


def _folded(connection: Connection, job_id: str) -> Job:
    job: Job | None = None
    after = 0
    while True:
        query = select(events).where(events.c.job_id == job_id, events.c.sequence > after)
        rows = connection.execute(query.order_by(events.c.sequence).limit(PAGE_EVENTS)).all()
        for recorded in map(RecordedEvent._make, rows):
            job = apply(job, recorded, recorded.event())
            after = recorded.sequence
        if len(rows) < PAGE_EVENTS:
            assert job is not None
            return job


async def _with_resources(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Job]:
    if not rows:
        return []
    query = select(job_resources).where(job_resources.c.job_id.in_([row.job_id for row in rows]))
    by_job: dict[str, list[Row[Any]]] = {row.job_id: [] for row in rows}
    for row in (await connection.execute(query.order_by(job_resources.c.job_id, job_resources.c.number))).all():
        by_job[row.job_id].append(row)
    return [_job(row, by_job[row.job_id]) for row in rows]


def _job(row: Row[Any], resources: Iterable[Row[Any]]) -> Job:
    values = {name: value for name, value in row._mapping.items() if name in Job._fields}
    values["state"] = JobState(values["state"])
    return Job(**values, resources=tuple(_resource(resource) for resource in resources))


def _resource(row: Row[Any]) -> ResourceProgress:
    values = {name: value for name, value in row._mapping.items() if name != "job_id"}
    values["state"] = ResourceState(values["state"])
    values["dependencies"] = tuple(json.loads(values["dependencies"]))
    return ResourceProgress(**values)


def _cursor_number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidRequest(
            "cursor is not valid", [FieldError("cursor", 'must be the "next" of an earlier page, without changes')]
        )
    return int(cursor)
