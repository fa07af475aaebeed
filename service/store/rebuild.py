"""Rebuild the projection from the log alone: proof that the rows are a fold."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from service.events.fold import apply
from service.events.job import Job
from service.events.recorded_event import RecordedEvent
from service.store.database import Database
from service.store.pages import PAGE_EVENTS
from service.store.places import nth_place
from service.store.rows import job_row, resource_rows
from service.store.tables import events, job_resources, jobs


async def rebuild(database: Database) -> int:
    """Replace the rows of all jobs and resources, in one transaction. Returns how many jobs there are."""
    return await database.write(_rebuild)


def _rebuild(connection: Connection) -> int:
    # These two are not in the log. Without a number the order of the log decides.
    known = select(jobs.c.job_id, jobs.c.number, jobs.c.thinned_at_ms)
    kept = {row.job_id: {"number": row.number, "thinned_at_ms": row.thinned_at_ms} for row in connection.execute(known)}
    first = select(events.c.job_id).where(events.c.sequence == 1).order_by(events.c.position)
    job_ids = connection.execute(first).scalars().all()
    connection.execute(delete(job_resources))
    connection.execute(delete(jobs))
    for job_id in job_ids:
        job = _folded(connection, job_id)
        row = {**job_row(job), **kept.get(job_id, {})}
        # Before there were places, the queue was in the order of the numbers.
        row["place"] = row["place"] or nth_place(row.get("number", 0))
        connection.execute(insert(jobs), [row])
        connection.execute(insert(job_resources), resource_rows(job))
    return len(job_ids)


def _folded(connection: Connection, job_id: str) -> Job:
    """Page by page. Old streams are thinned: a hole in one is not an error."""
    job: Job | None = None
    after = 0
    while True:
        query = select(events).where(events.c.job_id == job_id, events.c.sequence > after)
        rows = connection.execute(query.order_by(events.c.sequence).limit(PAGE_EVENTS)).all()
        for recorded in map(RecordedEvent._make, rows):
            job = apply(job, recorded, recorded.event(), thinned=True)
            after = recorded.sequence
        if len(rows) < PAGE_EVENTS:
            assert job is not None
            return job
