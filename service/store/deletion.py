"""Events are deleted in pieces, each a transaction of some milliseconds: the appends that come meanwhile wait for a
piece and not for a stream."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, and_, delete, func, select, update

from service.events.event_types import PRINTED_TYPES
from service.store.database import Database
from service.store.tables import events, job_resources, jobs

PIECE_EVENTS = 1_000


async def delete_job(database: Database, job_id: str) -> None:
    """Delete an ended job: what tools printed first, then all the rest at once. If it is interrupted, a thinned job is
    left, which can be deleted again, and which housekeeping thins to its end. Raises StoreUnavailable."""
    upto: int | None = 0
    while upto is not None:
        upto = await database.write(partial(_delete_printed, job_id=job_id, after=upto))
    await database.write(partial(delete_streams, job_ids=[job_id]))


def delete_streams(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the events and the rows of these jobs at once: of thinned ones, whose streams are short."""
    for table in (events, job_resources, jobs):
        connection.execute(delete(table).where(table.c.job_id.in_(job_ids)))


def _delete_printed(connection: Connection, *, job_id: str, after: int) -> int | None:
    """Delete a piece of what was printed after this sequence. Returns the last sequence of it; None: there is no more.
    (A server may still keep what was deleted before: to begin at the first event again would pass over all of it.)"""
    printed = and_(events.c.job_id == job_id, events.c.sequence > after, events.c.type.in_(PRINTED_TYPES))
    first = select(events.c.sequence).where(printed).order_by(events.c.sequence).limit(PIECE_EVENTS).subquery()
    upto: int | None = connection.scalar(select(func.max(first.c.sequence)))
    if upto is not None:
        # Before there is a hole, so that who reads the stream knows what holes are.
        thinned = update(jobs).where(jobs.c.job_id == job_id, jobs.c.thinned_at_ms.is_(None))
        connection.execute(thinned.values(thinned_at_ms=jobs.c.ended_at_ms))
        connection.execute(delete(events).where(printed, events.c.sequence <= upto))
    return upto
