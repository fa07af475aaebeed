"""The reader of the projection: look a job up, list jobs, find the next to claim."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, and_, case, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import FieldError, InvalidRequest, UnknownJob
from service.events.formats import newest_format
from service.events.job import ACTIVE_STATES, Job, JobState, ResourceState
from service.events.recorded_event import rfc3339
from service.store.database import Database
from service.store.gathered import Gathered
from service.store.heads import ONE, heads_of_free_instances
from service.store.places import nth_place, ordinal
from service.store.rows import job_of
from service.store.tables import events, job_resources, jobs

LIST_MAX = 500
# What one look for jobs to claim brings; a power of two.
HEADS_MAX = 32

_LAST_SEQUENCE = select(func.max(events.c.sequence)).where(events.c.job_id == jobs.c.job_id).scalar_subquery()
_LAST_AT = (
    select(events.c.at_ms)
    .where(events.c.job_id == jobs.c.job_id)
    .order_by(events.c.sequence.desc())
    .limit(ONE)
    .scalar_subquery()
)
_JOBS = select(jobs, _LAST_SEQUENCE.label("last_sequence"), _LAST_AT.label("last_at_ms"))


_BY_PLACE = _JOBS.where(jobs.c.number.in_(heads_of_free_instances())).order_by(jobs.c.place, jobs.c.number)
# A power of two, so that there are few statements to keep.
_NEXT_TO_CLAIM = [_BY_PLACE.limit(literal_column(str(1 << power))) for power in range(HEADS_MAX.bit_length())]


class Waiting(NamedTuple):
    """A job that waits for its instance. ``queue_position``: as the last event reported it."""

    job_id: str
    place: str
    queue_position: int | None


class InstanceRow(NamedTuple):
    """An instance as its jobs name it. ``ui_home`` and ``last_job_at_ms``: of its newest job. ``active``: jobs that
    have not ended."""

    ssh_user: str
    ssh_host: str
    ssh_port: int
    ui_home: str
    jobs: int
    active: int
    last_job_at_ms: int


class Jobs:
    """Reads the rows of jobs. Claiming a job is an event (``job_started``), which the worker appends."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_id = Gathered(database, _jobs_of)
        self._last_number: int | None = None

    async def get(self, job_id: str) -> Job:
        """Raises UnknownJob."""
        found = await self._by_id.get(job_id)
        if found is None:
            raise UnknownJob(f'unknown job "{job_id[:64]}": no such job in the log')
        return found

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

    async def next_to_claim(self, count: int = 1, *, without: Collection[str] = ()) -> list[Job]:
        """At most ``count`` queued jobs, up to HEADS_MAX, each of another instance: the first places among those whose
        instance is free, since no job of it runs or is paused; none of these, and none with events that this version
        does not know. So they are the jobs that would be claimed one after the other.

        The query looks only at the head of each instance's queue: its cost grows with the instances, not the jobs.
        """
        count = min(count, HEADS_MAX)
        query = _NEXT_TO_CLAIM[(count - 1).bit_length()].where(jobs.c.events_format <= newest_format())
        return (await self._load(query.where(jobs.c.job_id.not_in(without)) if without else query))[:count]

    async def next_place(self) -> str:
        """The place of the next job, after all others. Another replica may be given the same one: the database takes
        the job of only one of them."""
        async with self._database.read() as connection:
            if self._last_number is None:
                # An earlier version gave places beyond the last number.
                place = (await connection.execute(select(func.max(jobs.c.place)))).scalar()
                self._last_number = max(ordinal(place or ""), self._last_number or 0)
            last = (await connection.execute(select(func.max(jobs.c.number)))).scalar()
        # Two callers may look at once; the second must not get the place of the first again.
        self._last_number = max(last or 0, self._last_number) + 1
        return nth_place(self._last_number)

    async def queue_of(
        self, instance_key: str, *, with_paused: bool = False, limit: int | None = None
    ) -> list[Waiting]:
        """The jobs that wait for the instance, in their order."""
        waits = jobs.c.state == JobState.QUEUED
        if with_paused:
            waits = or_(waits, and_(jobs.c.state == JobState.PAUSED, jobs.c.started_at_ms.is_(None)))
        query = select(jobs.c.job_id, jobs.c.place, jobs.c.queue_position).where(
            waits, jobs.c.instance_key == instance_key
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(jobs.c.place, jobs.c.number).limit(limit))).all()
        return [Waiting._make(row) for row in rows]

    async def with_position(self, job: Job) -> Job:
        """The job with its position in the queue as it is now: events say it only to the jobs near the front."""
        if job.state is not JobState.QUEUED:
            return job
        before = select(func.count()).where(
            jobs.c.state == JobState.QUEUED,
            jobs.c.instance_key == job.instance_key,
            jobs.c.place < job.place,
        )
        async with self._database.read() as connection:
            return job._replace(queue_position=1 + int((await connection.execute(before)).scalar_one()))

    async def active_on(self, instance_key: str) -> list[str]:
        """The ids of the instance's jobs that have not ended, in their order."""
        query = select(jobs.c.job_id).where(jobs.c.state.in_(ACTIVE_STATES), jobs.c.instance_key == instance_key)
        async with self._database.read() as connection:
            return [str(row.job_id) for row in (await connection.execute(query.order_by(jobs.c.place))).all()]

    async def instances(self, limit: int) -> list[InstanceRow]:
        """The instances of the jobs, those of the newest jobs first."""
        last = func.max(jobs.c.number).label("last")
        active = func.sum(case((jobs.c.state.in_(ACTIVE_STATES), 1), else_=0)).label("active")
        login = (jobs.c.ssh_user, jobs.c.ssh_host, jobs.c.ssh_port)
        counted = select(*login, last, func.count().label("jobs"), active).group_by(*login)
        newest = counted.order_by(last.desc()).limit(limit).subquery()
        query = (
            select(newest, jobs.c.ui_home, jobs.c.created_at_ms)
            .join(jobs, jobs.c.number == newest.c.last)
            .order_by(newest.c.last.desc())
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [
            InstanceRow(
                ssh_user=row.ssh_user,
                ssh_host=row.ssh_host,
                ssh_port=row.ssh_port,
                ui_home=row.ui_home,
                jobs=int(row.jobs),
                active=int(row.active),
                last_job_at_ms=row.created_at_ms,
            )
            for row in rows
        ]

    async def active_by_instance(self) -> dict[str, int]:
        """How many jobs of each instance have not ended, by its key."""
        counted = select(jobs.c.instance_key, func.count().label("count")).where(jobs.c.state.in_(ACTIVE_STATES))
        async with self._database.read() as connection:
            rows = (await connection.execute(counted.group_by(jobs.c.instance_key))).all()
        return {str(row[0]): int(row[1]) for row in rows}

    async def of_instance(self, ssh_user: str, ssh_host: str, ssh_port: int, limit: int) -> list[Job]:
        """The newest jobs of an instance, those that have not ended first."""
        mine = and_(jobs.c.ssh_user == ssh_user, jobs.c.ssh_host == ssh_host, jobs.c.ssh_port == ssh_port)
        has_ended = case((jobs.c.state.in_(ACTIVE_STATES), 0), else_=1)
        return await self._load(_JOBS.where(mine).order_by(has_ended, jobs.c.number.desc()).limit(limit))

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

    async def by_idempotency_key(self, key: str | None) -> Job | None:
        """The job that was enqueued under this Idempotency-Key."""
        if key is None:
            return None
        found = await self._load(_JOBS.where(jobs.c.idempotency_key == key))
        return found[0] if found else None

    async def active_retry_of(self, job_id: str) -> Job | None:
        """The job that retries this one and has not ended."""
        query = _JOBS.where(jobs.c.retry_of == job_id, jobs.c.state.in_(ACTIVE_STATES))
        found = await self._load(query.order_by(jobs.c.number).limit(1))
        return found[0] if found else None

    async def all_of(self, job_ids: Sequence[str]) -> list[Job]:
        """The jobs with these ids, oldest first."""
        return await self._load(_JOBS.where(jobs.c.job_id.in_(job_ids)).order_by(jobs.c.number))

    async def ended_among(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The ids among these that belong to jobs that have ended, and the epoch of each."""
        query = select(jobs.c.job_id, jobs.c.epoch).where(
            jobs.c.job_id.in_(job_ids), jobs.c.state.not_in(ACTIVE_STATES)
        )
        async with self._database.read() as connection:
            return {str(row.job_id): int(row.epoch) for row in (await connection.execute(query)).all()}

    async def _load(self, query: Select[Any]) -> list[Job]:
        async with self._database.read() as connection:
            return await _with_resources(connection, (await connection.execute(query)).all())


async def _jobs_of(connection: AsyncConnection, job_ids: Sequence[str]) -> list[Job]:
    return await _with_resources(connection, (await connection.execute(_JOBS.where(jobs.c.job_id.in_(job_ids)))).all())


async def _with_resources(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Job]:
    if not rows:
        return []
    query = select(job_resources).where(job_resources.c.job_id.in_([row.job_id for row in rows]))
    by_job: dict[str, list[Row[Any]]] = {row.job_id: [] for row in rows}
    for row in (await connection.execute(query.order_by(job_resources.c.job_id, job_resources.c.number))).all():
        by_job[row.job_id].append(row)
    return [job_of(row, by_job[row.job_id]) for row in rows]


def _cursor_number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidRequest(
            "cursor is not valid", [FieldError("cursor", 'must be the "next" of an earlier page, without changes')]
        )
    return int(cursor)
