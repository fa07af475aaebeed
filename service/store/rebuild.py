"""Rebuild the projection from the log alone: proof that the rows are a fold.

Only where the log is damaged do rows prove more than it: a job whose beginning or end is lost in the log keeps the rows
that it has.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from service.errors import InstallerError
from service.events.event_types import UnknownEvent
from service.events.fold import apply
from service.events.job import Job, JobState
from service.store.damage import recorded_of
from service.store.database import Database
from service.store.pages import PAGE_EVENTS
from service.store.places import nth_place
from service.store.rows import job_row, resource_rows
from service.store.tables import events, job_resources, jobs

logger = logging.getLogger(__name__)

_ENDED = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


async def rebuild(database: Database) -> int:
    """Replace the rows of all jobs and resources, in one transaction. Returns how many jobs there are."""
    return await database.write(_rebuild)


def _rebuild(connection: Connection) -> int:
    # These are not in the log, nor is the format of an event that is not known here. Without a number the order of the
    # log decides.
    kept_columns = ("job_id", "number", "thinned_at_ms", "owner", "epoch", "events_format")
    known = select(*(jobs.c[name] for name in kept_columns))
    kept: dict[str, dict[str, Any]] = {row.job_id: dict(row._mapping) for row in connection.execute(known)}
    was_ended = set(connection.execute(select(jobs.c.job_id).where(jobs.c.state.in_(_ENDED))).scalars())
    first = select(events.c.job_id).where(events.c.sequence == 1).order_by(events.c.position)
    job_ids = connection.execute(first).scalars().all()
    for table in (job_resources, jobs):
        connection.execute(delete(table).where(table.c.job_id.not_in(select(events.c.job_id))))
    last_number = max((row["number"] for row in kept.values()), default=0)
    for job_id in job_ids:
        if job_id not in kept:
            last_number += 1
            kept[job_id] = {"number": last_number}
        job, is_damaged = _folded(connection, job_id)
        if job is None or (is_damaged and not job.is_terminal and job_id in was_ended):
            logger.warning("job %s keeps its rows: its stream is damaged", job_id)
            continue
        try:
            with connection.begin_nested():
                _replace(connection, job, kept[job_id])
        except SQLAlchemyError:
            logger.exception("job %s keeps its rows: its stream is damaged", job_id)
    return len(job_ids)


def _replace(connection: Connection, job: Job, kept: dict[str, Any]) -> None:
    for table in (job_resources, jobs):
        connection.execute(delete(table).where(table.c.job_id == job.job_id))
    row = {**job_row(job), **kept}
    # Before there were places, the queue was in the order of the numbers.
    row["place"] = row["place"] or nth_place(row["number"])
    connection.execute(insert(jobs), [row])
    connection.execute(insert(job_resources), resource_rows(job))


def _folded(connection: Connection, job_id: str) -> tuple[Job | None, bool]:
    """The job, and whether an event of it is damaged; None: it has no beginning any more. Page by page. Old streams are
    thinned: a hole in one is not an error."""
    job: Job | None = None
    after, is_damaged = 0, False
    while True:
        query = select(events).where(events.c.job_id == job_id, events.c.sequence > after)
        rows = connection.execute(query.order_by(events.c.sequence).limit(PAGE_EVENTS)).all()
        for recorded in map(recorded_of, rows):
            try:
                event = recorded.event()
                # Damaged rows are among the unknown events; so is an end in a version that this service does not know.
                is_damaged |= isinstance(event, UnknownEvent)
                job = apply(job, recorded, event, thinned=True)
            except (InstallerError, LookupError, TypeError, ValueError, AttributeError) as error:
                # Its fields make no sense.
                is_damaged = True
                logger.warning("event %d of job %s is passed over: %s", recorded.sequence, job_id, error)
            after = recorded.sequence
        if len(rows) < PAGE_EVENTS or job is None:
            return job, is_damaged
