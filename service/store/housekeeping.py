"""Old jobs take less space: first their streams are thinned, later they are deleted.

Thinning deletes only what a tool printed, and keeps the last progress of each stage; the service's own decisions stay
until the whole job is deleted. A thinned stream keeps its sequences and so has holes; its row has the time of
the thinning.

Both are done in pieces of a bounded number of events, each a transaction of some milliseconds, with a pause after it:
the appends of running jobs go in between. Only a thinned job is deleted, so that what is left of it is short. A stream
that a stop left half thinned is found by the time in its row, which is that of the last round, and thinned again from
its beginning: what is thin already costs next to nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, Delete, and_, delete, exists, func, or_, select, update

from service.errors import StoreError
from service.events.event_types import PRINTED_TYPES, Progress
from service.events.job import ACTIVE_STATES
from service.store.background import BackgroundLoop
from service.store.database import Database
from service.store.deletion import PIECE_EVENTS, delete_streams
from service.store.deliveries import PENDING
from service.store.tables import deliveries, events, jobs

logger = logging.getLogger(__name__)

DAY_MS = 86_400_000
# A job is thinned after the days of the setting, and deleted after four times as many.
DELETED_AFTER = 4
# Of one transaction.
PIECE_JOBS = 20
PAUSE_SECONDS = 0.01
# Looked up at once.
LOOK_JOBS = 500
ROUND_SECONDS = 3600.0

T = TypeVar("T")


class Housekeeping:
    """``start``, ``stop``. ``keep_days`` 0 keeps everything. ``clock_ms``: milliseconds since the epoch."""

    def __init__(self, *, database: Database, keep_days: int, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._keep_ms = keep_days * DAY_MS
        self._clock_ms = clock_ms
        # The time of the newest thinning that is known to have come to its end.
        self._thinned_ms: int | None = None
        self._loop = BackgroundLoop("housekeeping", self._step)

    def start(self) -> None:
        if self._keep_ms:
            self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    async def round(self) -> tuple[int, int]:
        """Thin and delete the jobs that are old enough. Returns how many were thinned, and how many deleted."""
        now_ms = self._clock_ms()
        thinned = await self._thin_all(now_ms - self._keep_ms, now_ms)
        deleted = await self._delete_all(now_ms - DELETED_AFTER * self._keep_ms)
        if thinned or deleted:
            logger.info("old jobs: %d thinned, %d deleted", thinned, deleted)
        return thinned, deleted

    async def _step(self) -> float:
        try:
            await self.round()
        except StoreError as error:
            logger.warning("old jobs stay for now: %s", error)
        return ROUND_SECONDS

    async def _thin_all(self, before_ms: int, now_ms: int) -> int:
        last_ms = await self._last_thinned_ms()
        # A time of its own: what was thinned again is not due any more.
        now_ms = max(now_ms, (last_ms or 0) + 1)
        may_be_half = jobs.c.thinned_at_ms == last_ms if last_ms != self._thinned_ms else jobs.c.thinned_at_ms.is_(None)
        due = and_(_ended_before(before_ms), or_(jobs.c.thinned_at_ms.is_(None), may_be_half))
        count = 0
        while job_ids := await self._look(due):
            after = 0
            while job_ids:
                step = await self._piece(partial(self._thin, job_ids=job_ids, after=after, now_ms=now_ms))
                if step is None:
                    return count
                done, after = step
                count, job_ids = count + done, job_ids[done:]
        self._thinned_ms = now_ms if count else last_ms
        return count

    async def _delete_all(self, before_ms: int) -> int:
        due = and_(_ended_before(before_ms), jobs.c.thinned_at_ms.is_not(None))
        count = 0
        while job_ids := await self._look(due):
            while job_ids:
                done = await self._piece(partial(_delete, job_ids=job_ids))
                if done is None:
                    return count
                count, job_ids = count + done, job_ids[done:]
        return count

    async def _look(self, due: ColumnElement[bool]) -> list[str]:
        """The oldest of these jobs."""
        async with self._database.read() as connection:
            query = select(jobs.c.job_id).where(due).order_by(jobs.c.ended_at_ms).limit(LOOK_JOBS)
            return list((await connection.execute(query)).scalars())

    async def _last_thinned_ms(self) -> int | None:
        async with self._database.read() as connection:
            found: int | None = (await connection.execute(select(func.max(jobs.c.thinned_at_ms)))).scalar()
            return found

    async def _piece(self, work: Callable[[Connection], T]) -> T | None:
        """Do it in a transaction, then leave the writer to others. None: the service stops, or another replica cleans
        up: two at once would wait for each other's rows."""
        if self._loop.is_stopping:
            return None
        found = await self._database.write(partial(self._alone, work))
        await asyncio.sleep(PAUSE_SECONDS)
        return found

    def _alone(self, work: Callable[[Connection], T], connection: Connection) -> T | None:
        return work(connection) if self._database.takes_chores(connection) else None

    def _thin(self, connection: Connection, *, job_ids: Sequence[str], after: int, now_ms: int) -> tuple[int, int]:
        """Thin these streams, the first of them after the sequence ``after``, as far as a piece goes. Returns how many
        are thin now, and up to which sequence the next one is."""
        left = PIECE_EVENTS
        for done, job_id in enumerate(job_ids[:PIECE_JOBS]):
            if not left:
                return done, 0
            if not after:
                # Before there is a hole, so that who reads the stream knows what holes are.
                connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(thinned_at_ms=now_ms))
            of_job = select(events.c.sequence).where(events.c.job_id == job_id, events.c.sequence > after)
            piece = of_job.order_by(events.c.sequence).limit(left).subquery()
            count, upto = connection.execute(select(func.count(), func.max(piece.c.sequence))).one()
            if count:
                connection.execute(self._printed(job_id, upto))
            if count == left:
                return done, upto
            left, after = left - count, 0
        return min(PIECE_JOBS, len(job_ids)), 0

    def _printed(self, job_id: str, upto: int) -> Delete:
        """Delete what was printed up to this sequence, but for the last progress of each stage: it may go with a later
        piece."""
        mine = (events.c.job_id == job_id, events.c.sequence <= upto)
        stage = self._database.json_field(events.c.data_json, "stage")
        last = select(func.max(events.c.sequence)).where(*mine, events.c.type == Progress.type)
        kept = last.group_by(events.c.resource, events.c.attempt, stage)
        return delete(events).where(*mine, events.c.type.in_(PRINTED_TYPES), events.c.sequence.not_in(kept))


def _delete(connection: Connection, *, job_ids: Sequence[str]) -> int:
    """Delete the first of these jobs, as many as a piece may have, and at least one; how many."""
    chosen: list[str] = []
    left = PIECE_EVENTS
    for job_id in job_ids[:PIECE_JOBS]:
        left -= connection.scalar(select(func.count()).where(events.c.job_id == job_id)) or 0
        if chosen and left < 0:
            break
        chosen.append(job_id)
    delete_streams(connection, chosen)
    return len(chosen)


def _ended_before(before_ms: int) -> ColumnElement[bool]:
    """A job that ended before then and of which nobody has still to be told."""
    untold = exists().where(deliveries.c.job_id == jobs.c.job_id, deliveries.c.state == PENDING)
    return and_(jobs.c.ended_at_ms < before_ms, jobs.c.state.not_in(ACTIVE_STATES), ~untold)
