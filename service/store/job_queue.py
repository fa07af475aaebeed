"""The jobs as rows: look one up, list them, find the next to claim and those to rescue; make the rows again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, exists, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import FieldError, InvalidRequest, UnknownJob
from service.events.job import Job, JobState, ResourceProgress, ResourceState, apply
from service.events.recorded_event import RecordedEvent
from service.store.database import Database
from service.store.event_store import PAGE_EVENTS, job_values, resource_values
from service.store.tables import events, job_resources, jobs

LIST_MAX = 500

# The last sequence is the log's own: an update of it with every line would say the same thing twice.
_LAST_SEQUENCE = select(func.max(events.c.sequence)).where(events.c.job_id == jobs.c.job_id).scalar_subquery()
_JOBS = select(jobs, _LAST_SEQUENCE.label("last_sequence"))


class JobQueue:
    """Reads the projection. A claim itself is an event (``job_started``), recorded by whoever claims."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        """The oldest queued job whose instance runs none."""
        other = jobs.alias()
        busy = exists().where(
            other.c.ssh_host == jobs.c.ssh_host,
            other.c.ssh_port == jobs.c.ssh_port,
            other.c.state == JobState.RUNNING,
        )
        query = _JOBS.where(jobs.c.state == JobState.QUEUED, ~busy).order_by(jobs.c.number).limit(1)
        found = await self._load(query)
        return found[0] if found else None

    async def to_rescue(self) -> list[Job]:
        """The jobs that were running when the service ended, oldest first."""
        return await self._load(_JOBS.where(jobs.c.state == JobState.RUNNING).order_by(jobs.c.number))

    async def ended_among(self, job_ids: Sequence[str]) -> list[str]:
        """Those of these ids that are ended jobs of this log."""
        active = (JobState.QUEUED, JobState.RUNNING)
        query = select(jobs.c.job_id).where(jobs.c.job_id.in_(job_ids), jobs.c.state.not_in(active))
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
        connection.execute(insert(jobs), [{**job_values(job), **number}])
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
    values = {name: value for name, value in row._mapping.items() if name != "number"}
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
